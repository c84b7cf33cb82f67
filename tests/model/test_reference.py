"""References: parse and render are each other's inverse, and a wrong one says what is right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envsync.errors import InvalidInput
from envsync.model.names import is_name, is_version
from envsync.model.reference import (
    EnvironmentReference,
    ImageReference,
    RegistryLocation,
    is_repository,
    parse_environment_reference,
    parse_image_reference,
    parse_registry_location,
)

DIGEST = "sha256:" + "0a" * 32

component = st.from_regex(r"[a-z0-9]{1,8}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
repositories = st.lists(component, min_size=1, max_size=4).map("/".join).filter(is_repository)
hosts = st.one_of(
    st.just("localhost"),
    st.from_regex(r"[a-z][a-z0-9]{0,8}\.[a-z]{2,5}", fullmatch=True),
    st.builds("{}:{}".format, component.filter(lambda c: "_" not in c), st.integers(1, 65535)),
    st.builds("[::1]:{}".format, st.integers(1, 65535)),
).filter(lambda host: ".." not in host)
tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,20}", fullmatch=True)
digests = st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}")
names = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9\-_]{0,20}", fullmatch=True).filter(is_name)
versions = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,10}", fullmatch=True).filter(is_version)


@st.composite
def image_references(draw: st.DrawFn) -> ImageReference:
    registry = draw(st.one_of(st.just("docker.io"), hosts))
    repository = draw(repositories)
    if registry == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    digest = draw(st.one_of(st.just(""), digests))
    tag = draw(st.one_of(st.just(""), tags)) if digest else draw(tags)
    return ImageReference(registry=registry, repository=repository, tag=tag, digest=digest)


@given(image_references())
def test_an_image_reference_survives_rendering_and_parsing(reference: ImageReference) -> None:
    assert parse_image_reference(str(reference)) == reference


@given(names, st.one_of(st.none(), versions), st.sampled_from(["", "azureml", "my-registry"]))
def test_an_environment_reference_survives_rendering_and_parsing(
    name: str, version: str | None, registry: str
) -> None:
    reference = EnvironmentReference(name=name, version=version, registry=registry)
    assert parse_environment_reference(str(reference)) == reference
    if not registry:
        assert parse_environment_reference(f"azureml:{reference}") == reference


@given(st.one_of(hosts, st.just("docker.io")).filter(lambda h: "." in h or ":" in h), repositories)
def test_a_registry_location_survives_rendering_and_parsing(host: str, namespace: str) -> None:
    location = RegistryLocation(host=host, namespace=namespace)
    assert parse_registry_location(str(location)) == location


@given(st.one_of(st.text(max_size=60), st.text("aZ09:/@._-[]~ ", max_size=30)))
def test_no_text_makes_a_parser_fail_otherwise_than_by_refusing(text: str) -> None:
    for parse in (parse_image_reference, parse_environment_reference, parse_registry_location):
        try:
            found = parse(text)
        except InvalidInput as refused:
            complete = bool(refused.detail and refused.hint)
        else:
            complete = parse(str(found)) == found
        assert complete, f"{parse.__name__}({text!r})"


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("ubuntu", "docker.io", "library/ubuntu", "latest", ""),
        ("ubuntu:22.04", "docker.io", "library/ubuntu", "22.04", ""),
        ("pytorch/pytorch", "docker.io", "pytorch/pytorch", "latest", ""),
        ("index.docker.io/a/b:1", "docker.io", "a/b", "1", ""),
        ("docker.io/ubuntu", "docker.io", "library/ubuntu", "latest", ""),
        ("mcr.microsoft.com/a/b:tag", "mcr.microsoft.com", "a/b", "tag", ""),
        ("localhost/x", "localhost", "x", "latest", ""),
        (f"host:5000/ns/x@{DIGEST}", "host:5000", "ns/x", "", DIGEST),
        (f"host:5000/ns/x:1@{DIGEST}", "host:5000", "ns/x", "1", DIGEST),
        ("[::1]:5000/x:1", "[::1]:5000", "x", "1", ""),
    ],
)
def test_image_references_are_read_as_docker_reads_them(
    text: str, registry: str, repository: str, tag: str, digest: str
) -> None:
    assert parse_image_reference(text) == ImageReference(
        registry=registry, repository=repository, tag=tag, digest=digest
    )


def test_docker_hub_is_asked_under_its_own_host() -> None:
    assert parse_image_reference("ubuntu").host == "registry-1.docker.io"
    assert parse_image_reference("ghcr.io/a/b").host == "ghcr.io"


def test_the_digest_decides_when_there_is_a_tag_too() -> None:
    assert parse_image_reference(f"ubuntu:22.04@{DIGEST}").reference == DIGEST
    assert parse_image_reference("ubuntu:22.04").reference == "22.04"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://ghcr.io/a/b", "Write ghcr.io/a/b."),
        ("ghcr.io/Team/Image:1", "Write team/image instead of Team/Image."),
        ("ubuntu:", "a tag has"),
        ("ubuntu:-x", "a tag has"),
        ("ubuntu@sha256:abc", "64 hexadecimal"),
        ("ubuntu@sha512:" + "a" * 128, "64 hexadecimal"),
        ("azureml:train:1", "refers to an environment"),
        ("host:99999/x", "from 1 to 65535"),
        (" ubuntu", "without spaces"),
        ("", "without spaces"),
        ("a//b", "lower-case letters"),
        ("ghcr.io/", "lower-case letters"),
        ("a" * 300, "more than 255"),
    ],
)
def test_a_wrong_image_reference_says_what_is_right(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_image_reference(text)
    assert words.lower() in str(caught.value).lower()
    assert repr(text) in caught.value.summary


@pytest.mark.parametrize(
    ("text", "name", "version", "registry"),
    [
        ("train:3", "train", "3", ""),
        ("train@latest", "train", None, ""),
        ("azureml:train:2024.01", "train", "2024.01", ""),
        ("azureml:AzureML-Minimal@latest", "AzureML-Minimal", None, ""),
        ("azureml://registries/azureml/environments/sklearn/versions/1", "sklearn", "1", "azureml"),
        ("azureml://registries/azureml/environment/sklearn/versions/1", "sklearn", "1", "azureml"),
        ("azureml://registries/r/environments/sklearn/labels/latest", "sklearn", None, "r"),
    ],
)
def test_environment_references_are_read_as_azure_ml_reads_them(
    text: str, name: str, version: str | None, registry: str
) -> None:
    assert parse_environment_reference(text) == EnvironmentReference(
        name=name, version=version, registry=registry
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train", "neither a version nor latest"),
        ("train@stable", "the only label is latest"),
        ("azureml:train@prod", "the only label is latest"),
        ("train:latest", "Write train@latest."),
        ("train:", "not a version"),
        ("train:def-1", "not a version"),
        ("-train:1", "not a name"),
        ("a b:1", "not a name"),
        ("azureml://registries/r/environments/x/labels/prod", "the only label is latest"),
        ("azureml://registries/r/models/x/versions/1", "azureml://registries/<registry>/"),
        ("azureml://subscriptions/s/environments/x/versions/1", "names a registry"),
    ],
)
def test_a_wrong_environment_reference_says_what_is_right(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_environment_reference(text)
    assert words in str(caught.value)


def test_a_registry_location_names_the_repository_of_an_environment() -> None:
    location = parse_registry_location("localhost:5000/team/envs")
    assert location.repository("train") == "team/envs/train"
    assert location.repository("Train") != location.repository("train")
    assert is_repository(location.repository("Train_"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("localhost:5000", "Write localhost:5000/<namespace>"),
        ("localhost:5000/", "Write localhost:5000/<namespace>"),
        ("team/envs", "docker.io/team/envs"),
        ("https://ghcr.io/team", "Write ghcr.io/team."),
        ("ghcr.io/team:1", "tag or digest"),
        ("ghcr.io/Team", "Write team instead of Team."),
        (f"ghcr.io/team@{DIGEST}", "tag or digest"),
    ],
)
def test_a_wrong_registry_location_says_what_is_right(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_registry_location(text)
    assert words in str(caught.value)

"""Specs: what a good one means, and for each bad one what its people are told."""

from __future__ import annotations

import dataclasses
import json
import posixpath
import re
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envsync.adapters.files.strict_yaml import parse_document
from envsync.errors import Fault, InvalidInput
from envsync.model.document import Faults
from envsync.model.settings_reader import SETTINGS_KEYS
from envsync.model.spec import (
    BuildContext,
    CondaFile,
    InferenceConfig,
    Route,
    Settings,
    Spec,
)
from envsync.model.spec_reader import KEYS, read_spec
from envsync.operations.load import load_environment, load_spec
from tests.golden_cases import golden_cases
from tests.memory_tree import MemoryTree

PATH = "environments/train/environment.yaml"
FILES: dict[str, bytes | str] = {
    "environments/train/conda.yaml": "dependencies: [python=3.11]\n",
    "environments/train/docker/Dockerfile": "FROM scratch\n",
}


def load(text: str | bytes) -> Spec:
    return load_files({"environment.yaml": text.encode() if isinstance(text, str) else text})


def load_files(files: Mapping[str, bytes]) -> Spec:
    folder = posixpath.dirname(PATH)
    inside = {posixpath.join(folder, name): content for name, content in files.items()}
    return load_environment(MemoryTree({**FILES, **inside}), parse_document, "train")


def files_of(text: str) -> dict[str, bytes]:
    """Return the files of a case: environment.yaml, then others after lines ``=== name how``.

    *how* is nothing, an encoding, ``escaped`` for text with Python's escapes, or ``times N``.
    """
    files = {}
    for part in f"=== environment.yaml\n{text}".split("=== ")[1:]:
        head, _, content = part.partition("\n")
        name, _, how = head.partition(" ")
        if how == "escaped":
            files[name] = content.rstrip("\n").encode().decode("unicode_escape").encode("latin-1")
        elif how.startswith("times "):
            files[name] = content.encode() * int(how.removeprefix("times "))
        else:
            files[name] = content.encode(how or "utf-8")
    return files


MALFORMED = golden_cases("malformed_specs.txt")


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_spec_is_refused_with_place_and_advice(case: str) -> None:
    text, expected = MALFORMED[case]
    with pytest.raises(InvalidInput) as refused:
        load_files(files_of(text))
    assert str(refused.value) == f"The environment 'train' cannot be used\n{expected}"
    assert refused.value.exit_code == 6


def test_there_are_at_least_150_malformed_specs_and_each_fault_has_a_place() -> None:
    assert len(MALFORMED) >= 150
    assert len({text for text, _ in MALFORMED.values()}) == len(MALFORMED)
    for text, expected in MALFORMED.values():
        files = {posixpath.join("environments/train", k): v for k, v in files_of(text).items()}
        for line in expected.splitlines():
            if line.startswith("    "):
                continue
            place = re.match(r"(environments/train/[^:]+)(?::(\d+):(\d+))?: \S", line)
            assert place, line
            if place[2]:
                # Where a file is no UTF-8, what stands before the place is.
                lines = files[place[1]].decode("utf-8", "replace").split("\n")
                assert 1 <= int(place[3]) <= len(lines[int(place[2]) - 1]) + 1, line


KINDS = {"text": "word", "a list": "[a]", "a map": "{a: b}"}
MAPS = {"tags", "build", "inference_config", "properties", "envsync"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", KEYS)
def test_a_value_of_the_wrong_kind_is_named_where_it_stands(key: str, kind: str) -> None:
    right = {"conda_file": {"text", "a map"}}.get(key, {"a map"} if key in MAPS else {"text"})
    if kind in right:
        return
    faults = outcome(f"{key}: {KINDS[kind]}\n")[1]
    (found,) = [fault for fault in faults if f"'{key}' is {kind}; it must be" in fault.message]
    assert (found.where.line, found.where.column) == (1, len(key) + 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", SETTINGS_KEYS)
def test_a_setting_of_the_wrong_kind_is_refused_where_it_stands(key: str, kind: str) -> None:
    places = {}
    for other, value in KINDS.items():
        text = f"image: a\nconda_file: conda.yaml\nenvsync:\n  {key}: {value}\n"
        places[other] = {str(fault.where) for fault in outcome(text)[1] if fault.where.column > 3}
    # At most one of the kinds can be right; any other is told of at the value, or within it.
    assert sum(not found for found in places.values()) <= 1
    assert all(re.fullmatch(rf"{PATH}:4:\d+", place) for place in places[kind])


FULL = """\
$schema: https://azuremlschemas.azureedge.net/latest/environment.schema.json
name: train
version: 1.10
description: "What it is for"
tags:
  os: 22.04
  gpu: no
  note:
image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest
conda_file: conda.yaml
os_type: Linux
inference_config:
  liveness_route: {port: 5001, path: /}
  readiness_route: {port: 5001, path: /ready}
  scoring_route: {port: 5002, path: /score}
datastore: azureml:workspaceblobstore
properties: {a: b, c: {d: [e]}}
envsync:
  platforms: [linux-aarch64, linux-64]
  virtual_packages: {__cuda: 12.40}
  environment_variables: {MODE: on, EMPTY: , ZIP: 010}
  user: app:1000
  setup: python -m compileall .
"""


def test_a_full_spec_is_read_as_it_was_written() -> None:
    assert load(FULL) == Spec(
        name="train",
        path=PATH,
        version="1.10",
        description="What it is for",
        tags={"os": "22.04", "gpu": "no", "note": ""},
        image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest",
        conda=CondaFile(dependencies=("python=3.11",), path="environments/train/conda.yaml"),
        inference_config=InferenceConfig(
            liveness_route=Route(port=5001, path="/"),
            readiness_route=Route(port=5001, path="/ready"),
            scoring_route=Route(port=5002, path="/score"),
        ),
        settings=Settings(
            platforms=("linux-aarch64", "linux-64"),
            virtual_packages={"__cuda": "12.40"},
            environment_variables={"MODE": "on", "EMPTY": "", "ZIP": "010"},
            user="app:1000",
            setup="python -m compileall .",
        ),
    )


def test_every_key_stands_in_the_full_spec_or_belongs_to_another_kind() -> None:
    written = set(re.findall(r"^(\S+?):", FULL, re.MULTILINE))
    assert written == set(KEYS) - {"build"}
    settings_written = set(re.findall(r"^  (\w+):", FULL.partition("envsync:")[2], re.MULTILINE))
    others = {"build_arguments", "build_secrets", "build_timeout", "interpreter_path"}
    assert settings_written == set(SETTINGS_KEYS) - others
    assert set(SETTINGS_KEYS) == {field.name for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize("version", ["3", '"3"', "'3'"])
def test_a_version_is_text_whether_quoted_or_not(version: str) -> None:
    assert load(f"image: busybox\nversion: {version}\n").version == "3"


@pytest.mark.parametrize("version", ["3.10", "010", "1e3", "2024-01-01", "no", "0x1F", "1_0"])
def test_a_version_keeps_its_text(version: str) -> None:
    assert load(f"image: busybox\nversion: {version}\n").version == version


def test_without_a_version_or_with_an_empty_one_the_version_is_assigned() -> None:
    assert load("image: busybox\n").version is None
    assert load("image: busybox\nversion:\n").version is None


def test_the_folder_names_an_environment_that_does_not_name_itself() -> None:
    assert load("image: busybox\n").name == "train"


@pytest.mark.parametrize("image", ["ubuntu", "ubuntu:24.04", "localhost:5000/a/b:1.2"])
def test_the_image_stays_as_written(image: str) -> None:
    spec = load(f"image: {image}\n")
    assert (spec.image, spec.kind) == (image, "image")


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ("path: docker", BuildContext(path="environments/train/docker")),
        ("path: ./docker/", BuildContext(path="environments/train/docker")),
        (
            "path: .\n  dockerfile_path: ./docker/Dockerfile",
            BuildContext(path="environments/train", dockerfile_path="docker/Dockerfile"),
        ),
        (
            "path: ../..\n  dockerfile_path: environments/train/docker/Dockerfile",
            BuildContext(path=".", dockerfile_path="environments/train/docker/Dockerfile"),
        ),
        (
            "path: https://github.com/team/repo.git#main:docker",
            BuildContext(path="https://github.com/team/repo.git#main:docker"),
        ),
        (
            "path: git@github.com:team/repo.git",
            BuildContext(path="git@github.com:team/repo.git"),
        ),
    ],
)
def test_a_build_context_is_a_folder_of_the_repository_or_a_url(
    build: str, expected: BuildContext
) -> None:
    spec = load(f"build:\n  {build}\n")
    text = "" if expected.remote else "FROM scratch\n"
    assert (spec.build, spec.kind) == (dataclasses.replace(expected, dockerfile=text), "build")


def test_a_conda_file_may_stand_inline() -> None:
    spec = load("image: scratch\nconda_file:\n  name: x\n  dependencies: [python = 3.10]\n")
    assert spec.conda == CondaFile(dependencies=("python = 3.10",))
    assert spec.kind == "conda"


@pytest.mark.parametrize(
    "path",
    [
        "conda.yaml",
        "./conda.yaml",
        "file:conda.yaml",
        "file:./conda.yaml",
        "../train/conda.yaml",
        "a/../conda.yaml",
    ],
)
def test_a_conda_file_is_found_from_the_folder_of_the_spec(path: str) -> None:
    spec = load(f"image: scratch\nconda_file: {path}\n")
    assert spec.conda is not None
    assert spec.conda.path == "environments/train/conda.yaml"


def test_a_spec_used_inline_needs_no_name() -> None:
    faults = Faults()
    root = parse_document(b"image: busybox\n", "job.yaml", faults)
    assert root is not None
    assert read_spec(root, faults, path="job.yaml", name=None).spec.name == ""
    assert not faults


@pytest.mark.parametrize("name", ["AzureML-sklearn", "Microsoft", "MicrosoftTeam"])
def test_names_of_curated_environments_are_reserved(name: str) -> None:
    tree = MemoryTree({f"environments/{name}/environment.yaml": f"name: {name}\nimage: a\n"})
    with pytest.raises(InvalidInput, match="are reserved for Azure ML"):
        load_environment(tree, parse_document, name)
    with pytest.raises(InvalidInput, match="are reserved for Azure ML"):
        load_spec(tree, parse_document, f"environments/{name}/environment.yaml", name=None)


def test_a_curated_image_may_be_used() -> None:
    assert load("image: mcr.microsoft.com/azureml/curated/sklearn-1.5:13\n").kind == "image"


def test_no_message_shows_a_secret() -> None:
    canary = "hunter2canary"
    for text in (
        f"image: me:{canary}@ghcr.io/a/b\n",
        f"image: https://me:{canary}@ghcr.io/a/b\n",
        f"build:\n  path: https://me:{canary}@github.com/a/b.git\n",
        f"image: a\nconda_file:\n  channels: ['https://me:{canary}@x/y']\n  dependencies: [a]\n",
        f"image: a\nconda_file:\n  channels: ['https://x/t/{canary}/y']\n  dependencies: [a]\n",
        f"image: a\nconda_file:\n  dependencies: ['https://me:{canary}@x/y::a=1']\n",
        f"image: a\nconda_file:\n  dependencies: ['https://x/t/{canary}/y::a=1']\n",
        f"image: a\nconda_file:\n  dependencies: [{{pip: [git+https://{canary}@x/y]}}]\n",
        f"image: a\nconda_file:\n  dependencies: [{{pip: ['-i https://u:{canary}@x/y']}}]\n",
        f"image: a\nconda_file:\n  dependencies: [{{pip: ['a @ https://u:{canary}@x/a.whl']}}]\n",
        f"image: a\nconda_file: https://u:{canary}@x/y\n",
    ):
        with pytest.raises(InvalidInput) as refused:
            load(text)
        assert canary not in str(refused.value), text


def outcome(text: str | bytes) -> tuple[Spec | None, tuple[Fault, ...]]:
    try:
        return load(text), ()
    except InvalidInput as refused:
        return None, refused.faults


pieces = st.sampled_from(
    [
        "name: train\n",
        "name: x\n",
        "version: 1\n",
        "version: [1]\n",
        "image: a\n",
        "image: ''\n",
        "image: A B\n",
        "build:\n",
        "  path: docker\n",
        "  path: ../../..\n",
        "conda_file: conda.yaml\n",
        "conda_file:\n",
        "  dependencies:\n",
        "    - python=3.11\n",
        "    - pip:\n",
        "      - a==1\n",
        "      - -r r.txt\n",
        "  channels: [a, b]\n",
        "tags:\n",
        "  a: b\n",
        "  - a\n",
        "envsync:\n",
        "  platforms: [linux-64]\n",
        "  user: 3\n",
        "inference_config:\n",
        "  scoring_route:\n",
        "    port: x\n",
        "os_type: linux\n",
        "? a\n",
        ": b\n",
        "!t x\n",
        "&a\n",
        "- x\n",
        "\t\n",
        "dependencies: [a]\n",
        "  virtual_packages: {a: b}\n",
        "description: |\n",
        "  text\n",
        "\0",
    ]
)


@settings(max_examples=400)
@given(st.one_of(st.lists(pieces, max_size=12).map("".join), st.text(max_size=80)))
def test_any_text_gives_a_spec_or_invalid_input(text: str) -> None:
    spec, faults = outcome(text.encode("utf-8", "surrogatepass"))
    assert all(fault.where.file and fault.message for fault in faults)
    assert faults or spec is not None
    if spec is not None:
        assert spec.name == "train"
        assert (spec.image is None) != (spec.build is None)


keys = st.sampled_from([*KEYS, *SETTINGS_KEYS, "path", "port", "zzz", "pip", "dependencies"])
texts = st.text(max_size=8) | st.sampled_from(
    ["1", "a", "linux-64", "scratch", "../x", "conda.yaml"]
)
values = st.recursive(
    texts, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=3), max_leaves=8
)


@settings(max_examples=300)
@given(st.dictionaries(keys, values, max_size=6))
def test_any_structure_gives_a_spec_or_invalid_input(document: dict[str, object]) -> None:
    # JSON is YAML, as far as printable text goes.
    spec, faults = outcome(json.dumps(document))
    assert faults or spec is not None


def test_an_image_made_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="an image with nothing in it"):
        load("image: scratch\n")

"""``envsync which``: from an image back to name, version, commit, spec and lock."""

from __future__ import annotations

import subprocess

import pytest

from envsync.model.reading import Present
from envsync.oci.descriptor import Descriptor
from tests.parts.baseimage import BaseImage
from tests.parts.engine import Engine
from tests.parts.process import tool
from tests.parts.registry import Registry
from tests.team import Team

TWO = "envsync:\n  platforms: [linux-64, linux-aarch64]\n"


def _applied(team: Team) -> None:
    done = team.envsync("apply")
    assert done.code == 0, done.err


@pytest.fixture
def versions(team: Team) -> Team:
    """Two versions of `one`, and `other` with the definition of its second."""
    team.ask("one", "tiny-00000")
    _applied(team)
    team.ask("one", "tiny-00001")
    team.ask("other", "tiny-00001")
    _applied(team)
    return team


def _children(team: Team, name: str) -> tuple[str, dict[str, str]]:
    """Return the digest of an index, and of its images by architecture."""
    digest = team.records(name)[-1].digest
    with team.reader() as reader:
        top = reader.manifest(team.place(name), digest)
    assert isinstance(top, Present)
    listed = map(Descriptor.parse, top.value.document()["manifests"])
    return digest, {child.platform["architecture"]: child.digest for child in listed}


def _config(team: Team, name: str) -> str:
    with team.reader() as reader:
        top = reader.manifest(team.place(name), team.records(name)[0].digest)
    assert isinstance(top, Present)
    return str(top.value.document()["config"]["digest"])


def test_a_digest_leads_to_version_commit_spec_and_lock(versions: Team) -> None:
    first = versions.records("one")[0]
    done = versions.envsync("which", first.digest, "--format", "json")
    assert done.code == 0, done.err
    assert done.json["digest"] == first.digest
    (match,) = done.json["matches"]
    assert (match["name"], match["by"]) == ("one", "digest")
    assert match["record"]["version"] == "1"
    assert match["record"]["commit"] == first.commit
    for path in (match["spec"], f"{match['lock']}/conda-lock.yml"):
        assert versions.repository.git("cat-file", "-t", f"{first.commit}:{path}") == "blob"


def test_all_versions_of_an_image_are_told(versions: Team) -> None:
    digest = versions.records("other")[0].digest
    done = versions.envsync("which", digest)
    assert done.code == 0, done.err
    one, other = sorted(done.out.strip().split("\n\n"))
    assert one.splitlines()[:2] == ["name        one", "version     2"]
    assert other.splitlines()[:2] == ["name        other", "version     1"]
    assert "spec        environments/other/environment.yaml" in other


def test_twelve_digits_are_enough_and_fewer_are_not_a_digest(versions: Team) -> None:
    digest = versions.records("one")[0].digest
    for start in (digest[:19], digest[7:19], digest[7:]):
        done = versions.envsync("which", start, "--format", "json")
        assert done.code == 0, done.err
        assert done.json["matches"][0]["record"]["digest"] == digest
    assert versions.envsync("which", digest[:12]).code == 6


def test_a_digest_that_nothing_has_is_6_with_what_was_looked_at(versions: Team) -> None:
    done = versions.envsync("which", f"sha256:{'0' * 64}")
    assert done.code == 6
    assert "no version here is sha256:000" in done.err
    assert "None of 3 records has it" in done.err


def test_a_content_tag_or_its_hash_leads_to_its_versions(versions: Team) -> None:
    definition = versions.records("one")[0].definition
    for text in (definition, f"def-{definition}"):
        done = versions.envsync("which", text, "--format", "json")
        assert done.code == 0, done.err
        assert [m["by"] for m in done.json["matches"]] == ["definition"]


def test_an_image_id_leads_to_its_version(versions: Team) -> None:
    done = versions.envsync("which", _config(versions, "one"), "--format", "json")
    assert done.code == 0, done.err
    assert [(m["name"], m["by"]) for m in done.json["matches"]] == [("one", "image id")]


def test_the_image_of_one_platform_leads_to_the_version_of_all(team: Team) -> None:
    team.ask("wide", "tiny-00000", text=TWO)
    _applied(team)
    _, children = _children(team, "wide")
    done = team.envsync("which", children["arm64"], "--format", "json")
    assert done.code == 0, done.err
    (match,) = done.json["matches"]
    assert (match["by"], match["platform"]) == ("platform", "linux-aarch64")


def test_an_image_reference_is_resolved(versions: Team) -> None:
    where = versions.envsync("show", "one:1", "--format", "json").json["image"]
    done = versions.envsync("which", where, "--format", "json")
    assert done.code == 0, done.err
    assert done.json["matches"][0]["record"]["version"] == "1"
    assert versions.envsync("which", where.replace(":1", ":nothing")).code == 6


def test_a_copy_in_another_registry_is_known_by_its_labels(
    server_team: Team, shared_registry: Registry
) -> None:
    server_team.ask("wide", "tiny-00000", text=TWO)
    _applied(server_team)
    _, children = _children(server_team, "wide")
    assert server_team.registry is not None
    source = f"{server_team.registry.host}/{server_team.place('wide')}"
    target = f"{shared_registry.host}/elsewhere/copy-{server_team.registry.port}"
    command = [tool("skopeo"), "copy", "--quiet", "--insecure-policy", "--preserve-digests"]
    command += ["--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run(
        [*command, f"docker://{source}@{children['amd64']}", f"docker://{target}:x"], check=True
    )
    # Nothing of our registry is needed for it.
    server_team.wipe_registry()
    done = server_team.envsync("which", f"{target}:x", "--format", "json")
    assert done.code == 0, done.err
    (match,) = done.json["matches"]
    assert (match["name"], match["platform"]) == ("wide", "linux-64")


def test_an_image_of_another_repository_is_told_as_such(
    server_team: Team, busybox_base: BaseImage
) -> None:
    assert server_team.registry is not None
    base = busybox_base.push(server_team.registry)
    done = server_team.envsync("which", base)
    assert done.code == 6
    assert "None of 0 records" in done.err


def test_an_image_that_is_used_as_it_is_leads_to_its_environment(
    server_team: Team, busybox_base: BaseImage
) -> None:
    assert server_team.registry is not None
    base = busybox_base.push(server_team.registry)
    server_team.ask("plain", image=base)
    _applied(server_team)
    done = server_team.envsync("which", base, "--format", "json")
    assert done.code == 0, done.err
    assert [m["name"] for m in done.json["matches"]] == ["plain"]


def test_a_registry_that_does_not_answer_never_means_no(server_team: Team) -> None:
    server_team.ask("one", "tiny-00000")
    _applied(server_team)
    digest = server_team.records("one")[0].digest
    assert server_team.registry is not None
    server_team.registry.down()
    # What git says needs no registry.
    assert server_team.envsync("which", digest).code == 0
    done = server_team.envsync("which", f"sha256:{'1' * 64}")
    assert done.code == 8
    assert "nobody can say" in done.err


def test_a_running_container_leads_back(
    server_team: Team, busybox_base: BaseImage, engine: Engine
) -> None:
    assert server_team.registry is not None
    base = busybox_base.push(server_team.registry)
    server_team.ask("tool", "tiny-00000", image=base)
    _applied(server_team)
    image = server_team.envsync("show", "tool:1", "--format", "json").json["image"]
    engine.docker("pull", "--quiet", image)
    try:
        identity = engine.docker("image", "inspect", "--format", "{{.Id}}", image).strip()
    finally:
        engine.docker("image", "rm", image)
    done = server_team.envsync("which", identity, "--format", "json")
    assert done.code == 0, done.err
    assert [m["name"] for m in done.json["matches"]] == ["tool"]

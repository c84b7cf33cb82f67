"""Copies: every digest stays what git recorded, whoever looks."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envsync.adapters.registry.registries import Registries, RegistrySettings
from envsync.errors import InvalidInput
from envsync.model.copy_target import ArchiveTarget, RegistryTarget, parse_copy_target
from envsync.model.passport import RECORD, passport, read_passport
from envsync.model.reading import Present
from envsync.model.record import Record
from tests.parts.baseimage import hollow_base
from tests.parts.gitremote import new_repository
from tests.parts.process import tool
from tests.parts.registry import Registry, run_registry
from tests.team import Team


def skopeo(*arguments: str) -> str:
    done = subprocess.run(
        [tool("skopeo"), "--insecure-policy", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def digest_at(registry: Registry, repository: str, tag: str) -> str:
    with Registries(RegistrySettings()) as registries:
        reading = registries.at(registry.host).head(repository, tag)
    assert isinstance(reading, Present), reading
    return reading.value.digest


@pytest.fixture
def elsewhere() -> Iterator[Registry]:
    """Another registry."""
    with run_registry() as registry:
        yield registry


@pytest.fixture
def published(team: Team) -> Record:
    """Version 1 of an environment that a team has."""
    team.ask("train", "tiny-00003", "tiny-00011")
    done = team.envsync("apply")
    assert done.code == 0, done.err
    (record,) = team.records("train")
    return record


def copied(team: Team, *arguments: str) -> dict[str, Any]:
    done = team.envsync("copy", "--format=json", *arguments)
    assert done.code == 0, done.err
    document: dict[str, Any] = done.json
    return document


def neighbour(team: Team, folder: Path) -> Team:
    """Another clone that has the records and an empty registry in a folder."""
    variables = dict(team.repository.environment)
    repository = new_repository(folder, variables)
    repository.git("fetch", "--quiet", str(team.arbiter.path), "+refs/*:refs/*", "--update-head-ok")
    repository.git("reset", "--quiet", "--hard", "main")
    other = Team(repository=repository, channel=team.channel, cache=team.cache)
    other.settings()
    repository.commit("its own settings")
    return other


# ---- to a registry ----


def test_a_copy_in_another_registry_has_the_digest_and_both_tags(
    team: Team, published: Record, elsewhere: Registry
) -> None:
    document = copied(team, "train:1", f"{elsewhere.host}/other/place")
    assert document["place"] == f"{elsewhere.host}/other/place/train:1"
    for tag in ("1", f"def-{published.definition}"):
        assert digest_at(elsewhere, "other/place/train", tag) == published.digest
    seen = json.loads(
        skopeo("inspect", "--tls-verify=false", f"docker://{elsewhere.host}/other/place/train:1")
    )
    assert seen["Digest"] == published.digest


def test_copying_again_writes_nothing(team: Team, published: Record, elsewhere: Registry) -> None:
    copied(team, "train", f"{elsewhere.host}/other")
    elsewhere.forget()
    copied(team, "train@latest", f"{elsewhere.host}/other")
    asked = elsewhere.requests()
    assert {request.method for request in asked} <= {"HEAD", "GET"}
    assert len(asked) <= 3


def test_within_one_registry_blobs_are_mounted_and_not_sent(server_team: Team) -> None:
    server_team.ask("train", "tiny-00003")
    assert server_team.envsync("apply").code == 0
    assert server_team.registry is not None
    server_team.registry.forget()
    copied(server_team, "train:1", f"{server_team.registry.host}/released/models:stable")
    mounted = server_team.registry.requests("POST", "mount=")
    assert mounted
    assert {request.status for request in mounted} == {201}
    assert not server_team.registry.requests("PATCH")
    assert digest_at(server_team.registry, "released/models", "stable")


def test_a_tag_of_another_image_is_a_conflict_and_nothing_is_written(
    team: Team, published: Record, elsewhere: Registry
) -> None:
    with hollow_base() as base:
        reference = base.push(elsewhere)
    skopeo(
        "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false",
        f"docker://{reference}", f"docker://{elsewhere.host}/other/train:1",
    )  # fmt: skip
    elsewhere.forget()
    done = team.envsync("copy", "train:1", f"{elsewhere.host}/other")
    assert done.code == 5, done.err
    assert "Nothing was written" in done.err
    assert {request.method for request in elsewhere.requests()} <= {"HEAD", "GET"}


def test_a_version_that_is_not_there_is_told_with_those_that_are(
    team: Team, published: Record
) -> None:
    done = team.envsync("copy", "train:7", "registry.example/other")
    assert (done.code, "It has: 1." in done.err) == (6, True)


def test_an_index_of_two_platforms_is_copied_with_its_children(
    server_team: Team, elsewhere: Registry
) -> None:
    assert server_team.registry is not None
    with hollow_base() as base:
        reference = base.push(server_team.registry)
    server_team.ask("serve", image=reference)
    assert server_team.envsync("apply").code == 0
    (record,) = server_team.records("serve")
    copied(server_team, "serve:1", f"{elsewhere.host}/other")
    assert digest_at(elsewhere, "other/serve", "1") == record.digest
    listed = json.loads(
        skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{elsewhere.host}/other/serve:1")
    )
    assert len(listed["manifests"]) == 2
    for child in listed["manifests"]:
        assert digest_at(elsewhere, "other/serve", child["digest"]) == child["digest"]


# ---- archives ----


def test_skopeo_reads_an_archive_and_copies_it_on(
    team: Team, published: Record, elsewhere: Registry, tmp_path: Path
) -> None:
    file = tmp_path / "train.tar"
    copied(team, "train:1", str(file))
    seen = json.loads(skopeo("inspect", f"oci-archive:{file}"))
    assert seen["Digest"] == published.digest
    assert seen["Labels"]["io.envsync.definition-hash"] == published.definition
    target = f"docker://{elsewhere.host}/carried/train:1"
    skopeo("copy", "--dest-tls-verify=false", f"oci-archive:{file}:1", target)
    assert digest_at(elsewhere, "carried/train", "1") == published.digest


def test_an_archive_is_the_same_bytes_each_time_and_never_overwritten(
    team: Team, published: Record, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.tar", tmp_path / "two.tar"
    copied(team, "train:1", str(one))
    copied(team, "train:1", f"oci-archive:{two}")
    assert one.read_bytes() == two.read_bytes()
    before = one.read_bytes()
    done = team.envsync("copy", "train:1", str(one))
    assert (done.code, "exists already" in done.err) == (6, True)
    assert one.read_bytes() == before
    assert sorted(tmp_path.glob(".envsync-*")) == []


def test_an_archive_is_taken_in_where_there_is_no_network(
    team: Team, published: Record, tmp_path: Path
) -> None:
    file = tmp_path / "train.tar"
    copied(team, "train:1", str(file))
    other = neighbour(team, tmp_path / "other")
    done = other.envsync("import", str(file), "--format=json")
    assert done.code == 0, done.err
    assert done.json["version"]["digest"] == published.digest
    assert other.tags("train") == {
        "1": published.digest,
        f"def-{published.definition}": published.digest,
    }
    assert "no record" not in done.err
    plan = other.envsync("plan", "--format=json").json
    verbs = [a["verb"] for e in plan["environments"] for a in e["actions"]]
    assert "build" not in verbs
    again = other.envsync("import", str(file))
    assert (again.code, "there already" in again.err) == (0, True)


def test_an_archive_that_git_here_contradicts_is_refused(
    team: Team, published: Record, tmp_path: Path
) -> None:
    file = tmp_path / "train.tar"
    copied(team, "train:1", str(file))
    other = Team(
        repository=new_repository(tmp_path / "other", dict(team.repository.environment)),
        channel=team.channel,
        cache=team.cache,
    )
    other.settings()
    other.ask("train", "tiny-00020")
    assert other.envsync("apply").code == 0
    before = other.tags("train")
    done = other.envsync("import", str(file))
    assert done.code == 5, done.err
    assert other.tags("train") == before


def rewritten(source: Path, target: Path, change: dict[str, bytes]) -> Path:
    """Write an archive again with other content for some of its files."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old:
            reader = old.extractfile(member)
            assert reader is not None
            data = change.get(member.name, reader.read())
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return target


def test_an_archive_with_other_bytes_than_it_says_is_refused(
    folder_team: Team, tmp_path: Path
) -> None:
    folder_team.ask("train", "tiny-00003")
    assert folder_team.envsync("apply").code == 0
    file = tmp_path / "train.tar"
    copied(folder_team, "train:1", str(file))
    other = neighbour(folder_team, tmp_path / "other")
    with tarfile.open(file) as tar:
        names = tar.getnames()
        index_reader = tar.extractfile("index.json")
        assert index_reader is not None
        index = json.loads(index_reader.read())
    top = index["manifests"][0]["digest"].removeprefix("sha256:")
    layer = next(n for n in names if n.startswith("blobs/") and not n.endswith(top))
    for changed in (
        {layer: b"something else"},
        {f"blobs/sha256/{top}": b"{}"},
        {"index.json": b"{}"},
        {"index.json": b"not JSON"},
    ):
        bad = rewritten(file, tmp_path / "bad.tar", changed)
        done = other.envsync("import", str(bad))
        assert done.code in (6, 8), (changed, done.out, done.err)
        assert other.tags("train") == {}
    bad.write_bytes(b"not a tar file at all")
    assert other.envsync("import", str(bad)).code == 6
    bare = json.loads(json.dumps(index))
    del bare["manifests"][0]["annotations"][RECORD]
    stranger = rewritten(file, tmp_path / "stranger.tar", {"index.json": json.dumps(bare).encode()})
    done = other.envsync("import", str(stranger))
    assert (done.code, "does not say which version" in done.err) == (6, True)


# ---- targets, records ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ghcr.io/team", RegistryTarget(host="ghcr.io", repository="team/train", tag="3")),
        ("ghcr.io/team/train", RegistryTarget(host="ghcr.io", repository="team/train", tag="3")),
        ("ghcr.io/team/x:v1", RegistryTarget(host="ghcr.io", repository="team/x", tag="v1")),
        ("localhost:5000/a", RegistryTarget(host="localhost:5000", repository="a/train", tag="3")),
        ("docker://h:1/a:b", RegistryTarget(host="h:1", repository="a", tag="b")),
        ("train.tar", ArchiveTarget(path="train.tar", tag="3")),
        ("oci-archive:/x/train.tar", ArchiveTarget(path="/x/train.tar", tag="3")),
        ("oci-archive:train:stable", ArchiveTarget(path="train", tag="stable")),
    ],
)
def test_targets_of_copies(text: str, expected: ArchiveTarget | RegistryTarget) -> None:
    assert parse_copy_target(text, "train", "3") == expected


@pytest.mark.parametrize(
    "text", ["", "train", "ghcr.io", "ghcr.io/a@b", "oci-archive:", "h.io/a:def-1"]
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_copy_target(text, "train", "3")


def test_a_record_comes_back_from_its_annotation() -> None:
    record = Record(
        name="train", version="3", definition="a" * 64, request="b" * 64,
        digest="sha256:" + "c" * 64, platforms=("linux-64",), lock_sha256="d" * 64,
        base_digest="", format=1, commit="e" * 40, created=1_700_000_000,
    )  # fmt: skip
    assert read_passport(passport(record, "x")[RECORD]) == record
    for bad in ("", "[]", "{}", '{"tag": "env/a/1", "message": "", "commit": "", "created": 1}'):
        with pytest.raises(ValueError):
            read_passport(bad)

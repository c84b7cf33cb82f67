"""Verify and repair: every kind of drift, made for real, is found, named and mended or left."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from envsync.model.reading import Present
from envsync.planning.findings import Finding, exit_code
from tests.parts.baseimage import hollow_base
from tests.parts.registry import Registry
from tests.team import MUTATING, Team

ABOUT_IMAGES = {
    "type": "object",
    "required": ["format_version", "versions", "exit_code", "findings", "repaired"],
}


def verified(team: Team, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = team.envsync("verify", "--format=json", *arguments)
    document = done.json
    jsonschema.validate(document, ABOUT_IMAGES)
    assert document["exit_code"] == done.code, done.err
    return done.code, document


def kinds(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(f["name"], f["version"], f["kind"]) for f in document["findings"]]


@pytest.fixture
def busy(team: Team) -> Team:
    """Two versions of one environment and one of another."""
    for name, package in (
        ("train", "tiny-00003"),
        ("train", "tiny-00004"),
        ("serve", "tiny-00003"),
    ):
        team.ask(name, package)
        assert team.envsync("apply").code == 0
    return team


def writes(team: Team) -> int:
    return sum(len(team.registry.requests(m)) for m in MUTATING) if team.registry else 0


def test_what_agrees_is_said_to_agree_and_nothing_is_written(busy: Team) -> None:
    before = (busy.state(), busy.arbiter.refs(), writes(busy))
    done = busy.envsync("verify", "--images", "--reproduce")
    assert (done.code, done.out) == (0, "Verified 3 versions: git and the registry agree.\n")
    assert (busy.state(), busy.arbiter.refs(), writes(busy)) == before


def test_a_wiped_registry_comes_back_with_every_version_and_its_digest(busy: Team) -> None:
    before = {name: busy.tags(name) for name in ("train", "serve")}
    busy.wipe_registry()
    code, found = verified(busy)
    assert code == 2
    assert {(n, v) for n, v, k in kinds(found) if k == "image_missing"} == {
        ("train", "1"), ("train", "2"), ("serve", "1"),
    }  # fmt: skip
    done = busy.envsync("verify", "--repair")
    assert done.code == 0, done.out + done.err
    assert "✓ train 1 republished" in done.out
    assert done.out.endswith("Verified 3 versions: git and the registry agree.\n")
    assert {name: busy.tags(name) for name in ("train", "serve")} == before
    busy.check("train", "serve")


def test_missing_tags_are_put_back(busy: Team) -> None:
    before = busy.tags("train")
    record = busy.records("train")[0]
    for tag in ("1", "latest", f"def-{record.definition}"):
        busy.delete_tag("train", tag)
    code, found = verified(busy)
    assert (code, kinds(found)) == (
        2,
        [
            ("train", "1", "content_tag_missing"),
            ("train", "1", "version_tag_missing"),
            ("train", "2", "latest_behind"),
        ],
    )
    assert verified(busy, "--repair")[0] == 0
    assert busy.tags("train") == before


def test_a_moved_tag_is_a_conflict_until_somebody_asks_for_repair(busy: Team) -> None:
    before = busy.tags("train")
    busy.move_tag("train", "1", before["2"])
    code, found = verified(busy, "train")
    assert (code, kinds(found)) == (5, [("train", "1", "version_tag_moved")])
    assert busy.tags("train") != before
    done = busy.envsync("verify", "train")
    assert "! 1 registry tag 1 names" in done.out
    assert "envsync verify --repair" in done.out
    assert verified(busy, "train", "--repair")[0] == 0
    assert busy.tags("train") == before


def test_other_peoples_tags_are_noted_and_left(busy: Team) -> None:
    busy.move_tag("train", "staging", busy.tags("train")["1"])
    busy.move_tag("train", "7", busy.tags("train")["1"])
    code, found = verified(busy, "--repair")
    assert code == 5
    assert sorted(kinds(found)) == [
        ("train", "", "record_missing"),
        ("train", "", "unmanaged_tag"),
    ]
    assert {"staging", "7"} <= busy.tags("train").keys()


def test_a_lost_blob_is_found_and_made_again(busy: Team) -> None:
    with busy.reader() as reader:
        read = reader.manifest(busy.place("train"), busy.tags("train")["2"])
        layer = read.value.document()["layers"][0]["digest"]  # type: ignore[union-attr]
    where = busy.layouts if busy.registry is None else busy.registry.data
    for path in where.rglob(layer.removeprefix("sha256:")):
        if path.is_file():
            path.unlink()
        else:
            subprocess.run(["rm", "-r", str(path)], check=True)
    code, found = verified(busy, "train")
    assert code == 2
    assert ("train", "2", "image_damaged") in kinds(found)
    assert verified(busy, "--repair")[0] == 0
    busy.check("train", "serve")


def test_a_damaged_layer_is_seen_when_images_are_read(folder_team: Team) -> None:
    folder_team.ask("train", "tiny-00003")
    assert folder_team.envsync("apply").code == 0
    blobs = (folder_team.layouts / "train/blobs/sha256").iterdir()
    largest = max(blobs, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(bytes(content))
    assert verified(folder_team)[0] == 0
    code, found = verified(folder_team, "--images")
    assert code in {5, 8}
    assert {k for _, _, k in kinds(found)} <= {"image_invalid", "unavailable"}


def test_a_record_that_differs_here_and_there_is_a_conflict(server_team: Team) -> None:
    team = server_team
    team.ask("train", "tiny-00003")
    assert team.envsync("apply").code == 0
    git = team.repository.git
    message = git("for-each-ref", "--format=%(contents)", "refs/tags/env/train/1")
    git("tag", "-d", "env/train/1")
    other = message.replace(team.records("train")[0].digest, "sha256:" + "0" * 64)
    git("tag", "-a", "-m", other, "env/train/1", team.records("train")[0].commit)
    code, found = verified(team)
    assert (code, kinds(found)) == (5, [("train", "1", "record_moved")])


def test_a_tag_that_is_no_record_is_a_conflict(folder_team: Team) -> None:
    folder_team.ask("train", "tiny-00003")
    assert folder_team.envsync("apply").code == 0
    folder_team.repository.git("tag", "env/train/2")
    code, found = verified(folder_team)
    assert (code, kinds(found)) == (5, [("train", "", "record_broken")])


def test_a_commit_that_no_branch_has_is_noted(folder_team: Team) -> None:
    team = folder_team
    first = team.repository.git("rev-parse", "HEAD").strip()
    team.ask("train", "tiny-00003")
    assert team.envsync("apply").code == 0
    team.repository.git("reset", "-q", "--hard", first)
    code, found = verified(team)
    assert (code, kinds(found)) == (0, [("train", "1", "record_unreachable")])


def test_a_record_of_another_definition_is_a_conflict(folder_team: Team) -> None:
    team = folder_team
    team.ask("train", "tiny-00003")
    assert team.envsync("apply").code == 0
    git, record = team.repository.git, team.records("train")[0]
    message = git("for-each-ref", "--format=%(contents)", "refs/tags/env/train/1")
    git("tag", "-d", "env/train/1")
    forged = message.replace(record.definition, "1" * 64)
    git("tag", "-a", "-m", forged, "env/train/1", record.commit)
    code, found = verified(team)
    assert code == 5
    assert ("train", "1", "definition_mismatch") in kinds(found)
    assert ("train", "1", "image_label_mismatch") in kinds(found)
    before = team.tags("train")
    assert verified(team, "--repair")[0] == 5
    assert team.tags("train") == before


def test_an_image_that_is_only_named_has_no_tags_to_miss(
    server_team: Team, registry: Registry
) -> None:
    with hollow_base() as image:
        base = image.push(registry)
        server_team.ask("plain", image=base)
        assert server_team.envsync("apply").code == 0
        assert verified(server_team)[0] == 0


def test_a_base_image_that_was_patched_is_noted(server_team: Team, registry: Registry) -> None:
    with hollow_base() as image:
        base = image.push(registry).partition("@")[0]
        server_team.ask("train", "tiny-00003", image=base)
        assert server_team.envsync("apply").code == 0
        assert kinds(verified(server_team)[1]) == []
        repository = base.removeprefix(f"{registry.host}/").rpartition(":")[0]
        tag = base.rpartition(":")[2]
        with server_team.reader() as reader:
            other = reader.manifest(server_team.place("train"), "latest")
            assert isinstance(other, Present)
            for entry in (other.value.document()["config"], *other.value.document()["layers"]):
                assert reader.mount_blob(repository, entry["digest"], server_team.place("train"))
            reader.put_manifest(repository, tag, other.value)
        code, found = verified(server_team)
        assert (code, kinds(found)) == (0, [("train", "", "base_image_moved")])


def test_a_registry_that_does_not_answer_makes_it_unknown(server_team: Team) -> None:
    server_team.ask("train", "tiny-00003")
    assert server_team.envsync("apply").code == 0
    assert server_team.registry is not None
    server_team.registry.down()
    code, found = verified(server_team, "--repair")
    assert code == 8
    assert {k for _, _, k in kinds(found)} == {"unavailable"}


def test_a_remote_that_does_not_answer_ends_it(server_team: Team) -> None:
    server_team.ask("train", "tiny-00003")
    assert server_team.envsync("apply").code == 0
    server_team.arbiter.path.rename(server_team.arbiter.path.with_suffix(".away"))
    done = server_team.envsync("verify")
    assert done.code == 8
    assert "nobody can say which versions are recorded" in done.err


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ((), 0),
        (("unmanaged_tag",), 0),
        (("version_tag_missing", "unmanaged_tag"), 2),
        (("version_tag_missing", "unavailable"), 8),
        (("unavailable", "not_allowed"), 7),
        (("not_allowed", "version_tag_moved"), 5),
    ],
)
def test_the_worst_decides_the_exit_code(found: tuple[Any, ...], code: int) -> None:
    assert exit_code([Finding(kind=kind, name="a", text="") for kind in found]) == code


def test_a_repository_that_is_of_no_environment_is_named(busy: Team) -> None:
    busy.ask("gone", "tiny-00002")
    assert busy.envsync("apply").code == 0
    for where in (busy.repository, busy.arbiter):
        where.git("update-ref", "-d", "refs/tags/env/gone/1")
    busy.repository.git("rm", "-r", "--quiet", "environments/gone", "locks/gone")
    busy.repository.commit("Take it away, and its records with it")
    done = busy.envsync("verify")
    assert done.code == 0
    assert f"{busy.place('gone')} is of no environment  (orphan_repository)" in done.out
    assert done.out.count("orphan_repository") == 1
    assert "orphan_repository" not in busy.envsync("verify", "train").out


def test_in_a_shallow_clone_what_cannot_be_read_is_said(server_team: Team, tmp_path: Path) -> None:
    for package in ("tiny-00003", "tiny-00004"):
        server_team.ask("train", package)
        assert server_team.envsync("apply").code == 0
    server_team.repository.git("push", "--quiet", "origin", "main")
    assert server_team.remote is not None
    bare, folder = server_team.remote.bare, tmp_path / "shallow"
    options = ["--quiet", "--depth=1", "--no-tags", "--single-branch"]
    bare.git("clone", *options, server_team.remote.url, str(folder))
    server_team.repository = type(server_team.repository)(path=folder, environment=bare.environment)
    code, document = verified(server_team)
    assert (code, kinds(document)) == (0, [("train", "1", "commit_missing")])
    (finding,) = document["findings"]
    assert "what it was made from cannot be read" in finding["text"]

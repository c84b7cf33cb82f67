"""The git adapter on real repositories: trees, records, races, the user's state untouched."""

from __future__ import annotations

import gc
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from envsync.adapters.git.repository import GitRepository
from envsync.errors import InvalidInput, NotAllowed
from envsync.model.reading import Present, Unknown
from envsync.model.record import Record
from tests.reliability.counts import count


def git(folder: Path, *arguments: str) -> str:
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.com",
        "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.com",
        "GIT_COMMITTER_DATE": "1700000000 +0100", "GIT_AUTHOR_DATE": "1700000000 +0100",
    }  # fmt: skip
    return subprocess.run(
        ["git", "-C", folder, *arguments], check=True, capture_output=True, env=environment
    ).stdout.decode()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "environments/a").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "environments/a/environment.yaml").write_text("name: a\n")
    (folder / "environments/a/link.yaml").symlink_to("environment.yaml")
    (folder / "environments/a/out.yaml").symlink_to("../../../secret")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


@pytest.fixture
def remote(work: Path, tmp_path: Path) -> Path:
    bare = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "-b", "main", "--bare", str(bare))
    git(work, "remote", "add", "origin", str(bare))
    git(work, "push", "-q", "origin", "main")
    return bare


def opened(work: Path, tmp_path: Path, cache: str = "cache") -> GitRepository:
    return GitRepository(work, remote="origin", cache=tmp_path / cache, environ=os.environ)


def a_record(repository: GitRepository, version: str = "1", definition: str = "d") -> Record:
    commit = repository.commit("HEAD")
    return Record(
        name="a",
        version=version,
        definition=definition * 64,
        request="e" * 64,
        digest="sha256:" + "f" * 64,
        platforms=("linux-64",),
        lock_sha256="0" * 64,
        base_digest="",
        format=1,
        commit=commit.id,
        created=commit.date,
    )


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes())
        for p in folder.rglob("*")
        if p.is_file() and not p.is_symlink()
    }


def test_the_process_that_reads_objects_ends_with_who_asked(work: Path, tmp_path: Path) -> None:
    """A service opens a repository each round: none may wait for the garbage collector."""

    def readers() -> int:
        mine = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "cat-file"], text=True,
                              stdout=subprocess.PIPE)  # fmt: skip
        return len(mine.stdout.split())

    gc.collect()
    before = readers()
    gc.disable()
    try:
        tree = opened(work, tmp_path).tree("HEAD")
        assert tree.read("environments/a/environment.yaml") == b"name: a\n"
        assert readers() == before + 1
        del tree
        assert readers() == before
    finally:
        gc.enable()


def test_a_commits_tree_lists_and_reads_files_and_follows_links_inside_it(
    work: Path, tmp_path: Path
) -> None:
    tree = opened(work, tmp_path).tree("HEAD")
    assert tree.list("environments") == ("a/",)
    assert tree.list("environments/a") == ("environment.yaml", "link.yaml", "out.yaml")
    assert tree.list("nowhere") == ()
    assert tree.read("environments/a/environment.yaml") == b"name: a\n"
    assert tree.read("environments/a/link.yaml") == b"name: a\n"
    assert tree.read("environments/a") is None
    assert tree.read("absent") is None
    with pytest.raises(InvalidInput, match="leaves the repository"):
        tree.read("environments/a/out.yaml")


def test_the_tree_is_the_commits_whatever_the_working_folder_holds(
    work: Path, tmp_path: Path
) -> None:
    (work / "environments/a/environment.yaml").write_text("changed\n")
    (work / "environments/b").mkdir()
    (work / "environments/b/new.yaml").write_text("new\n")
    repository = opened(work, tmp_path)
    assert repository.tree("HEAD").read("environments/a/environment.yaml") == b"name: a\n"
    assert repository.uncommitted(["environments"]) == (
        "environments/a/environment.yaml",
        "environments/b/new.yaml",
    )


def test_a_repository_without_commits_says_so(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(InvalidInput, match="no commit yet"):
        opened(tmp_path, tmp_path).commit("HEAD")


def test_records_are_created_once_in_the_local_repository(work: Path, tmp_path: Path) -> None:
    repository = opened(work, tmp_path)
    record = a_record(repository)
    assert repository.remote == ""
    assert repository.records() == Present(repository.known_records())
    assert repository.record([record]) == "recorded"
    assert repository.record([record]) == "recorded"
    assert repository.known_records().records == (record,)
    other = replace(record, definition="c" * 64)
    fresh = replace(record, version="2")
    assert repository.record([fresh, other]) == "lost"
    assert repository.known_records().records == (record,)


def test_records_go_to_the_remote_and_come_back_elsewhere(
    work: Path, remote: Path, tmp_path: Path
) -> None:
    repository = opened(work, tmp_path)
    records = [a_record(repository, "1"), a_record(repository, "2", "c")]
    assert repository.record(records) == "recorded"
    assert git(remote, "tag", "--list").split() == ["env/a/1", "env/a/2"]
    git(remote, "fsck", "--strict")
    git(tmp_path, "clone", "-q", "--no-tags", str(remote), "elsewhere")
    elsewhere = tmp_path / "elsewhere"
    before = state(elsewhere)
    other = opened(elsewhere, tmp_path, "other-cache")
    read = other.records()
    assert isinstance(read, Present)
    assert set(read.value.records) == set(records)
    assert other.known_records().records == ()
    assert state(elsewhere) == before


def test_two_machines_that_make_the_same_version_make_the_same_tag(
    work: Path, remote: Path, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "-q", str(remote), "elsewhere")
    here = opened(work, tmp_path)
    there = opened(tmp_path / "elsewhere", tmp_path, "other-cache")
    assert here.record([a_record(here)]) == "recorded"
    assert there.record([a_record(there)]) == "recorded"
    assert there.record([a_record(there, definition="c"), a_record(there, "2")]) == "lost"
    assert git(remote, "tag", "--list").split() == ["env/a/1"]


def test_a_remote_that_refuses_tags_is_named_and_nothing_is_recorded(
    work: Path, remote: Path, tmp_path: Path
) -> None:
    hook = remote / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho no tags here >&2\nexit 1\n")
    hook.chmod(0o755)
    repository = opened(work, tmp_path)
    with pytest.raises(NotAllowed, match="refused the records") as caught:
        repository.record([a_record(repository)])
    assert "no tags here" in caught.value.detail
    assert git(work, "tag", "--list") == ""


def test_an_unreachable_remote_is_unknown_and_never_empty(work: Path, tmp_path: Path) -> None:
    git(work, "remote", "add", "origin", "https://user:canary@127.0.0.1:9/x.git")
    read = opened(work, tmp_path).records()
    assert isinstance(read, Unknown)
    assert read.why == "unavailable"
    assert "canary" not in read.reason


def test_tags_that_are_no_records_are_reported(work: Path, tmp_path: Path) -> None:
    git(work, "tag", "env/a/1")
    git(work, "tag", "-a", "-m", "hello", "env/a/2")
    broken = opened(work, tmp_path).known_records().broken
    assert broken["env/a/1"] == "it is not an annotated tag"
    assert "no record" in broken["env/a/2"]


HOSTILE_RECORDS: dict[str, dict[str, object]] = {
    "a path as definition": {"definition": "../../../outside/secret"},
    "an absolute path as definition": {"definition": "/etc/hostname"},
    "no definition": {"definition": ""},
    "a path as digest": {"digest": "../../blobs/uploads"},
    "a tag as digest": {"digest": "latest"},
    "another hash as digest": {"digest": "sha512:" + "0" * 64},
    "a path as base digest": {"base_digest": "../x"},
    "a format without end": {"format": float("inf")},
    "a format that is no number": {"format": "1e999"},
    "platforms that are none": {"platforms": 7},
    "another name": {"name": "b"},
}


@pytest.mark.parametrize("name", HOSTILE_RECORDS)
def test_a_tag_that_is_no_record_is_told_of_and_blocks_no_other(
    name: str, work: Path, tmp_path: Path
) -> None:
    repository = opened(work, tmp_path)
    good = a_record(repository)
    assert repository.record([replace(good, version="2")]) == "recorded"
    head, _, body = good.message().partition("\n\n")
    document = json.dumps({**json.loads(body), **HOSTILE_RECORDS[name]})
    git(work, "tag", "-a", "env/a/1", "-m", f"{head}\n\n{document}")
    found = opened(work, tmp_path).known_records()
    assert [record.version for record in found.records] == ["2"]
    assert list(found.broken) == ["env/a/1"]
    count("X3", payloads=1, refused=1)


def test_a_tag_that_is_nested_without_end_is_told_of(work: Path, tmp_path: Path) -> None:
    git(work, "tag", "-a", "env/a/1", "-m", "x\n\n" + "[" * 50_000)
    found = opened(work, tmp_path).known_records()
    assert list(found.broken) == ["env/a/1"]
    count("X1", bombs=1, refused=1)


@pytest.mark.parametrize("name", [":(glob)*", ":(top)x", ":!x", ":/x", "[ab]", "*", "-x", "--all"])
def test_a_path_means_itself_to_git(name: str, work: Path, tmp_path: Path) -> None:
    for folder in (name, f"environments/{name}"):
        (work / folder).mkdir(parents=True)
        (work / folder / "file").write_text("here\n")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "odd names")
    repository = opened(work, tmp_path)
    tree = repository.tree("HEAD")
    for folder in (name, f"environments/{name}"):
        assert tree.read(f"{folder}/file") == b"here\n"
        assert [file.path for file in tree.files(folder)] == ["file"]
        (change,) = repository.changes("HEAD~1", "HEAD", [folder]) or ()
        assert change.commit == repository.commit("HEAD").id
        assert repository.uncommitted([folder]) == ()
    assert tree.read("nowhere/" + name) is None
    count("X13", arguments=1, taken_as_text=1)

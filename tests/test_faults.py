"""What goes wrong outside: the right exit code and words, nothing broken, mended by a rerun."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.parts.cache import Unavailable
from tests.parts.gitremote import GitRemote
from tests.parts.process import tool
from tests.parts.registry import Registry, run_registry
from tests.registry.proxy import DROP, Asked, Proxy, Reply, errors, proxied
from tests.team import MUTATING, Done, Team


def finished(team: Team, *names: str) -> None:
    """Assert that running again brings what one undisturbed run would have brought."""
    done = team.envsync("apply")
    assert done.code == 0, done.out + done.err
    for name in names:
        assert team.versions(name) == ["1"]
        digest = team.records(name)[0].digest
        assert team.tags(name)["latest"] == team.tags(name)["1"] == digest
    team.check(*names)
    assert "Nothing to do" in team.envsync("apply").out


def failed(done: Done, code: int, *words: str) -> None:
    """Assert how a command failed, in words and without a traceback."""
    said = done.out + done.err
    assert done.code == code, said
    for word in words:
        assert word in said
    assert "Traceback" not in said
    assert "unexpected error" not in said


@pytest.fixture
def registry_of(server_team: Team) -> Registry:
    """The registry of `server_team`."""
    assert server_team.registry is not None
    return server_team.registry


@pytest.fixture
def remote_of(server_team: Team) -> GitRemote:
    """The git remote of `server_team`."""
    assert server_team.remote is not None
    return server_team.remote


@pytest.fixture
def proxy(server_team: Team, registry_of: Registry) -> Iterator[Proxy]:
    """A proxy in front of the registry, which the settings name."""
    with proxied(registry_of.host) as proxy:
        server_team.address = proxy.host
        server_team.settings()
        yield proxy


@pytest.mark.parametrize("command", ["plan", "apply", "status"])
def test_a_registry_that_cannot_be_reached(
    server_team: Team, registry_of: Registry, command: str
) -> None:
    server_team.ask("train", "tiny-00003")
    registry_of.down()
    done = server_team.envsync(command)
    failed(done, 8, registry_of.host, "unknown")
    assert server_team.versions("train") == []
    registry_of.up()
    finished(server_team, "train")


def test_a_registry_that_wants_another_login(server_team: Team, tmp_path: Path) -> None:
    with run_registry(auth=True) as locked:
        server_team.registry = locked
        server_team.settings()
        server_team.ask("train", "tiny-00003")
        failed(server_team.envsync("apply"), 7, locked.host)
        config = locked.docker_config(tmp_path / "docker-config")
        wrong = json.loads((config / "config.json").read_text())
        wrong["auths"][locked.host] = {"auth": "ZW52c3luYzpjYW5hcnk="}
        (config / "config.json").write_text(json.dumps(wrong))
        server_team.variables["DOCKER_CONFIG"] = str(config)
        done = server_team.envsync("apply")
        failed(done, 7, locked.host)
        assert "canary" not in done.out + done.err
        assert "ZW52c3luYzpjYW5hcnk" not in done.out + done.err
        locked.docker_config(config)
        assert server_team.envsync("apply").code == 0
        assert server_team.versions("train") == ["1"]


def test_a_registry_that_takes_nothing(server_team: Team) -> None:
    with run_registry(read_only=True) as closed:
        server_team.registry = closed
        server_team.settings()
        server_team.ask("train", "tiny-00003")
        done = server_team.envsync("apply")
        assert done.code in (7, 8)
        failed(done, done.code, closed.host)
    assert server_team.versions("train") == []


class Fuse:
    """Lets so many mutating requests pass; then nothing is answered any more."""

    def __init__(self, proxy: Proxy, passing: int, *, commits: bool) -> None:
        self.left = passing
        self.commits = commits
        self.blown = False
        proxy.rule(self)

    def __call__(self, asked: Asked, ask: Callable[[], Reply]) -> Reply | None:
        if self.blown:
            return Reply(status=DROP)
        if asked.method not in MUTATING:
            return None
        if self.left:
            self.left -= 1
            return None
        self.blown = True
        if self.commits:
            ask()
        return Reply(status=DROP)


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.full)])
def test_a_registry_that_goes_away_at_any_of_its_requests(
    server_team: Team, registry_of: Registry, remote_of: GitRemote, proxy: Proxy, every: int
) -> None:
    """Before or after it did what was asked; then running again finishes."""
    server_team.ask("train", "tiny-00001")
    assert server_team.envsync("apply").code == 0
    whole = len([a for a in proxy.asked if a.method in MUTATING])
    assert whole >= 10
    for passing in range(0, whole, every):
        for commits in (False, True):
            server_team.wipe_registry()
            for where in (server_team.repository, remote_of.bare):
                where.git("update-ref", "-d", "refs/tags/env/train/1")
            fuse = Fuse(proxy, passing, commits=commits)
            done = server_team.envsync("apply")
            assert fuse.blown
            failed(done, 8)
            server_team.check("train")
            proxy._rules.remove(fuse)
            server_team.verified.clear()
            finished(server_team, "train")


def test_only_what_cannot_be_read_is_left_alone(server_team: Team, proxy: Proxy) -> None:
    server_team.ask("train", "tiny-00001")
    server_team.ask("serve", "tiny-00002")
    proxy.on("HEAD", "/serve/", Reply(status=500))
    done = server_team.envsync("apply", "--format=json")
    assert done.code == 8
    states = {e["name"]: e["state"] for e in done.json["environments"]}
    assert states == {"train": "done", "serve": "failed"}
    assert not [a for a in proxy.asked if a.method in MUTATING and "/serve/" in a.path]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Reply(status=401), 7),
        (Reply(status=403), 7),
        (Reply(status=429), 8),
        (Reply(status=500), 8),
        (Reply(status=503), 8),
        (Reply(status=DROP), 8),
        (Reply(status=200, headers={"content-type": "text/html"}, body=b"<html>"), 8),
        (Reply(status=302, headers={"location": "/v2/team/envs/train/manifests/x"}), 8),
        (Reply(status=418), 8),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
def test_no_answer_but_not_found_leads_to_building(
    server_team: Team, proxy: Proxy, answer: Reply, code: int
) -> None:
    server_team.ask("train", "tiny-00001")
    for method in ("HEAD", "GET"):
        proxy.on(method, "/manifests/", answer)
    done = server_team.envsync("apply")
    failed(done, code)
    assert "reading" not in done.err
    assert not [a for a in proxy.asked if a.method in MUTATING]
    assert server_team.versions("train") == []


def test_what_was_put_and_is_not_what_is_read_back_is_not_recorded(
    server_team: Team, proxy: Proxy
) -> None:
    server_team.ask("train", "tiny-00001")
    proxy.on("GET", "/manifests/def-", errors(404, "MANIFEST_UNKNOWN"))
    failed(server_team.envsync("apply"), 8)
    assert server_team.versions("train") == []
    proxy._rules.clear()
    finished(server_team, "train")


def test_a_git_remote_that_refuses_the_records(server_team: Team, remote_of: GitRemote) -> None:
    server_team.ask("train", "tiny-00003")
    remote_of.reject("^refs/tags/env/", "tags are protected here")
    failed(
        server_team.envsync("apply"),
        7,
        "refused the records",
        "tags are protected here",
        "Allow the identity that runs envsync to create tags below env/.",
    )
    assert server_team.repository.refs("refs/tags/") == {}
    assert "1" not in server_team.tags("train")
    remote_of.behave()
    finished(server_team, "train")


@pytest.mark.parametrize("command", ["plan", "apply", "status"])
def test_a_git_remote_that_is_not_there(
    server_team: Team, remote_of: GitRemote, command: str
) -> None:
    server_team.ask("train", "tiny-00003")
    away = remote_of.path.rename(remote_of.path.with_name("away.git"))
    failed(server_team.envsync(command), 8, "origin")
    assert server_team.tags("train") == {}
    away.rename(remote_of.path)
    finished(server_team, "train")


@pytest.mark.parametrize("command", [["list"], ["history", "train"], ["show", "train"]])
def test_without_the_git_remote_people_see_what_is_known_here(
    server_team: Team, remote_of: GitRemote, command: list[str]
) -> None:
    server_team.ask("train", "tiny-00003")
    assert server_team.envsync("apply").code == 0
    remote_of.path.rename(remote_of.path.with_name("away.git"))
    done = server_team.envsync(*command)
    assert done.code == 0
    assert "warning: these are the records known here" in done.err
    assert "1" in done.out


def test_a_push_whose_answer_is_lost_counts_as_what_it_did(
    server_team: Team, remote_of: GitRemote
) -> None:
    server_team.ask("train", "tiny-00003")
    remote_of.drop_after_update()
    assert server_team.envsync("apply").code == 0
    assert server_team.versions("train") == ["1"]
    remote_of.behave()
    finished(server_team, "train")


def test_a_push_that_never_arrived_is_made_again_by_the_next_run(
    server_team: Team, remote_of: GitRemote
) -> None:
    server_team.ask("train", "tiny-00003")
    remote_of.drop_before_update()
    failed(server_team.envsync("apply"), 8, "did not take the records")
    assert server_team.versions("train") == []
    remote_of.behave()
    finished(server_team, "train")


@pytest.mark.parametrize("updates", [False, True])
def test_when_nobody_can_say_whether_it_was_recorded_the_next_run_finds_out(
    server_team: Team, remote_of: GitRemote, updates: bool
) -> None:
    server_team.ask("train", "tiny-00003")
    away = remote_of.path.with_name("away.git")
    script = f"mv {remote_of.path} {away}; kill -KILL $PPID"
    if updates:
        remote_of._hook("post-receive", script)
    else:
        remote_of.run_before_update(script)
    failed(server_team.envsync("apply"), 8, "nobody can say whether the records were written")
    away.rename(remote_of.path)
    remote_of.behave()
    assert server_team.versions("train") == (["1"] if updates else [])
    finished(server_team, "train")


def test_records_are_found_in_a_shallow_clone_with_one_branch(
    server_team: Team, remote_of: GitRemote, tmp_path: Path
) -> None:
    server_team.ask("train", "tiny-00003")
    assert server_team.envsync("apply").code == 0
    server_team.ask("train", "tiny-00004")
    server_team.repository.git("push", "--quiet", "origin", "main")
    folder = tmp_path / "shallow"
    options = ["--quiet", "--depth=1", "--no-tags", "--single-branch"]
    remote_of.bare.git("clone", *options, remote_of.url, str(folder))
    whole = server_team.envsync("plan", "--format=json").json
    server_team.repository = type(server_team.repository)(
        path=folder, environment=remote_of.bare.environment
    )
    plan = server_team.envsync("plan", "--format=json").json
    assert plan["plan_id"] == whole["plan_id"], "what cannot be explained can be carried out"
    assert server_team.envsync("apply").code == 0
    assert server_team.versions("train") == ["1", "2"]


def test_a_stale_lock_of_the_index_is_in_nobodys_way(folder_team: Team) -> None:
    folder_team.ask("train", "tiny-00003")
    (folder_team.root / ".git/index.lock").touch()
    assert folder_team.envsync("apply").code == 0
    assert folder_team.versions("train") == ["1"]


def test_it_works_in_a_linked_work_tree_and_in_a_folder_below(
    folder_team: Team, tmp_path: Path
) -> None:
    folder_team.ask("train", "tiny-00003")
    folder_team.repository.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    folder_team.repository = type(folder_team.repository)(
        path=tmp_path / "linked", environment=folder_team.repository.environment
    )
    done = folder_team.envsync("-C", str(folder_team.root / "environments/train"), "apply")
    assert done.code == 0, done.err
    assert folder_team.repository.refs("refs/tags/").keys() == {"refs/tags/env/train/1"}


def test_a_damaged_folder_of_images_is_told_of_and_left_alone(folder_team: Team) -> None:
    folder_team.ask("train", "tiny-00003")
    assert folder_team.envsync("apply").code == 0
    index = folder_team.layouts / "train/index.json"
    index.write_text("{")
    failed(folder_team.envsync("apply"), 8, "is damaged")
    assert index.read_text() == "{"
    shutil.rmtree(folder_team.layouts / "train")
    finished(folder_team, "train")


@pytest.mark.parametrize("command", ["plan", "apply", "lock"])
def test_a_cache_that_cannot_be_a_folder(folder_team: Team, tmp_path: Path, command: str) -> None:
    folder_team.ask("train", "tiny-00003")
    folder_team.cache = tmp_path / "a file"
    folder_team.cache.write_text("")
    if command == "lock":
        folder_team.spec("train", "tiny-00004")
    done = folder_team.envsync(command)
    if command == "plan":
        assert done.code == 0  # it is slower, and not impossible
    else:
        failed(done, 8, f"the cache folder {folder_team.cache} cannot be used")


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Callable[[int], None]]:
    """Mount a file system of a size at *folder*; gives a way to change the size."""
    if os.geteuid() != 0:
        raise Unavailable("mounting needs root")
    folder.mkdir(parents=True, exist_ok=True)

    def mount(*options: str) -> None:
        command = [tool("mount"), "-t", "tmpfs", *options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"mounting is not possible: {done.stderr}")

    mount("-o", f"size={kilobytes}k")
    try:
        yield lambda size: mount("-o", f"remount,size={size}k")
    finally:
        subprocess.run([tool("umount"), "--lazy", str(folder)], check=True)


SIZES = [4, 24, 48, 96, 160, 256]
"""In kilobytes: each is full at another step; the last may be enough."""


@pytest.mark.parametrize("kilobytes", SIZES)
@pytest.mark.parametrize("where", ["the cache", "the registry"])
def test_a_full_disk_leaves_nothing_half_written(
    folder_team: Team, tmp_path: Path, kilobytes: int, where: str
) -> None:
    folder_team.ask("train", "tiny-00009")
    if where == "the cache":
        folder_team.cache = tmp_path / "small"
    disk = folder_team.cache if where == "the cache" else folder_team.root / ".envsync"
    with small_disk(disk, kilobytes) as resize:
        done = folder_team.envsync("apply")
        if done.code or kilobytes < 96:
            failed(done, 8, "space")
            assert "Free some space" in done.err
            assert folder_team.versions("train") == []
            folder_team.check("train")
            left = [p for p in disk.rglob("*") if p.name.endswith(".part") or ".writing/" in str(p)]
            assert left == []
        resize(10_000)
        finished(folder_team, "train")

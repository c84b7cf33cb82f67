"""Reconcile, on real git remotes: what it locks, pushes and builds, and what it leaves alone."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from envsync.cli.service import Health, Log, Metrics, Service
from envsync.errors import InvalidInput, Unavailable
from envsync.operations.outcome import Outcome, Result
from envsync.operations.reconcile import Tick
from envsync.planning.pace import LONGEST, Breaker, Pace
from tests.parts.channel import write_channel
from tests.parts.gitremote import GitRepository
from tests.parts.madeup import made
from tests.parts.package import File, write_package
from tests.team import MUTATING, Done, Team


@pytest.fixture
def pushed(server_team: Team) -> Team:
    """A team whose settings are on the remote's main branch."""
    publish(server_team)
    return server_team


def publish(team: Team) -> str:
    """Push HEAD to main, as a merged pull request would be; return the commit."""
    team.repository.git("push", "-q", "origin", "HEAD:refs/heads/main")
    return team.repository.git("rev-parse", "HEAD").strip()


def want(team: Team, name: str, *packages: str, text: str = "") -> str:
    """Push a spec without a lock."""
    team.spec(name, *packages, text=text)
    team.repository.commit(f"{name}: {', '.join(packages)}")
    return publish(team)


def once(team: Team, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = team.envsync("reconcile", "--once", "--format=json", *arguments)
    assert done.code == code, done.out + done.err
    document: dict[str, Any] = done.json
    return document


def states(document: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {e["name"]: (e["state"], e["version"]) for e in document["environments"]}


def main_of(team: Team) -> str:
    return team.arbiter.git("rev-parse", "refs/heads/main").strip()


def writes(team: Team) -> int:
    assert team.registry is not None
    return sum(len(team.registry.requests(method)) for method in MUTATING)


@contextlib.contextmanager
def another_clone(team: Team, folder: Path) -> Iterator[GitRepository]:
    assert team.remote is not None
    yield team.remote.clone(folder)


def test_a_spec_without_a_lock_is_locked_pushed_built_and_recorded(pushed: Team) -> None:
    spec = want(pushed, "train", "tiny-00003")
    before = pushed.state()
    document = once(pushed)
    assert states(document) == {"train": ("done", "1")}
    assert document["locked"] == ["train"]
    assert pushed.state() == before
    head = main_of(pushed)
    assert pushed.arbiter.git("rev-parse", f"{head}^").strip() == spec
    message = pushed.arbiter.git("log", "-1", "--format=%an <%ae>%n%B", head)
    assert message.startswith("envsync <envsync@localhost>\nLock train\n\ntrain:\n")
    assert pushed.records("train")[0].commit == head
    changed = pushed.arbiter.git("diff", "--name-only", spec, head).split()
    assert changed == ["locks/train/conda-lock.yml", "locks/train/image.yaml"]


def test_a_second_tick_writes_nothing_at_all(pushed: Team) -> None:
    want(pushed, "train", "tiny-00003")
    once(pushed)
    before = (main_of(pushed), pushed.arbiter.refs(), writes(pushed))
    assert states(once(pushed)) == {"train": ("unchanged", "1")}
    assert (main_of(pushed), pushed.arbiter.refs(), writes(pushed)) == before


def test_it_tells_people_what_it_did(pushed: Team) -> None:
    want(pushed, "train", "tiny-00003")
    done = pushed.envsync("reconcile", "--once")
    assert done.code == 0
    first, second, last = done.out.splitlines()
    assert first.startswith("✓ locks pushed: train  ")
    assert re.fullmatch(r"✓ train 1  sha256:[0-9a-f]{64}", second)
    assert re.fullmatch(r"Reconciled [0-9a-f]{12}: 1 done\.", last)


def test_one_that_cannot_be_locked_blocks_no_other(pushed: Team) -> None:
    want(pushed, "train", "tiny-00003")
    want(pushed, "wrong", "no-such-package")
    document = once(pushed, code=6)
    assert states(document) == {"train": ("done", "1"), "wrong": ("failed", "")}
    (error,) = [e["error"] for e in document["environments"] if e["error"]]
    assert "no-such-package" in error["detail"]
    assert document["locked"] == ["train"]


def test_a_spec_that_cannot_be_read_blocks_no_other(pushed: Team) -> None:
    want(pushed, "train", "tiny-00003")
    pushed.repository.write({"environments/wrong/environment.yaml": "name: wrong\nimage: [1]\n"})
    pushed.repository.commit("a broken spec")
    publish(pushed)
    document = once(pushed, code=6)
    assert states(document) == {"train": ("done", "1"), "wrong": ("failed", "")}


def test_a_rollback_is_followed_and_never_undone(pushed: Team) -> None:
    want(pushed, "train", "tiny-00003")
    once(pushed)
    pushed.repository.git("pull", "-q", "--ff-only", "origin", "main")
    want(pushed, "train", "tiny-00004")
    once(pushed)
    pushed.repository.git("pull", "-q", "--ff-only", "origin", "main")
    first, second = pushed.records("train")
    pushed.repository.git("revert", "--no-edit", "HEAD", "HEAD~1")
    publish(pushed)
    assert states(once(pushed)) == {"train": ("done", "3")}
    assert pushed.records("train")[2].digest == first.digest != second.digest
    head = main_of(pushed)
    assert states(once(pushed)) == {"train": ("unchanged", "3")}
    assert main_of(pushed) == head


def test_a_branch_that_moves_while_it_is_locked_is_locked_again(
    pushed: Team, tmp_path: Path
) -> None:
    want(pushed, "train", "tiny-00003")
    raced = tmp_path / "raced"
    hook = pushed.arbiter.path / "hooks/pre-receive"
    # The first push meets a branch that somebody else moved in the same moment.
    hook.write_text(
        f"#!/bin/sh\nif [ ! -e {raced} ]; then touch {raced};\n"
        "unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES\n"
        "tree=$(git rev-parse main^{tree})\n"
        "export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@example.com\n"
        "export GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@example.com\n"
        "made=$(git commit-tree -m other -p main $tree)\n"
        "git update-ref refs/heads/main $made; fi\n"
    )
    hook.chmod(0o755)
    document = once(pushed)
    assert states(document) == {"train": ("done", "1")}
    assert raced.exists()
    subjects = pushed.arbiter.git("log", "--format=%s", "main").splitlines()
    assert subjects[:2] == ["Lock train", "other"]


def test_a_protected_branch_is_told_and_the_rest_goes_on(pushed: Team) -> None:
    pushed.ask("serve", "tiny-00004")
    publish(pushed)
    want(pushed, "train", "tiny-00003")
    hook = pushed.arbiter.path / "hooks/update"
    hook.write_text('#!/bin/sh\ncase "$1" in refs/heads/*) echo protected branch; exit 1;; esac\n')
    hook.chmod(0o755)
    before = main_of(pushed)
    document = once(pushed, code=6)
    assert document["push_error"]["exit_code"] == 7
    assert states(document) == {"serve": ("done", "1"), "train": ("failed", "")}
    assert main_of(pushed) == before


def test_locks_can_be_left_to_people(pushed: Team) -> None:
    pushed.settings("reconcile: {lock: never}\n")
    pushed.repository.commit("locks are made by people")
    want(pushed, "train", "tiny-00003")
    before = main_of(pushed)
    document = once(pushed, code=6)
    assert states(document) == {"train": ("failed", "")}
    assert main_of(pushed) == before


def test_another_branch_can_be_followed(pushed: Team) -> None:
    before = main_of(pushed)
    pushed.spec("train", "tiny-00003")
    pushed.repository.commit("train")
    pushed.repository.git("push", "-q", "origin", "HEAD:refs/heads/release")
    assert states(once(pushed, "--branch", "release")) == {"train": ("done", "1")}
    assert main_of(pushed) == before
    done = pushed.envsync("reconcile", "--once", "--branch", "nowhere")
    assert done.code == 6
    assert "has no branch 'nowhere'" in done.err


def test_what_two_programs_are_at_odds_about_is_stopped(pushed: Team) -> None:
    for package in ("tiny-00003", "tiny-00004") * 2:
        pushed.ask("train", package)
        publish(pushed)
        assert states(once(pushed))["train"][0] == "done"
    pushed.ask("train", "tiny-00003")
    publish(pushed)
    document = once(pushed, code=5)
    assert states(document) == {"train": ("failed", "")}
    assert "goes back and forth" in document["environments"][0]["error"]["summary"]
    assert pushed.versions("train") == ["1", "2", "3", "4"]
    assert pushed.envsync("apply", "train").code == 0
    assert pushed.versions("train") == ["1", "2", "3", "4", "5"]


def test_a_wiped_registry_is_filled_again(pushed: Team) -> None:
    want(pushed, "train", "tiny-00003")
    once(pushed)
    before = pushed.tags("train")
    pushed.wipe_registry()
    assert states(once(pushed)) == {"train": ("done", "1")}
    assert pushed.tags("train") == before


def test_a_registry_that_is_away_is_unknown(pushed: Team) -> None:
    want(pushed, "train", "tiny-00003")
    assert pushed.registry is not None
    pushed.registry.down()
    document = once(pushed, code=8)
    assert states(document) == {"train": ("failed", "")}
    pushed.registry.up()
    assert states(once(pushed)) == {"train": ("done", "1")}


def test_a_remote_that_is_away_ends_it(pushed: Team) -> None:
    pushed.arbiter.path.rename(pushed.arbiter.path.with_suffix(".away"))
    done = pushed.envsync("reconcile", "--once")
    assert done.code == 8
    assert "could not read the git remote 'origin'" in done.err


def test_a_repository_without_a_remote_is_told_what_to_do(folder_team: Team) -> None:
    done = folder_team.envsync("reconcile", "--once")
    assert done.code == 6
    assert "envsync apply" in done.err


def test_an_embedded_registry_stays_where_it_is(
    git_remote: Any, tiny_packages: Path, tmp_path: Path
) -> None:
    team = Team(
        repository=git_remote.clone(tmp_path / "work"),
        channel=tiny_packages,
        cache=tmp_path / "cache",
        remote=git_remote,
    )
    team.settings()
    team.repository.commit("settings")
    want(team, "train", "tiny-00003")
    assert states(once(team)) == {"train": ("done", "1")}
    assert (team.layouts / "train/index.json").exists()


def test_names_narrow_it(pushed: Team) -> None:
    want(pushed, "train", "tiny-00003")
    want(pushed, "serve", "tiny-00004")
    assert states(once(pushed, "s*")) == {"serve": ("done", "1")}


@pytest.mark.parametrize(
    "arguments",
    [(), ("--once", "--interval", "5m"), ("--interval", "soon"), ("--interval", "0s"),
     ("--once", "--listen", "127.0.0.1:1"), ("--interval", "5m", "--listen", "here")],
)  # fmt: skip
def test_wrong_usage_is_told(pushed: Team, arguments: tuple[str, ...]) -> None:
    assert pushed.envsync("reconcile", *arguments).code == 64


# Refreshing ---------------------------------------------------------------------------------------


def old_lock(team: Team, text: str, *, days: int = 30) -> None:
    """Push an environment that was locked some time ago to what is not the newest any more."""
    team.settings(f"reconcile:\n  refresh: {text}\n")
    team.spec("train", "tiny-00003")
    assert team.envsync("lock").code == 0
    team.repository.commit("old")
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    dated = {"GIT_COMMITTER_DATE": moment.isoformat(), "GIT_AUTHOR_DATE": moment.isoformat()}
    commit = subprocess.run(
        ["git", "-C", team.root, "commit-tree", "-p", "HEAD^", "-m", "old", "HEAD^{tree}"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **team.repository.environment, **dated},
    ).stdout.strip()
    team.repository.git("reset", "-q", "--hard", commit)
    publish(team)


def newer_package(team: Team) -> None:
    """Put a newer build of what is locked into the channel."""
    data = File(path="share/tiny-00003/data", data=b"newer")
    write_package(made("tiny-00003", data, version="99.0"), team.channel)
    write_channel(team.channel, [])


@pytest.fixture
def own_channel(pushed: Team, tmp_path: Path) -> Team:
    """A team with a channel that the test may change."""
    folder = tmp_path / "own-channel"
    shutil.copytree(pushed.channel, folder)
    pushed.channel = folder
    return pushed


def test_an_old_lock_is_proposed_on_a_branch_of_its_own_once(own_channel: Team) -> None:
    team = own_channel
    old_lock(team, "{every: 14d}")
    newer_package(team)
    document = once(team)
    branch = "envsync/refresh/train"
    assert document["refreshed"] == [
        {"name": "train", "did": "proposed", "branch": branch, "error": None}
    ]
    assert states(document) == {"train": ("done", "1")}
    message = team.arbiter.git("log", "-1", "--format=%B", branch)
    assert message.startswith("Refresh train\n")
    assert "99.0" in message
    tip = team.arbiter.git("rev-parse", branch)
    once(team)
    assert team.arbiter.git("rev-parse", branch) == tip
    assert team.versions("train") == ["1"]


def test_a_proposal_that_people_worked_on_is_left(own_channel: Team, tmp_path: Path) -> None:
    team = own_channel
    old_lock(team, "{every: 14d}")
    newer_package(team)
    once(team)
    branch = "envsync/refresh/train"
    with another_clone(team, tmp_path / "person") as person:
        person.git("fetch", "-q", "origin", branch)
        person.git("checkout", "-q", "-b", "mine", "FETCH_HEAD")
        person.write({"environments/train/notes.txt": "mine\n"})
        person.commit("a person's work")
        person.git("push", "-q", "origin", f"HEAD:refs/heads/{branch}")
    tip = team.arbiter.git("rev-parse", branch)
    assert once(team)["refreshed"][0]["did"] == "left"
    assert team.arbiter.git("rev-parse", branch) == tip


def test_a_refresh_can_be_committed_directly(own_channel: Team) -> None:
    team = own_channel
    old_lock(team, "{every: 14d, propose: commit}")
    newer_package(team)
    assert once(team)["refreshed"][0]["did"] == "committed"
    document = once(team)
    assert states(document) == {"train": ("done", "2")}
    assert document["refreshed"] == []


def test_a_young_lock_is_not_refreshed(own_channel: Team) -> None:
    team = own_channel
    old_lock(team, "{every: 14d}", days=3)
    newer_package(team)
    assert once(team)["refreshed"] == []


def test_an_old_lock_to_which_nothing_is_newer_is_left(own_channel: Team) -> None:
    old_lock(own_channel, "{every: 14d}")
    assert [one["did"] for one in once(own_channel)["refreshed"]] == ["unchanged"]


# The service --------------------------------------------------------------------------------------


class Time:
    """A clock that sleeping moves, and that ends the service when it is late enough."""

    def __init__(self, until: float) -> None:
        self.now, self.until, self.slept = 0.0, until, list[float]()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if self.now >= self.until:
            raise KeyboardInterrupt


def a_tick(*results: Result, commit: str = "c") -> Tick:
    return Tick(commit=commit, outcome=Outcome(commit=commit, results=results))


def failed(name: str, error: Exception) -> Result:
    assert isinstance(error, Unavailable | InvalidInput)
    return Result(name=name, state="failed", error=error)


def served(ticks: Any, *, until: float, interval: float = 60.0) -> tuple[Time, Service]:
    moments = Time(until)
    metrics = Metrics()
    service = Service(
        tick=ticks,
        interval=interval,
        log=Log(as_json=True),
        metrics=metrics,
        health=Health(interval=interval, clock=moments.clock),
        sleep=moments.sleep,
        chance=lambda low, high: (low + high) / 2,
        clock=moments.clock,
    )
    with pytest.raises(KeyboardInterrupt):
        service.run()
    return moments, service


def test_a_failing_environment_is_tried_less_and_less(capsys: pytest.CaptureFixture[str]) -> None:
    tried = []

    def tick(resting: Any) -> tuple[Tick, tuple[()]]:
        left = resting("c")
        tried.append("bad" not in left)
        good = Result(name="good", state="unchanged", version="1")
        bad = [] if "bad" in left else [failed("bad", Unavailable("away"))]
        return a_tick(good, *bad), ()

    served(tick, until=60.0 * 32)
    assert tried[0]
    assert 4 <= sum(tried) <= 6
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert events[0]["event"] == "service.started"
    assert {e["event"] for e in events} == {"service.started", "environment.failed", "tick.ended"}


def test_what_only_people_can_mend_waits_for_another_commit() -> None:
    tried = []
    commits = iter(["one"] * 5 + ["two"] * 50)

    def tick(resting: Any) -> tuple[Tick, tuple[()]]:
        commit = next(commits)
        left = resting(commit)
        bad = [] if "bad" in left else [failed("bad", InvalidInput("no such package"))]
        tried.append((commit, bool(bad)))
        return a_tick(*bad, Result(name="good", state="unchanged"), commit=commit), ()

    served(tick, until=60.0 * 9)
    assert [commit for commit, did in tried if did] == ["one", "two"]


def test_a_remote_that_stays_away_is_left_alone_for_longer_and_longer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    moments: list[float] = []

    def tick(_: Any) -> tuple[Tick, tuple[()]]:
        moments.append(time_of.now)
        raise Unavailable("the remote is away")

    time_of = Time(60.0 * 300)
    service = Service(
        tick=tick, interval=60.0, log=Log(as_json=True), metrics=Metrics(),
        health=Health(interval=60.0, clock=time_of.clock), sleep=time_of.sleep,
        chance=lambda low, high: (low + high) / 2, clock=time_of.clock,
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        service.run()
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert gaps[:2] == [60.0, 60.0]
    assert gaps[2:] == sorted(gaps[2:])
    assert max(gaps) <= LONGEST + 60
    assert "remote.left_alone" in capsys.readouterr().err
    assert not service.health.ready


def test_pace_and_breaker_forget_what_went_well() -> None:
    pace, breaker = Pace(interval=10), Breaker(interval=10)
    pace.failed("a", "c", 0.0, for_people=False)
    pace.failed("b", "c", 0.0, for_people=True)
    assert pace.resting("c", 5.0) == {"a", "b"}
    assert pace.resting("d", 5.0) == {"a"}
    assert pace.resting("d", 11.0) == frozenset()
    pace.succeeded("a")
    pace.succeeded("b")
    assert pace.resting("c", 0.0) == frozenset()
    for _ in range(3):
        breaker.failed(0.0)
    assert breaker.open(1.0)
    breaker.succeeded()
    assert not breaker.open(1.0)


def asked(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def free_address() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_service_works_is_watched_and_stops(
    pushed: Team, tmp_path: Path, number: int, code: int
) -> None:
    want(pushed, "train", "tiny-00003")
    address, file = free_address(), tmp_path / "envsync.prom"
    process = pushed.start(
        "reconcile", "--interval", "1s", "--listen", address, "--metrics-file", str(file),
        "--log", "json",
    )  # fmt: skip
    lines: list[dict[str, Any]] = []

    def read() -> None:
        assert process.stderr is not None
        lines.extend(json.loads(line) for line in process.stderr if line.startswith("{"))

    reader = threading.Thread(target=read)
    reader.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if sum(line["event"] == "tick.ended" for line in list(lines)) >= 2:
            break
        time.sleep(0.1)
    assert asked(address, "/healthz") == (200, "ok\n")
    assert asked(address, "/readyz") == (200, "ok\n")
    shown = asked(address, "/metrics")[1]
    assert "envsync_versions_published_total 1.0" in shown
    assert "envsync_locks_pushed_total 1.0" in shown
    assert 'envsync_environments{state="unchanged"} 1.0' in shown
    assert asked(address, "/else")[0] == 404
    assert "envsync_reconcile_ticks_total" in file.read_text()
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(20) == code
    assert time.monotonic() - began < 10
    reader.join()
    events = [line["event"] for line in lines]
    assert events[0] == "service.started"
    assert {"locks.pushed", "environment.done", "tick.ended"} <= set(events)
    assert events[-1] == "service.stopped"
    pushed.check("train")


def test_two_on_one_machine_do_not_share_a_clone(pushed: Team) -> None:
    want(pushed, "train", "tiny-00003")
    process = pushed.start("reconcile", "--interval", "1h", "--log", "json")
    assert process.stderr is not None
    for line in process.stderr:
        if '"tick.ended"' in line:
            break
    done: Done = pushed.envsync("reconcile", "--once")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert done.code == 8
    assert "another reconcile" in done.err

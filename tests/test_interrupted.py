"""Apply killed at any instant, told to stop, and run by several at once: it ends well."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parts.gitremote import GitRepository
from tests.registry.proxy import Asked, Reply, proxied
from tests.team import Done, Team

KILLS = 10
TINY = [f"tiny-{number:05d}" for number in range(40)]


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def seconds(team: Team) -> tuple[float, float]:
    """Return how long a process takes that has nothing to do, and one that applies."""
    idle = time.monotonic()
    assert ended(team.start("apply", "--help"))[0] == 0
    begin = time.monotonic()
    assert ended(team.start("apply"))[0] == 0
    return begin - idle, time.monotonic() - begin


def test_apply_killed_at_any_instant_is_finished_by_running_it_again(team: Team) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # pytest shows it when the test fails
    chance = random.Random(seed)
    team.ask("train", TINY[9])
    start, whole = seconds(team)
    # The last of the kills may come too late, and find a process that has ended.
    moments = [start + (whole * 1.1 - start) * (n + chance.random()) / KILLS for n in range(KILLS)]
    for number, moment in enumerate(moments, start=2):
        # Another last package each time, so that each version shares most of its layers.
        team.ask("train", TINY[9], TINY[9 + number])
        team.repository.write({"notes.txt": f"being written {number}"})
        before = team.state()
        process = team.start("apply")
        time.sleep(moment)
        process.kill()
        ended(process)
        print(f"killed after {moment:.2f} of {whole:.2f} s: {team.versions('train')}")
        assert team.state() == before
        assert team.versions("train") in (numbers(number - 1), numbers(number))
        team.check("train")
        done = team.envsync("apply")
        assert done.code == 0, done.err
        assert team.versions("train") == numbers(number)
        assert team.state() == before
        newest = team.records("train")[-1]
        tags = team.tags("train")
        assert tags["latest"] == tags[str(number)] == newest.digest
        assert tags[f"git-{newest.commit[:12]}"] == newest.digest
    team.verified.clear()
    team.check("train")
    assert "Nothing to do" in team.envsync("apply").out
    assert not list(team.root.rglob(".writing/*")), "nothing half written is left"
    team.ask("train", TINY[1])
    assert team.envsync("apply").code == 0
    assert not list((team.cache / "build").glob("build-*")), "no folder of a dead build is left"


def numbers(last: int) -> list[str]:
    return [str(number) for number in range(1, last + 1)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_told_to_stop_it_stops_and_is_finished_later(
    server_team: Team, number: signal.Signals, code: int
) -> None:
    team = server_team
    assert team.remote is not None
    team.ask("train", TINY[9])
    # At work in the middle: the server that takes the records is slow.
    team.remote.delay(20)
    process = team.start("apply")
    assert process.stderr is not None
    for line in process.stderr:
        if "recording" in line:
            break
    time.sleep(0.2)
    begin = time.monotonic()
    os.kill(process.pid, number)
    stopped, _, err = ended(process)
    assert stopped == code
    assert time.monotonic() - begin < 10
    assert "run it again to go on where it stopped" in err
    assert "Traceback" not in err
    team.remote.behave()
    assert team.envsync("apply").code == 0
    assert team.versions("train") == ["1"]
    team.check("train")


def clones(team: Team, folder: Path, count: int) -> list[Team]:
    """Return clones of the team's repository, each on a machine of its own."""
    assert team.remote is not None
    found = [team]
    for number in range(1, count):
        clone: GitRepository = team.remote.clone(folder / f"clone-{number}")
        found.append(
            Team(
                repository=clone,
                channel=team.channel,
                cache=folder / f"cache-{number}",
                remote=team.remote,
                registry=team.registry,
            )
        )
    return found


def meet(team: Team, count: int) -> None:
    """Let the first pushes wait for one another, so that all of them want the same version."""
    assert team.remote is not None
    arrived = team.remote.path / "arrived"
    arrived.mkdir()
    team.remote.run_before_update(
        f"touch {arrived}/$$; turns=0\n"
        f"while [ $(ls {arrived} | wc -l) -lt {count} ] && [ $turns -lt 200 ]\n"
        "do sleep 0.05; turns=$((turns + 1)); done"
    )


@pytest.mark.parametrize("count", [2, 3])
def test_those_who_apply_the_same_commit_at_once_make_one_version(
    server_team: Team, tmp_path: Path, count: int
) -> None:
    server_team.ask("train", TINY[5])
    server_team.ask("serve", TINY[7])
    server_team.repository.git("push", "--quiet", "origin", "main")
    racers = clones(server_team, tmp_path, count)
    meet(server_team, count)
    for code, out, err in [ended(process) for process in [r.start("apply") for r in racers]]:
        assert code == 0, out + err
    for name in ("train", "serve"):
        assert server_team.versions(name) == ["1"]
    server_team.check("train", "serve")
    for racer in racers:
        assert "Nothing to do: 2 in sync." in racer.envsync("apply").out


@pytest.mark.parametrize("count", [2, 3])
def test_those_who_apply_different_commits_at_once_each_get_a_version(
    server_team: Team, tmp_path: Path, count: int
) -> None:
    server_team.ask("train", TINY[1])
    server_team.repository.git("push", "--quiet", "origin", "main")
    assert server_team.envsync("apply").code == 0
    racers = clones(server_team, tmp_path, count)
    for number, racer in enumerate(racers):
        racer.ask("train", TINY[2 + number])
    meet(server_team, count)
    for code, out, err in [ended(process) for process in [r.start("apply") for r in racers]]:
        assert code == 0, out + err
    assert server_team.versions("train") == numbers(1 + count)
    records = server_team.records("train")
    assert len({record.definition for record in records}) == 1 + count
    assert {r.commit for r in records[1:]} == {racer.repository.head() for racer in racers}
    assert server_team.tags("train")["latest"] in {record.digest for record in records}
    assert {"1", *numbers(1 + count)} <= server_team.tags("train").keys()
    server_team.check("train")


def test_those_who_want_one_explicit_version_for_different_definitions_do_not_both_get_it(
    server_team: Team, tmp_path: Path
) -> None:
    racers = clones(server_team, tmp_path, 2)
    for number, racer in enumerate(racers):
        racer.settings()
        racer.ask("train", TINY[number], text="version: 1.0")
    meet(server_team, 2)
    codes = sorted(code for code, _, _ in [ended(p) for p in [r.start("apply") for r in racers]])
    assert codes == [0, 5]
    assert server_team.versions("train") == ["1.0"]
    server_team.check("train")


def test_latest_never_stays_behind_when_two_tag_at_once(server_team: Team, tmp_path: Path) -> None:
    """One is about to put ``latest``; before it does, another one makes a newer version."""
    team = server_team
    other = clones(team, tmp_path, 2)[1]
    assert team.registry is not None
    with proxied(team.registry.host) as proxy:
        team.address = proxy.host
        team.settings()
        team.ask("train", TINY[1])
        other.settings()
        other.ask("train", TINY[2])
        overtaken: list[Done] = []

        def overtake(_: Asked, __: Callable[[], Reply]) -> Reply | None:
            if not overtaken:
                overtaken.append(other.envsync("apply"))
            return None

        proxy.on("PUT", "/manifests/latest", overtake)
        assert team.envsync("apply").code == 0
    assert overtaken[0].code == 0
    assert team.versions("train") == ["1", "2"]
    assert team.tags("train")["latest"] == team.records("train")[1].digest
    team.check("train")


def test_a_person_who_takes_the_version_first_wins(server_team: Team, tmp_path: Path) -> None:
    """The push arrives when somebody else has just made the version that was planned."""
    team = server_team
    assert team.remote is not None
    other = clones(team, tmp_path, 2)[1]
    other.settings()
    other.ask("train", TINY[3])
    assert other.envsync("apply").code == 0
    (theirs,) = team.records("train")
    ref = f"refs/tags/{theirs.tag}"
    oid = team.remote.bare.refs()[ref]
    team.remote.bare.git("update-ref", "-d", ref)
    for tag in ("1", "latest"):
        team.delete_tag("train", tag)
    team.ask("train", TINY[4])
    team.remote.run_before_update(
        f"git -C {team.remote.path} rev-parse --verify --quiet {ref} >/dev/null"
        f" || git -C {team.remote.path} update-ref {ref} {oid}"
    )
    done = team.envsync("apply")
    assert done.code == 0, done.err
    assert team.versions("train") == ["1", "2"]
    assert team.records("train")[0] == theirs
    assert len(team.waited) == 1
    assert other.envsync("apply").code == 0
    team.check("train")

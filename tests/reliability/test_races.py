"""R6: several who apply at once, from clones of their own, and people who push meanwhile.

No version is doubled or lost, and everybody who loses ends well.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parts.gitremote import GitRepository
from tests.reliability.counts import count
from tests.reliability.forked import Running, start
from tests.reliability.oracle import RECORDS
from tests.reliability.scenes import Stage
from tests.team import Team

NUMBERS = (2, 5, 8)


def racers(team: Team, number: int, kind: str) -> list[Team]:
    """Return clones of a repository, each at the commit that it is to apply."""
    found = []
    for one in range(number):
        folder = team.root.parent / f"racer-{one}"
        shutil.copytree(team.root, folder / "work", symlinks=True)
        shutil.copytree(team.cache, folder / "cache", symlinks=True)
        clone = GitRepository(path=folder / "work", environment=team.repository.environment)
        branch = "main" if kind == "same" else f"{kind}-{one}"
        clone.git("checkout", "--quiet", branch)
        found.append(
            Team(
                repository=clone,
                channel=team.channel,
                cache=folder / "cache",
                remote=team.remote,
                registry=team.registry,
            )
        )
    return found


def ended(running: list[Running]) -> list[tuple[int, str]]:
    return [one.ended(120) for one in running]


def settle(team: Team, all_of: list[Team], versions: int) -> None:
    """Assert what holds after every race, and that nothing is left to do to anybody's commit."""
    recorded = team.versions("train")
    assert recorded == [str(number) for number in range(1, versions + 1)]
    records = team.records("train")
    assert len({record.definition for record in records}) == versions, "no version is doubled"
    team.check("train")
    tags = team.tags("train")
    assert tags["latest"] == records[-1].digest
    assert {record.version for record in records} <= tags.keys()
    for racer in all_of:
        assert not list(racer.root.glob("*.lock"))


def same(team: Team, number: int) -> None:
    """All apply the same commit: one version, and nobody fails."""
    them = racers(team, number, "same")
    for code, said in ended([start(racer, "apply") for racer in them]):
        assert code == 0, said
    settle(team, them, 1)


def different(team: Team, number: int) -> None:
    """Each applies a definition of its own: a version for each."""
    them = racers(team, number, "different")
    for code, said in ended([start(racer, "apply") for racer in them]):
        assert code == 0, said
    settle(team, them, number)
    commits = {record.commit for record in team.records("train")}
    assert commits == {racer.repository.head() for racer in them}


def explicit(team: Team, number: int) -> None:
    """Each wants version 1.0 for a definition of its own: one gets it, the others are told."""
    them = racers(team, number, "explicit")
    results = ended([start(racer, "apply") for racer in them])
    assert sorted(code for code, _ in results) == [0] + [5] * (number - 1), results
    (record,) = team.records("train")
    assert record.version == "1.0"
    winner = next(r for r, (code, _) in zip(them, results, strict=True) if code == 0)
    assert record.commit == winner.repository.head()
    team.check("train")


def human(team: Team, number: int) -> None:
    """Some apply while a person pushes to the branch, moves a tag and makes others."""
    them = racers(team, number, "different")
    assert team.remote is not None
    bare = team.remote.bare
    bare.git("update-ref", "refs/tags/release", "refs/heads/main")
    running = [start(racer, "apply") for racer in them]
    for push in range(5):
        tree = bare.git("rev-parse", "main^{tree}")
        commit = bare.git("commit-tree", "-p", "main", "-m", f"by hand {push}", tree)
        bare.git("update-ref", "refs/heads/main", commit)
        bare.git("update-ref", "refs/tags/release", commit)
        bare.git("update-ref", f"refs/tags/by-hand-{push}", commit)
    people = {r: o for r, o in bare.refs().items() if not r.startswith(RECORDS)}
    for code, said in ended(running):
        assert code == 0, said
    now = {r: o for r, o in bare.refs().items() if not r.startswith(RECORDS)}
    assert now == people, "I6: what people pushed stands"
    settle(team, them, number)


KINDS: dict[str, Callable[[Team, int], None]] = {
    "same": same,
    "different": different,
    "explicit": explicit,
    "human": human,
}
FAST = [
    (kind, number, turn)
    for kind in KINDS
    for number, turns in ((2, 3), (5, 3), (8, 2 if kind in ("same", "different") else 1))
    for turn in range(turns)
]


@pytest.mark.parametrize(("kind", "number", "turn"), FAST)
def test_whoever_applies_at_once_ends_well(
    server_stage: Stage, tmp_path: Path, git_variables: dict[str, str], kind: str, number: int,
    turn: int,
) -> None:  # fmt: skip
    KINDS[kind](server_stage.team("race", tmp_path / "team", git_variables), number)
    count("R6", rounds=1, processes=number, **{f"rounds of {kind}": 1})


@pytest.mark.full
@pytest.mark.parametrize("turn", range(125))
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("kind", KINDS)
def test_whoever_applies_at_once_ends_well_again_and_again(
    server_stage: Stage, tmp_path: Path, git_variables: dict[str, str], kind: str, number: int,
    turn: int,
) -> None:  # fmt: skip
    KINDS[kind](server_stage.team("race", tmp_path / "team", git_variables), number)
    count("R6", rounds=1, processes=number, **{f"rounds of {kind}": 1})

"""R1 and R2: whatever instant envsync dies at, running it again ends as if it had not.

Each case dies in a process of its own, by SIGKILL or by an exception that nobody expects, before or
after one effect, and must really have died there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from envsync import failpoints
from envsync.failpoints import VARIABLE
from tests.reliability.counts import count
from tests.reliability.forked import start
from tests.reliability.oracle import assert_quiet, assert_sound, end_of, foreign, skopeo
from tests.reliability.scenes import Stage, names_of
from tests.team import Team

EFFECTS: Mapping[str, Mapping[str, int]] = {
    "new": {"blob-put": 4, "file-rename": 18, "record-push": 1, "record-write": 1},
    "changed": {"blob-put": 3, "file-rename": 14, "record-push": 1, "record-write": 1},
    "rebuild": {"blob-put": 4, "file-rename": 18},
    "retag": {"file-rename": 3},
    "platforms": {
        "blob-put": 5, "file-rename": 27, "manifest-put": 2, "record-push": 1, "record-write": 1,
    },
    "batch": {
        "blob-put": 13, "blob-mount": 8, "file-rename": 83, "record-push": 1, "record-write": 1,
    },
}  # fmt: skip
"""How often each effect happens in a scene, besides those that every environment has once."""

CODES = {"raise": 1, "kill": -9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One death."""

    scene: str
    failpoint: str
    """``name:action:n``."""

    def __str__(self) -> str:
        return f"{self.scene}-{self.failpoint}"


def times(scene: str) -> Mapping[str, int]:
    """Return how often each effect happens in a scene when images are in a folder."""
    each = 5 if scene == "batch" else 1
    content = {} if scene == "retag" else {"content-tag": each}
    tags = {"commit-tag": each, "latest-tag": each, "referrer-put": each, "version-tag": each}
    return {**EFFECTS[scene], **content, **tags}


def cases(scene: str, *, every: bool = False, files: bool = True) -> Iterator[Case]:
    """Yield the first time of each effect and, killed before it, the last; or *every* time."""
    for effect, last in times(scene).items():
        if effect == "file-rename" and not files:
            continue
        for side in ("before", "after"):
            for action in CODES:
                late = action == "kill" and side == "before"
                turns = range(1, last + 1) if every else {1, last} if late else {1}
                for turn in sorted(turns):
                    yield Case(scene=scene, failpoint=f"{effect}.{side}:{action}:{turn}")


def _is_fast(case: Case) -> bool:
    """Choose: killed in every scene, an exception in every other one."""
    scene = list(EFFECTS).index(case.scene)
    effect = sorted(failpoints.EFFECTS).index(case.failpoint.split(".")[0])
    return ":kill" in case.failpoint or (scene + effect) % 2 == 0


IN_A_FOLDER = [case for scene in EFFECTS for case in cases(scene) if _is_fast(case)]
IN_A_REGISTRY = [
    case
    for scene in EFFECTS
    for number, case in enumerate(cases(scene, files=False))
    if number % 6 == 1
]
EVERY = [case for scene in EFFECTS for case in cases(scene, every=True) if case not in IN_A_FOLDER]


def dies(team: Team, failpoint: str) -> None:
    """Apply, and die at a failpoint; a case that does not die proves nothing."""
    if ":raise" in failpoint:
        team.variables[VARIABLE] = failpoint
        done = team.envsync("apply")
        del team.variables[VARIABLE]
        code, said = done.code, done.out + done.err
    else:
        code, said = start(team, "apply", failpoint=failpoint).ended()
    assert code == CODES[failpoint.split(":")[1]], f"it did not die at {failpoint}: {said}"


def reruns(team: Team, stage: Stage, scene: str, folder: Path, limit: int) -> int:
    """Run again until it ended as it does when nobody disturbs it; return how often that took."""
    names = names_of(scene)
    wanted = stage.end(scene, folder / "undisturbed", team.repository.environment)
    for turn in range(1, limit + 1):
        done = team.envsync("apply")
        if done.code == 0 and end_of(team, names) == wanted:
            return turn
    raise AssertionError(f"not the end of an undisturbed run after {limit}: {done.out}{done.err}")


def crash(case: Case, stage: Stage, folder: Path, variables: Mapping[str, str]) -> Team:
    """Die and recover; everything that must hold in between and at the end is asserted."""
    names = names_of(case.scene)
    stage.end(case.scene, folder / "undisturbed", variables)
    team = stage.team(case.scene, folder / "team", variables)
    before = foreign(team)
    dies(team, case.failpoint)
    if case.scene != "rebuild":  # what the registry lost is not there before it was made again
        assert_sound(team, names, before)
    count("R1", cases=1, killed=int(":kill" in case.failpoint))
    turn = reruns(team, stage, case.scene, folder, 2)
    count("R1", **{"converged after one": int(turn == 1), "converged after two": int(turn <= 2)})
    team.verified.clear()
    assert_sound(team, names, before)
    return team


@pytest.mark.parametrize("case", IN_A_FOLDER, ids=str)
def test_death_anywhere_is_made_good_by_running_again(
    layout_stage: Stage, tmp_path: Path, git_variables: dict[str, str], case: Case
) -> None:
    team = crash(case, layout_stage, tmp_path, git_variables)
    if case.failpoint.startswith(("content-tag", "record", "version-tag")):
        assert_quiet(team)


@pytest.mark.parametrize("case", IN_A_REGISTRY, ids=str)
def test_death_anywhere_is_made_good_in_a_real_registry(
    server_stage: Stage, tmp_path: Path, git_variables: dict[str, str], case: Case
) -> None:
    team = crash(case, server_stage, tmp_path, git_variables)
    assert_quiet(team)
    for name in names_of(case.scene):
        newest = team.records(name)[-1]
        if len(newest.platforms) == 1:
            assert skopeo(team, name, newest.version)["Digest"] == newest.digest


@pytest.mark.full
@pytest.mark.parametrize("case", EVERY, ids=str)
def test_death_at_every_time_of_every_effect(
    layout_stage: Stage, tmp_path: Path, git_variables: dict[str, str], case: Case
) -> None:
    crash(case, layout_stage, tmp_path, git_variables)


ORDER = (
    "blob-put",
    "content-tag",
    "record-push",
    "commit-tag",
    "latest-tag",
    "referrer-put",
    "version-tag",
)
STEPS = [f"{effect}.{side}" for effect in ORDER for side in ("before", "after")]
PAIRS = [
    (first, second)
    for number, first in enumerate(STEPS[:-1])
    # What comes after a step is still to do after a death there; what came before it is not. A
    # step is atomic, so that one that was done is not done again.
    for second in STEPS[number + (first.endswith("after")) :]
]


def twice(
    stage: Stage, scene: str, folder: Path, variables: Mapping[str, str], steps: tuple[str, str]
) -> None:
    """Die, die again while recovering, and recover."""
    stage.end(scene, folder / "undisturbed", variables)
    team = stage.team(scene, folder / "team", variables)
    before = foreign(team)
    for step in steps:
        dies(team, f"{step}:kill:1")
        assert_sound(team, names_of(scene), before)
    turn = reruns(team, stage, scene, folder, 2)
    count("R2", pairs=1, **{"converged after one": int(turn == 1)})
    team.verified.clear()
    assert_sound(team, names_of(scene), before)


@pytest.mark.parametrize("steps", PAIRS[:: len(PAIRS) // 20], ids="-".join)
def test_death_while_recovering_is_made_good_as_well(
    layout_stage: Stage, tmp_path: Path, git_variables: dict[str, str], steps: tuple[str, str]
) -> None:
    twice(layout_stage, "new", tmp_path, git_variables, steps)


@pytest.mark.full
@pytest.mark.parametrize("steps", PAIRS, ids="-".join)
@pytest.mark.parametrize("scene", ["new", "changed", "platforms", "batch"])
def test_every_pair_of_deaths(
    layout_stage: Stage, tmp_path: Path, git_variables: dict[str, str], scene: str,
    steps: tuple[str, str],
) -> None:  # fmt: skip
    twice(layout_stage, scene, tmp_path, git_variables, steps)


def files_of(team: Team) -> Mapping[str, bytes]:
    """Return what stands in the folder of locks."""
    locks = team.root / "locks"
    return {str(p.relative_to(locks)): p.read_bytes() for p in locks.rglob("*") if p.is_file()}


@pytest.mark.parametrize("action", ["kill", "raise"])
@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_lock_that_dies_leaves_the_old_files_or_what_the_next_one_mends(
    layout_stage: Stage, tmp_path: Path, git_variables: dict[str, str], side: str, turn: int,
    action: str,
) -> None:  # fmt: skip
    team = layout_stage.team("changed", tmp_path / "team", git_variables)
    old = files_of(team)
    team.spec("train", "tiny-00001", "tiny-00011")
    assert team.envsync("lock").code == 0
    wanted = files_of(team)
    assert wanted != old
    for name, content in old.items():
        (team.root / "locks" / name).write_bytes(content)
    failpoint = f"lock-write.{side}:{action}:{turn}"
    code, said = start(team, "lock", failpoint=failpoint).ended()
    assert code == CODES[action], said
    assert files_of(team) != wanted or (side, turn) == ("after", 2)
    assert team.envsync("lock").code == 0
    assert files_of(team) == wanted, "nothing half written is left"
    count("R1", cases=1, killed=int(action == "kill"))
    count("R1", **{"converged after one": 1, "converged after two": 1})


@pytest.mark.parametrize("action", ["kill", "raise"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_plan_that_dies_leaves_no_half_of_a_saved_plan(
    layout_stage: Stage, tmp_path: Path, git_variables: dict[str, str], side: str, action: str
) -> None:
    team = layout_stage.team("changed", tmp_path / "team", git_variables)
    saved = tmp_path / "saved" / "plan.json"
    saved.parent.mkdir()
    command = ["plan", "--out", str(saved)]
    code, said = start(team, *command, failpoint=f"plan-write.{side}:{action}").ended()
    assert code == CODES[action], said
    assert saved.exists() == (side == "after")
    assert team.envsync(*command).code == 0
    assert list(saved.parent.iterdir()) == [saved]
    assert team.envsync("apply", "--plan", str(saved)).code == 0
    assert team.versions("train") == ["1", "2"]
    count("R1", cases=1, killed=int(action == "kill"))
    count("R1", **{"converged after one": 1, "converged after two": 1})

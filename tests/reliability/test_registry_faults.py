"""R3: twelve things that a registry is asked for, each answered badly in fifteen ways.

Once: it succeeds all the same. Always: the right exit code, soon, and nothing is broken; as soon
as the registry is well again, the next run ends as if nothing had been.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

import pytest

from tests.registry.proxy import Proxy
from tests.reliability.counts import count
from tests.reliability.faults import FAULTS, OPERATIONS, broken, impatient
from tests.reliability.oracle import End, assert_sound, end_of, foreign
from tests.reliability.scenes import Stage, names_of

ALWAYS = 1 << 30
DEADLINE = 30.0
"""Seconds, on a clock on which no pause is waited for."""

READS = frozenset({"head content tag", "head version tag", "head blob"})
BODIES = frozenset({"read back", "get manifest"})
"""Reads whose answers have bodies of some length."""
SHORTCUTS = frozenset({"mount"})
"""What is only asked to save work; without it the work is done."""
FINAL = {"401": 7, "403": 7, "404": 8, "redirects": 8}
"""Faults that are answers, so that they are not asked again, and the code of that."""


def codes(operation: str, fault: str, times: int) -> AbstractSet[int]:
    """Return the exit codes that are right."""
    if operation in SHORTCUTS:
        return {0}
    if fault == "slow drip" and (times == 1 or operation not in BODIES):
        return {0}  # only a body can drip for so long that it is given up
    if times == 1:
        # Earlier versions are read to save work; that they may not be read once costs work.
        return {FINAL[fault], 0} if fault in FINAL else {0}
    if fault == "404" and operation in READS:
        return {0}  # a HEAD's 404 is the proof of absence, and what is there is put there again
    # Some faults leave enough of the answer to be sure; then it is done, which is compared.
    return {FINAL.get(fault, 8), 0}


ALL = [
    (operation, fault, times)
    for operation, fault in itertools.product(OPERATIONS, FAULTS)
    for times in (1, ALWAYS)
]
_PLACES = (list(OPERATIONS), list(FAULTS))


def _is_fast(operation: str, fault: str, times: int) -> bool:
    """Choose a quarter, so that every operation and every fault is there both once and always."""
    number = _PLACES[0].index(operation) + _PLACES[1].index(fault)
    return (number + 2 * (times == 1)) % 4 == 0


FAST = [case for case in ALL if _is_fast(*case)]


def suffer(
    stage: Stage, proxy: Proxy, folder: Path, variables: dict[str, str], case: tuple[str, str, int]
) -> None:
    operation, fault, times = case
    names = names_of("wide")
    wanted = stage.end("wide", folder / "undisturbed", variables)
    team = stage.team("wide", folder / "team", variables)
    before = foreign(team)
    begin = time.monotonic()
    with broken(proxy, operation, fault, times=times) as hit:
        done = team.envsync("apply")
    said = done.out + done.err
    assert hit, "the fault was never met"
    assert time.monotonic() - begin < DEADLINE
    assert done.code in codes(operation, fault, times), said
    assert "Traceback" not in said
    assert "unexpected error" not in said
    assert_sound(team, names, before)
    # What refers to images gates nothing: an apply that is in sync afterwards leaves it out.
    told = "its provenance is not in the registry" in " ".join(said.split())

    def ended() -> End:
        end = end_of(team, names)
        return replace(end, lists=wanted.lists) if told and times > 1 else end

    if done.code == 0:
        assert ended() == wanted, "it said that it was done"
    else:
        again = team.envsync("apply")
        assert again.code == 0, again.out + again.err
        assert ended() == wanted
        team.verified.clear()
        assert_sound(team, names, before)
    row = "once" if times == 1 else "always"
    count("R3", cases=1, **{row: 1, f"{row} and done": int(done.code == 0)})


def name_of(case: tuple[str, str, int]) -> str:
    return f"{case[0]}-{case[1]}-{'once' if case[2] == 1 else 'always'}"


@pytest.mark.parametrize("case", FAST, ids=name_of)
def test_a_bad_answer_is_got_over_or_ends_well(
    proxied_stage: Stage, proxy: Proxy, tmp_path: Path, git_variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, int],
) -> None:  # fmt: skip
    impatient(monkeypatch, speed=20 if case[1] == "slow drip" else 1)
    suffer(proxied_stage, proxy, tmp_path, git_variables, case)


@pytest.mark.full
@pytest.mark.parametrize("case", [case for case in ALL if case not in FAST], ids=name_of)
def test_every_bad_answer_is_got_over_or_ends_well(
    proxied_stage: Stage, proxy: Proxy, tmp_path: Path, git_variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, int],
) -> None:  # fmt: skip
    impatient(monkeypatch, speed=20 if case[1] == "slow drip" else 1)
    suffer(proxied_stage, proxy, tmp_path, git_variables, case)

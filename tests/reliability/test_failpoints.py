"""Failpoints: each name stands in the code once it is told of, and nothing acts without a test."""

from __future__ import annotations

import ast
import time
from collections import Counter
from pathlib import Path

import pytest

import envsync
from envsync import failpoints
from tests.team import Team


def reached_in_code() -> Counter[str]:
    """Return the names that the code reaches; what stands in braces is one of three tags."""
    found: Counter[str] = Counter()
    for path in Path(envsync.__file__).parent.rglob("*.py"):
        if "failpoints import reach" not in path.read_text():
            continue  # another function of that name
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "reach":
                text = ast.unparse(node.args[0])
                kinds = ("commit", "latest", "version") if "{kind}" in text else ("",)
                name = text.removeprefix("f").strip("'\"")
                found.update(name.replace("{kind}", kind) for kind in kinds)
    return found


def test_every_name_is_reached_in_the_code_and_none_is_reached_that_has_no_name() -> None:
    assert reached_in_code().keys() == failpoints.NAMES


def test_every_place_has_both_sides_of_its_effect() -> None:
    counts = reached_in_code()
    for effect in failpoints.EFFECTS:
        assert counts[f"{effect}.before"] == counts[f"{effect}.after"], effect


@pytest.mark.parametrize(
    "name", ["ENVSYNC_FAILPOINT", "ENVSYNC_TEST_FAILPOINTS", "envsync_test_failpoint"]
)
def test_a_variable_of_another_name_does_nothing(folder_team: Team, name: str) -> None:
    folder_team.ask("train", "tiny-00000")
    folder_team.variables[name] = "content-tag.before:raise"
    assert folder_team.envsync("apply").code == 0


@pytest.mark.parametrize(
    "text",
    ["content-tag", "content-tag.before", "content-tag.before:explode", "nowhere:kill",
     "content-tag.before:raise:0", "content-tag.before:raise:x"],
)  # fmt: skip
def test_what_names_no_place_is_refused_and_not_ignored(folder_team: Team, text: str) -> None:
    folder_team.variables[failpoints.VARIABLE] = text
    done = folder_team.envsync("plan")
    assert done.code == 64
    assert failpoints.VARIABLE in done.err


def test_a_place_that_is_turned_on_acts_in_that_run_only(folder_team: Team) -> None:
    folder_team.ask("train", "tiny-00000")
    folder_team.variables[failpoints.VARIABLE] = "content-tag.before:fail"
    done = folder_team.envsync("apply")
    assert (done.code, "content-tag.before" in done.err) == (8, True)
    folder_team.variables.clear()
    assert folder_team.envsync("apply").code == 0


def test_a_place_that_is_turned_off_costs_nothing_that_could_be_measured() -> None:
    failpoints.arm("")
    begin = time.perf_counter()
    for _ in range(10_000):
        failpoints.reach("blob-put.before")
    assert time.perf_counter() - begin < 0.1, "ten microseconds each"

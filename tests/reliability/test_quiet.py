"""R8: what was applied once is not touched by any further apply."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.registry.proxy import Proxy
from tests.reliability.counts import count
from tests.reliability.oracle import End, assert_quiet, end_of
from tests.reliability.scenes import SCENES, Stage, names_of
from tests.team import MUTATING, Team


def quiet(team: Team, scene: str, wanted: End, times: int) -> None:
    assert team.envsync("apply").code == 0
    for _ in range(times):
        assert_quiet(team)
    assert end_of(team, names_of(scene)) == wanted
    count("R8", cases=1, **{"second runs": times})


@pytest.mark.parametrize("scene", SCENES)
def test_a_second_apply_writes_no_file_and_no_ref(
    layout_stage: Stage, tmp_path: Path, git_variables: dict[str, str], scene: str
) -> None:
    wanted = layout_stage.end(scene, tmp_path / "undisturbed", git_variables)
    quiet(layout_stage.team(scene, tmp_path / "team", git_variables), scene, wanted, 1)


@pytest.mark.parametrize("scene", SCENES)
def test_a_second_apply_sends_nothing_but_questions(
    proxied_stage: Stage, proxy: Proxy, tmp_path: Path, git_variables: dict[str, str], scene: str
) -> None:
    wanted = proxied_stage.end(scene, tmp_path / "undisturbed", git_variables)
    team = proxied_stage.team(scene, tmp_path / "team", git_variables)
    assert team.envsync("apply").code == 0
    assert [asked for asked in proxy.asked if asked.method in MUTATING]
    proxy.forget()
    assert "Nothing to do" in team.envsync("apply").out
    assert {asked.method for asked in proxy.asked} == {"HEAD"}
    assert len(proxy.asked) == 2 * len(names_of(scene))
    quiet(team, scene, wanted, 1)


@pytest.mark.full
@pytest.mark.parametrize("scene", SCENES)
def test_ten_applies_write_nothing(
    layout_stage: Stage, tmp_path: Path, git_variables: dict[str, str], scene: str
) -> None:
    wanted = layout_stage.end(scene, tmp_path / "undisturbed", git_variables)
    quiet(layout_stage.team(scene, tmp_path / "team", git_variables), scene, wanted, 10)

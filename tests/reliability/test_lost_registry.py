"""R11: the registry is lost as a whole, and every recorded version comes back with its digest."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator

import pytest

from tests.parts.baseimage import hollow_base
from tests.parts.registry import Registry
from tests.reliability.counts import count
from tests.reliability.oracle import assert_quiet
from tests.reliability.scenes import BOTH, wipe
from tests.team import Team

PACKAGES = ("tiny-00001", "tiny-00003", "tiny-00004", "tiny-00010", "tiny-00020")
KINDS = ("plain", "both", "based", "whole")


@pytest.fixture
def base(shared_registry: Registry) -> Iterator[str]:
    """A base image for two platforms, in a registry that is not lost."""
    with hollow_base() as image:
        yield image.push(shared_registry)


def live(team: Team, base: str, chance: random.Random) -> None:
    """Make versions of environments of every kind that can be made again."""
    team.settings(f"copy_images: true\ncompression: {chance.choice(('gzip', 'zstd'))}\n")
    team.ask("whole", image=base)
    for number in range(chance.randint(2, 3)):
        for name in KINDS[:3] if number == 0 else chance.sample(KINDS[:3], 2):
            packages = chance.sample(PACKAGES, chance.randint(1, 2))
            text = BOTH if name == "both" else ""
            team.ask(name, *packages, image=base if name == "based" else "scratch", text=text)
        done = team.envsync("apply")
        assert done.code == 0, done.out + done.err


def lose(team: Team, base: str, seed: int) -> None:
    live(team, base, random.Random(seed))
    before = {name: team.tags(name) for name in KINDS}
    records = {name: team.records(name) for name in KINDS}
    versions = sum(map(len, records.values()))
    assert all(records.values())
    assert versions > len(KINDS), "some have a history"
    wipe(team)
    if seed % 2:
        shutil.rmtree(team.cache)  # a machine that knows nothing
    assert all(team.tags(name) == {} for name in KINDS)

    assert team.envsync("apply").code == 0
    for name in KINDS:
        newest = records[name][-1]
        assert team.tags(name)[newest.version] == newest.digest, "what is asked for comes first"
    done = team.envsync("verify", "--repair")
    assert done.code == 0, done.out + done.err
    assert {name: team.tags(name) for name in KINDS} == before
    assert {name: team.records(name) for name in KINDS} == records
    team.verified.clear()
    team.check(*KINDS)
    assert_quiet(team)
    count("R11", wipes=1, versions=versions, **{"same digest": versions})


@pytest.mark.parametrize("seed", [0, 1])
def test_a_lost_registry_comes_back(server_team: Team, base: str, seed: int) -> None:
    lose(server_team, base, seed)


def test_a_lost_folder_comes_back(folder_team: Team, base: str) -> None:
    lose(folder_team, base, 2)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(3, 23))
def test_lost_registries_come_back(server_team: Team, base: str, seed: int) -> None:
    lose(server_team, base, seed)

"""Many environments, of which few changed: requests, memory, and nothing done twice (R15)."""

from __future__ import annotations

import pytest

from benchmarks.fleet import CHAIN, Fleet, fleet
from benchmarks.measure import Usage, observed
from tests.parts.channel import tiny_channel
from tests.reliability.counts import count

EACH = 2
"""Requests of an environment that is in sync."""
CHANGED_EACH = 200
"""Requests that one more version may take: some 40 layers are asked for, and mounted or sent."""
MEMORY = 300_000_000


def reconciled(of: Fleet) -> Usage:
    return observed(of.registry, lambda: of.place.envsync("reconcile", "--once"))


def asked(usage: Usage) -> int:
    assert usage.requests is not None
    return usage.requests


@pytest.mark.parametrize(
    ("size", "changed"), [(40, 2), pytest.param(1000, 50, marks=pytest.mark.full)]
)
def test_what_did_not_change_costs_two_requests(size: int, changed: int) -> None:
    with fleet(size) as team:
        quiet = reconciled(team)
        assert asked(quiet) <= EACH * size
        channel = tiny_channel(400)
        for number, name in enumerate(team.names[:changed]):
            ends = [f"tiny-{(number + step) % 40 * CHAIN + CHAIN - 1:05d}" for step in (0, 7, 15)]
            team.place.spec(name, [channel], ends)
        team.place.publishable(f"{changed} environments ask for something else")
        busy = reconciled(team)
        assert asked(busy) <= EACH * size + CHANGED_EACH * changed
        assert busy.memory <= MEMORY
        tags = team.place.git.git("ls-remote", "--tags", "--refs", "origin").splitlines()
        assert len(tags) == size + changed
        again = reconciled(team)
        assert asked(again) <= EACH * size
    count(
        "R15",
        environments=size,
        changed=changed,
        requests_in_sync=asked(quiet),
        requests_changed=asked(busy),
        megabytes=busy.memory // 1_000_000,
    )

"""Hundreds of environments with locks of their own, all of them in sync with a registry."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path

from benchmarks.checkout import Checkout, checkout
from tests.parts.channel import tiny_channel
from tests.parts.registry import Registry, run_registry

CHAIN = 10
"""Packages of the tiny channel that need one another; the last of a chain brings all."""
CHAINS = 40
CHAINS_EACH = 4
"""So that an environment has 40 packages, as a small but real one does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A repository whose environments are all published and recorded."""

    place: Checkout
    registry: Registry
    names: tuple[str, ...]

    def repository(self, name: str) -> str:
        """Return the repository of an environment in the registry."""
        return f"bench/{name}"


def write_fleet(place: Checkout, channel: Path, count: int) -> tuple[str, ...]:
    """Write *count* specs that differ in what they ask for; return their names."""
    # Spread over the choices, so that neighbours do not share three chains of four.
    step = 91_390 // count
    choices = islice(combinations(range(CHAINS), CHAINS_EACH), 0, step * count, step)
    names = []
    for number, chosen in enumerate(choices):
        name = f"environment-{number:04d}"
        ends = [f"tiny-{chain * CHAIN + CHAIN - 1:05d}" for chain in chosen]
        place.spec(name, [channel], ends)
        names.append(name)
    return tuple(names)


@contextmanager
def fleet(count: int) -> Iterator[Fleet]:
    """Lock, publish and record *count* environments, from scratch, and yield them in sync."""
    channel = tiny_channel(CHAIN * CHAINS)
    with run_registry() as registry, checkout() as place:
        place.settings(registry.host)
        names = write_fleet(place, channel, count)
        for words in (("lock",), ("apply",)):
            if words == ("apply",):
                place.publishable("environments and locks")
            took = place.envsync(*words)
            sys.stderr.write(f"  {words[0]} of {count} environments: {took.wall:.0f} s\n")
        yield Fleet(place=place, registry=registry, names=names)

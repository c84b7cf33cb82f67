"""Grouping packages into layers: a pure function of names and sizes, without history or state.

Large packages are alone, so that a change of one costs one layer; the rest goes into bins by
rendezvous hashing of the name, so that a new or removed package moves no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from envsync.errors import InvalidInput

BUDGET = 96
"""Layers of an image, the base's included, that grouping aims at."""

LIMIT = 125
"""Layers that container engines accept: dockerd 20.10 pulls 125 and refuses 126."""


class Sized(Protocol):
    """What grouping needs to know of a package."""

    @property
    def name(self) -> str:
        """Unique among the packages of an image."""

    @property
    def archive_size(self) -> int:
        """Bytes of the package's archive."""


Package = TypeVar("Package", bound=Sized)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Generic[Package]):
    """The packages of one layer, in name order."""

    packages: tuple[Package, ...]


def package_layers(base_layers: int, budget: int = BUDGET) -> int:
    """Return how many layers packages may take on a base with *base_layers*, one top layer apart.

    Raises InvalidInput when the image would have more layers than engines accept.
    """
    count = max(1, budget - base_layers - 1)
    if base_layers + count + 1 > LIMIT:
        raise InvalidInput(
            f"the base image has {base_layers} layers",
            detail=f"An image can have {LIMIT} layers, and two are needed for the environment.",
            hint="Use a base image with fewer layers, or flatten it.",
        )
    return count


def group(packages: Sequence[Package], count: int) -> tuple[Group[Package], ...]:
    """Return at most *count* groups that hold each of *packages* once, in layer order.

    First the single packages, largest first, because classic docker downloads again everything
    above the first changed layer; then the bins. The order of *packages* does not matter.
    """
    by_size = sorted(packages, key=lambda package: (-package.archive_size, package.name))
    if len(by_size) <= count:
        return tuple(Group(packages=(package,)) for package in by_size)
    bins = max(1, count // 4)
    alone, rest = by_size[: count - bins], by_size[count - bins :]
    contents: dict[int, list[Package]] = {}
    for package in rest:
        contents.setdefault(_bin(package.name, bins), []).append(package)
    return (
        *(Group(packages=(package,)) for package in alone),
        *(
            Group(packages=tuple(sorted(contents[number], key=lambda package: package.name)))
            for number in sorted(contents)
        ),
    )


def _bin(name: str, bins: int) -> int:
    """Return the bin that scores highest for *name* (rendezvous hashing)."""
    return max(
        range(bins), key=lambda number: hashlib.sha256(f"{name}\0{number}".encode()).digest()
    )

"""P10: bytes of an update over three years of real locks: how packages are put into layers."""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.report import Bar, Table
from envsync.model.grouping import group
from tests.parts.realdata import shared_data

BUDGET = 100
"""Layers that packages may take."""
SMALL = "base-notebook"
BOUND = "a layer a package, however many"

Lock = Mapping[str, tuple[str, str, tuple[str, ...]]]
"""Package to its file name, sha256 and the names that it depends on."""
Layers = Callable[[Lock, Mapping[str, int]], Sequence[Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sized:
    name: str
    archive_size: int


def measure(runs: int, size: int) -> Sequence[Table]:
    """Compare ways to group; nothing is timed, so that one run is enough."""
    document = json.loads(
        lzma.decompress((shared_data() / "lock-history/history.json.xz").read_bytes())
    )
    known = document["size_by_name"]
    typical = int(median(known.values()))
    ways: dict[str, Layers] = {
        "envsync": _ours,
        "one layer": lambda lock, sizes: [list(lock)],
        "by popularity of dependencies": _by_popularity,
        "topological order": _topological,
        BOUND: lambda lock, sizes: [[name] for name in lock],
    }
    rows: list[tuple[str, ...]] = []
    facts: dict[str, float] = {}
    bars: list[Bar] = []
    for image, series in sorted(document["series"].items()):
        locks = _locks(series)
        sizes = {name: int(known.get(name, typical)) for lock in locks for name in lock}
        found = {name: _share(locks, sizes, way) for name, way in ways.items()}
        kind = "small" if image == SMALL else "large"
        facts[kind] = max(facts.get(kind, 0), found["envsync"])
        bars += [
            Bar(
                label=f"{image}: {name}",
                value=share * 100,
                kind={"envsync": "ours", BOUND: "limit"}.get(name, "peer"),  # type: ignore[arg-type]
            )
            for name, share in found.items()
        ]
        shares = [f"{share:.1%}" for share in found.values()]
        count = f"{min(map(len, locks))}–{max(map(len, locks))}"
        rows.append((f"{image} ({len(locks) - 1} updates)", count, *shares))
    missing = len({n for s in document["series"].values() for e in s for n in e["set"]} - {*known})
    return [
        Table(
            title="Bytes of an update, of the image",
            rows=(),
            grid=(("image", "packages", *ways), *rows),
            facts=facts,
            bars=tuple(bars),
            unit="%",
            remarks=(
                (
                    "The mean over all updates in the public history of four images; at most "
                    f"{BUDGET} layers, except in the last column, which is the lower bound."
                ),
                (
                    f"Sizes are typical archive sizes by name; {missing} names without one count "
                    f"{typical:,} bytes, the median. Trust the ranking more than the digits."
                ),
                (
                    "By popularity: the packages that most others need have a layer each, the rest "
                    "share the last. Topological: equal runs of the order of installation."
                ),
            ),
        )
    ]


def _locks(series: Sequence[Mapping[str, object]]) -> list[Lock]:
    current: dict[str, tuple[str, str, tuple[str, ...]]] = {}
    found: list[Lock] = []
    for change in series:
        for name in change["remove"]:  # type: ignore[attr-defined]
            current.pop(name, None)
        for name, (file, sha256, depends) in change["set"].items():  # type: ignore[attr-defined]
            current[name] = (file, sha256, tuple(depends))
        found.append(dict(current))
    return found


def _share(locks: Sequence[Lock], sizes: Mapping[str, int], way: Layers) -> float:
    shares = []
    before: set[frozenset[str]] = set()
    for number, lock in enumerate(locks):
        layers = {
            frozenset(lock[name][1] for name in layer): sum(sizes[name] for name in layer)
            for layer in way(lock, sizes)
            if layer
        }
        if number:
            fresh = sum(count for key, count in layers.items() if key not in before)
            shares.append(fresh / sum(layers.values()))
        before = set(layers)
    return sum(shares) / len(shares)


def _ours(lock: Lock, sizes: Mapping[str, int]) -> Sequence[Sequence[str]]:
    packages = [_Sized(name=name, archive_size=sizes[name]) for name in lock]
    return [[package.name for package in one.packages] for one in group(packages, BUDGET)]


def _by_popularity(lock: Lock, sizes: Mapping[str, int]) -> Sequence[Sequence[str]]:
    needed = Counter(name for _, _, depends in lock.values() for name in depends)
    order = sorted(lock, key=lambda name: (-needed[name], name))
    return [*([name] for name in order[: BUDGET - 1]), order[BUDGET - 1 :]]


def _topological(lock: Lock, sizes: Mapping[str, int]) -> Sequence[Sequence[str]]:
    order: list[str] = []
    seen = set[str]()

    def visit(name: str) -> None:
        if name in lock and name not in seen:
            seen.add(name)
            for other in sorted(lock[name][2]):
                visit(other)
            order.append(name)

    for name in sorted(lock):
        visit(name)
    length = -(-len(order) // BUDGET)
    return [order[start : start + length] for start in range(0, len(order), length)]

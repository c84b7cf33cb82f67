"""Whether a target was reached, said by the numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import again, build, change, standin
from benchmarks.measure import Usage
from benchmarks.report import Table, ratio, size

_TOLERANCE = 64_000
"""Bytes of manifest, config and folders that an update may have besides its packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One line of the first table."""

    reached: str
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figure:
    """A number and its bound; *holds* is None where the number could not be had."""

    text: str
    holds: bool | None


def judge(row: str, tables: Sequence[Table], environments: int) -> Verdict:
    """Compare what was measured with a row's target; *environments* is the size of P1."""
    figures = _FIGURES[row](tables, environments)
    missed = [figure.text for figure in figures if figure.holds is False]
    lacking = [figure.text for figure in figures if figure.holds is None]
    if missed:
        why = _REASONS[row](tables[0]) if row in _REASONS else ""
        verdict = f"missed: {'; '.join([*missed, *lacking])}" + (f". {why}" if why else "")
    elif lacking:
        verdict = f"no verdict: {'; '.join(lacking)}"
    else:
        verdict = "reached"
    return Verdict(
        reached="; ".join(figure.text for figure in figures if figure.holds is not None),
        verdict=verdict,
    )


def _find(tables: Sequence[Table], name: str) -> Usage | None:
    rows = (row for table in tables for row in table.rows)
    return next((row.usage for row in rows if row.candidate.name == name), None)


def _faster(tables: Sequence[Table], name: str, least: float) -> _Figure:
    """Say how many times the wall time of ours another took."""
    other, ours = _find(tables, name), tables[0].rows[0].usage
    if other is None:
        return _Figure(text=f"{name} was not measured", holds=None)
    found = other.wall / ours.wall
    return _Figure(text=f"{ratio(other.wall, ours.wall)} {name}", holds=found >= least)


def _within(text: str, value: float, most: float) -> _Figure:
    return _Figure(text=text, holds=value <= most)


def _of_limit(tables: Sequence[Table], name: str, most: float) -> _Figure:
    limit, ours = _find(tables, name), tables[0].rows[0].usage
    if limit is None:
        return _Figure(text=f"{name} was not measured", holds=None)
    return _within(f"{ratio(ours.wall, limit.wall)} {name}", ours.wall / limit.wall, most)


def _stored(tables: Sequence[Table], most: float) -> _Figure:
    stored = tables[0].rows[0].usage.stored
    if stored is None:
        return _Figure(text="bytes were not measured", holds=None)
    return _within(f"{size(stored)} stored", stored, most)


def _plan(tables: Sequence[Table], environments: int) -> list[_Figure]:
    (table, *_), first = tables, tables[0].rows[0].usage
    peers = [row for row in table.rows if row.candidate.rank == "peer" and row.usage is not first]
    limits = [row for row in table.rows if row.candidate.rank == "limit"]
    # The quickest of the peers, and of the limits: nobody can say that the others were chosen.
    nearest = sorted(peers, key=lambda row: row.usage.wall)[:1]
    figures = [_faster(tables, row.candidate.name, 100) for row in nearest]
    lowest = sorted(limits, key=lambda row: row.usage.wall)[:1]
    figures += [_of_limit(tables, row.candidate.name, 2) for row in lowest]
    if first.requests is not None:
        each = first.requests / environments
        figures.append(_within(f"{each:.2g} requests each", each, 2))
    if environments < 1000:
        figures.append(_Figure(text=f"{environments} environments, not 1,000", holds=None))
    return figures


def _lock_one(tables: Sequence[Table], environments: int) -> list[_Figure]:
    solvers = {"conda": 10, "mamba": 10, "micromamba": 3}
    names = {f"conda-lock, {solver}": least for solver, least in solvers.items()}
    found = [_faster(tables, name, least) for name, least in names.items() if _find(tables, name)]
    floor = _faster(tables, standin.NAME, 0)
    lacking = "conda, mamba and micromamba could not be had"
    return [*found, floor] if found else [floor, _Figure(text=lacking, holds=None)]


def _check(tables: Sequence[Table], environments: int) -> list[_Figure]:
    wall = tables[0].rows[0].usage.wall
    return [_within(f"{wall:.2f} s", wall, 1), _faster(tables, "conda-lock, a loop", 1)]


def _history(tables: Sequence[Table], environments: int) -> list[_Figure]:
    small, large = (tables[0].facts[kind] for kind in ("small", "large"))
    return [
        _within(f"{small:.1%} of the small image", small, 0.26),
        _within(f"at most {large:.1%} of the large ones", large, 0.30),
    ]


def _platforms(tables: Sequence[Table], environments: int) -> list[_Figure]:
    (one, two), facts = (row.usage for row in tables[0].rows), tables[0].facts
    return [
        _within(f"{ratio(two.wall, one.wall)} the first alone", two.wall / one.wall, 1.6),
        _Figure(text=f"{facts['shared']:.0f} layers shared", holds=facts["shared"] > 0),
    ]


def _memory(tables: Sequence[Table], environments: int) -> list[_Figure]:
    large, small = (row.usage.memory for row in tables[0].rows)
    most = 300e6 + tables[0].facts["largest file"]
    return [
        _within(f"{ratio(large, small)} the memory", large / small, 1.3),
        _within(f"{size(large)} at most", large, most),
    ]


def _start(tables: Sequence[Table], environments: int) -> list[_Figure]:
    nothing = _find(tables, "python -c pass")
    figures = []
    for name in ("envsync --version", "envsync --help"):
        ours = _find(tables, name)
        if ours is None or nothing is None:
            figures.append(_Figure(text=f"{name} was not measured", holds=None))
            continue
        text = f"{name}: {ratio(ours.wall, nothing.wall)}"
        figures.append(_within(text, ours.wall / nothing.wall, 3))
    return figures


def _pull(tables: Sequence[Table], environments: int) -> list[_Figure]:
    ours, theirs = tables[0].rows[0].usage.read, _find(tables, build.DOCKER)
    if not ours or theirs is None or not theirs.read:
        return [_Figure(text="bytes were not measured", holds=None)]
    text = f"{size(ours)} of {size(theirs.read)}: {ratio(ours, theirs.read)}"
    return [_within(text, ours / theirs.read, 0.2)]


_FIGURES: Mapping[str, Callable[[Sequence[Table], int], list[_Figure]]] = {
    "P1": _plan,
    "P2": _lock_one,
    "P3": lambda tables, _: [_faster(tables, "50 runs", 5)],
    "P4": _check,
    "P5": lambda tables, _: [
        _faster(tables, build.DOCKER, 6),
        _faster(tables, build.TAR, 4),
        _of_limit(tables, build.LIMIT, 1.5),
    ],
    "P6": lambda tables, _: [
        _faster(tables, build.DOCKER, 50),
        _stored(tables, 1.1 * tables[0].facts["changed"] + _TOLERANCE),
    ],
    "P7": lambda tables, _: [
        _faster(tables, build.DOCKER, 30),
        _stored(tables, 1.1 * tables[0].facts["new"] + _TOLERANCE),
    ],
    "P8": lambda tables, _: [
        _faster(tables, build.DOCKER, 100),
        _within(f"{tables[0].facts['uploads']:.0f} blob sent", tables[0].facts["uploads"], 1),
    ],
    "P9": lambda tables, _: [_faster(tables, again.SKOPEO, 3)],
    "P10": _history,
    "P11": _platforms,
    "P12": _memory,
    "P13": _start,
    "P14": _pull,
}


def _share(name: str, words: str) -> Callable[[Table], str]:
    """Return a reason: how much of our time another row, which cannot be left out, takes."""

    def reason(table: Table) -> str:
        part, ours = _find([table], name), table.rows[0].usage
        return f"{words}: {part.wall:.2f} of {ours.wall:.2f} s" if part else ""

    return reason


_REASONS: Mapping[str, Callable[[Table], str]] = {
    "P1": lambda table: f"{table.rows[0].usage.cpu:.1f} s of processor time are our own",
    "P5": _share(build.LIMIT, "The limit takes"),
    "P6": _share(change.IDLE, "The same commands with nothing to do take"),
    "P7": _share(again.IDLE, "The same command with nothing to do takes"),
    "P8": _share(again.IDLE, "The same commands with nothing to do take"),
    "P9": _share(build.LIMIT, "Uploading the same blobs and nothing else takes"),
    "P13": _share("python -c 'import click'", "Importing the command line library alone takes"),
}

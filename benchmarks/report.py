"""Tables of measurements, as text for a terminal and as Markdown for the results page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.measure import Measured, Usage

_HEADS = (
    "",
    "wall, ours = 1",
    "CPU, ours = 1",
    "peak memory",
    "requests",
    "bytes stored",
    "bytes read",
    "wall s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a chart."""

    label: str
    value: float
    kind: Literal["peer", "limit", "ours"] = "peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One comparison; the first row is ours, and what the others are divided by."""

    title: str
    rows: tuple[Measured, ...]
    remarks: tuple[str, ...] = ()
    """What a reader must know to judge the numbers: what was scaled, left out, not to be had."""
    grid: tuple[tuple[str, ...], ...] = ()
    """Heads and rows of a table that is not about programs; it has no *rows* then."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """Numbers by name that a verdict needs and no row has."""
    bars: tuple[Bar, ...] = ()
    """What the chart shows instead of seconds, in *unit*."""
    unit: str = "s"


def bars_of(table: Table) -> tuple[Bar, ...]:
    """Return what the chart of a table shows: wall seconds, unless it says otherwise."""
    return table.bars or tuple(
        Bar(
            label=row.candidate.name,
            value=row.usage.wall,
            kind=row.candidate.rank if number else "ours",
        )
        for number, row in enumerate(table.rows)
    )


def as_text(table: Table) -> str:
    """Return a table for a terminal."""
    cells = table.grid or [_HEADS, *_cells(table)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [table.title, ""]
    for row in cells:
        first = row[0].ljust(widths[0])
        rest = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join((first, *rest)).rstrip())
    lines += ["", *(f"{row.candidate.name}: {row.candidate.command}" for row in table.rows)]
    lines += [f"* {remark}" for remark in _remarks(table)]
    return "\n".join(lines)


def as_markdown(table: Table) -> str:
    """Return a table for the results page."""
    heads, *rows = table.grid or [_HEADS, *_cells(table)]
    lines = [f"### {table.title}", "", f"| {' | '.join(heads)} |"]
    lines.append(f"|---|{'---:|' * (len(heads) - 1)}")
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines.append("")
    for row in table.rows:
        lines += [f"**{row.candidate.name}**", "", f"    {row.candidate.command}", ""]
    lines += [f"- {remark}" for remark in _remarks(table)]
    return "\n".join(lines).rstrip() + "\n"


def _remarks(table: Table) -> tuple[str, ...]:
    if table.grid:
        return table.remarks
    runs = sorted({row.runs for row in table.rows})
    notes = [f"{row.candidate.name}: {row.candidate.note}" for row in table.rows]
    return (
        f"Medians of {' and '.join(map(str, runs))} alternating runs.",
        *(note for note, row in zip(notes, table.rows, strict=True) if row.candidate.note),
        *_losses(table),
        *table.remarks,
    )


def _losses(table: Table) -> list[str]:
    """Name every row that is faster than ours, so that nobody has to look for it."""
    ours, *others = table.rows
    faster = [
        row.candidate.name
        for row in others
        if row.candidate.rank == "peer" and row.usage.wall < ours.usage.wall
    ]
    return [f"We lose in wall time against: {', '.join(faster)}."] if faster else []


def _cells(table: Table) -> list[tuple[str, ...]]:
    ours = table.rows[0].usage
    return [(row.candidate.name, *_numbers(row.usage, ours)) for row in table.rows]


def _numbers(usage: Usage, ours: Usage) -> Sequence[str]:
    return (
        ratio(usage.wall, ours.wall),
        ratio(usage.cpu, ours.cpu),
        size(usage.memory) if usage.memory else "",
        "" if usage.requests is None else f"{usage.requests:,}",
        "" if usage.stored is None else size(usage.stored),
        "" if usage.read is None else size(usage.read),
        f"{usage.wall:.2f}",
    )


def ratio(value: float, ours: float) -> str:
    """Return how often *ours* goes into a value, for people; '' when it cannot be said."""
    if not ours:
        return ""
    found = value / ours
    return f"{found:.0f} ×" if found >= 20 else f"{found:.2g} ×"


def size(count: int) -> str:
    """Return a number of bytes for people."""
    if count < 10_000:
        return f"{count:,} B"
    return f"{count / 1e3:,.0f} kB" if count < 10_000_000 else f"{count / 1e6:,.0f} MB"

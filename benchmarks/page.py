"""The results page: a table of all targets, then a section for each row that was measured.

A run keeps what it measured beside the page, one JSON file and one chart for each row. The page is
always made anew from all of them, so that a row that is measured again leaves the others alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.chart import draw
from benchmarks.report import Table, as_markdown, bars_of
from benchmarks.rows import ROWS, Row
from benchmarks.verdict import Verdict

DOCS = Path(__file__).parents[1] / "docs"

_HEAD = """\
# Benchmarks

Written by `python -m benchmarks --write`; nothing here is edited by hand. Each table compares
envsync with programs that do the same work on the same machine in the same run, in turn. The first
row is ours, and a number such as `7 ×` says that the row took seven times what ours took. Read the
ratios: the seconds belong to one machine, which other work may have kept busy, and are there to
show the order of magnitude. Where we lose, the table says so.

*CPU* is user and system time of all processes of the command. *Peak memory* is that of its largest
process. *Requests* are lines in the registry's own access log; *bytes stored* is what the registry
holds more than before, manifests included; *bytes read* is what it sent in answer to GETs. Charts:
blue is envsync, grey a peer, green a limit.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What the page says about one row."""

    verdict: Verdict
    machine: Sequence[str]
    markdown: Sequence[str]
    """The tables."""
    charts: Sequence[str]
    """Their titles; the files are numbered like them."""


def section_of(tables: Sequence[Table], verdict: Verdict, machine: Sequence[str]) -> Section:
    """Return what the page will say about a row."""
    return Section(
        verdict=verdict,
        machine=list(machine),
        markdown=[as_markdown(table) for table in tables],
        charts=[table.title for table in tables],
    )


def render(sections: Mapping[str, Section]) -> str:
    """Return the page; rows that are not among *sections* stand in the first table alone."""
    lines = [_HEAD, "| row | work | target | reached | verdict |", "|---|---|---|---|---|"]
    lines += [_line(row, sections.get(row.id)) for row in ROWS]
    parts = ["\n".join(lines) + "\n"]
    for row in ROWS:
        if section := sections.get(row.id):
            parts.append(_section(row, section))
    return "\n".join(parts)


def write(row: str, tables: Sequence[Table], verdict: Verdict, machine: Sequence[str]) -> None:
    """Keep what was measured of a row, draw its charts, and make the page anew."""
    folder = DOCS / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{row}-*.svg"):
        old.unlink()
    for number, table in enumerate(tables, start=1):
        chart = draw(table.title, bars_of(table), table.unit)
        (folder / f"{row}-{number}.svg").write_text(chart, encoding="utf-8")
    section = section_of(tables, verdict, machine)
    text = json.dumps(asdict(section), ensure_ascii=False, indent=1)
    (folder / f"{row}.json").write_text(f"{text}\n", encoding="utf-8")
    (DOCS / "benchmarks.md").write_text(render(_kept(folder)), encoding="utf-8")


def _kept(folder: Path) -> dict[str, Section]:
    found = {}
    for row in ROWS:
        file = folder / f"{row.id}.json"
        if file.exists():
            document = json.loads(file.read_bytes())
            found[row.id] = Section(**{**document, "verdict": Verdict(**document["verdict"])})
    return found


def _line(row: Row, section: Section | None) -> str:
    if section is None:
        return f"| {row.id} | {row.work} | {row.target} | | not measured |"
    link = f"[{row.id}](#{row.id.lower()})"
    verdict = section.verdict
    cells = (link, row.work, row.target, verdict.reached, verdict.verdict)
    return f"| {' | '.join(cells)} |"


def _section(row: Row, section: Section) -> str:
    lines = [f"## {row.id}", "", f"{row.work[0].upper()}{row.work[1:]}. Target: {row.target}.", ""]
    lines += [*(f"> {line}  " for line in section.machine), ""]
    for number, (title, table) in enumerate(
        zip(section.charts, section.markdown, strict=True), start=1
    ):
        heading, _, rest = table.partition("\n\n")
        lines += [heading, "", f"![{title}](benchmarks/{row.id}-{number}.svg)", "", rest]
    return "\n".join(lines)

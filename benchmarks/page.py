"""The results page: one section for each benchmark, replaced when that benchmark is run again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.report import Table, as_markdown

PAGE = Path(__file__).parents[1] / "docs/benchmarks.md"

_HEAD = """\
# Benchmarks

Written by `python -m benchmarks --write`; nothing here is edited by hand. Each table compares
envsync with programs that do the same work on the same machine in the same run, in turn. The first
row is ours, and a number such as `7 ×` says that the row took seven times what ours took. Read the
ratios: the seconds belong to one machine, which other work may have kept busy, and are there to
show the order of magnitude. Where we lose, the table says so.

*CPU* is user and system time of all processes of the command. *Peak memory* is that of its largest
process. *Requests* are lines in the registry's own access log; *bytes stored* is what the registry
holds more than before, manifests included.
"""
_SECTION = re.compile(r"<!-- begin (\w+) -->\n(.*?)<!-- end \1 -->\n", re.DOTALL)


def update(
    page: str,
    sections: Mapping[str, Sequence[Table]],
    order: Sequence[str],
    machine: Sequence[str],
) -> str:
    """Return *page* with the tables of *sections* in the place of older ones."""
    known = dict(_SECTION.findall(page))
    for name, tables in sections.items():
        lines = [f"## {name}", "", *(f"> {line}  " for line in machine), ""]
        known[name] = "\n".join(lines) + "\n" + "\n".join(map(as_markdown, tables))
    parts = [f"<!-- begin {n} -->\n{known[n]}<!-- end {n} -->\n" for n in order if n in known]
    return "\n".join([_HEAD, *parts])


def write(
    sections: Mapping[str, Sequence[Table]], order: Sequence[str], machine: Sequence[str]
) -> None:
    """Update the page in the checkout."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(update(page, sections, order, machine), encoding="utf-8")

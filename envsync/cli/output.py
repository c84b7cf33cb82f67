"""Colour and tables; the words are the same without either."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import click

from envsync.model.record import Record

_COLOURS = {"+": "green", "~": "yellow", "-": "red", "!": "red", "?": "magenta", "=": "cyan"}


def printable(text: str) -> str:
    """Return *text* without what a terminal would obey: commits and answers are other people's."""
    kept = (c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
    return "".join(kept)


def coloured(text: str) -> str:
    """Colour the lines of a plan or difference by their symbol; click drops it in a pipe."""
    lines = []
    for line in printable(text).split("\n"):
        symbol = line.lstrip()[:2]
        colour = _COLOURS.get(symbol[:1]) if symbol.endswith(" ") else None
        lines.append(click.style(line, fg=colour) if colour else line)
    return "\n".join(lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns of equal width, separated by two spaces."""
    head, *rows = [[printable(" ".join(cell.split())) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    )


def warn(text: str) -> None:
    """Print a warning on standard error."""
    click.echo(f"{click.style('warning', fg='yellow', bold=True)}: {printable(text)}", err=True)


def day(seconds: int) -> str:
    """Return a moment as a date and time in UTC."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M")


def record_document(record: Record) -> dict[str, object]:
    """Return a record as the values of a JSON document."""
    return {
        "version": record.version,
        "definition": record.definition,
        "request": record.request,
        "digest": record.digest,
        "platforms": list(record.platforms),
        "lock_sha256": record.lock_sha256,
        "base_digest": record.base_digest,
        "format": record.format,
        "commit": record.commit,
        "created": record.created,
        "tag": record.tag,
    }

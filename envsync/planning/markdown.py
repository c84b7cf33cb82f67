"""Markdown in which nothing that comes from a branch is obeyed: it all stands in code spans.

In a code span neither GitHub nor GitLab makes a mention, a reference to an issue or commit, a link
or a picture, and a quick action is one only at the start of a line, where we never put a text.
Sources: https://github.github.com/gfm/#code-spans and https://github.github.com/gfm/#tables-extension-
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

LIMIT = 60_000
"""UTF-16 units of a comment; GitHub takes 65,536, and counts as JavaScript does."""

TEXT_LIMIT = 200
"""Characters of one text that are shown."""

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""What cannot be seen, or moves what can: controls, bidirectional marks, zero widths."""


def units(text: str) -> int:
    """Return a text's length in UTF-16 units."""
    return len(text) + sum(character > "\uffff" for character in text)


def visible(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return a text on one line, shortened, in which every character can be seen."""
    # What is beyond the limit is not looked at: a text may have megabytes.
    line = " ".join(text[: limit * 4].split())
    shown = "".join("\ufffd" if unicodedata.category(c) in _HIDDEN else c for c in line)
    longer = len(shown) > limit or len(text) > limit * 4
    return f"{shown[:limit].rstrip()}…" if longer else shown


def code(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return a text of somebody else as a code span that can also stand in a table."""
    shown = visible(text, limit)
    if not shown:
        return ""
    # A table's cells are told apart before code spans are, and parsers differ about a backslash
    # before an escaped bar.
    shown = re.sub(r"\\+(?=\|)", "\ufffd", shown).replace("|", r"\|")
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def codes(texts: Iterable[str], most: int = 8) -> str:
    """Return texts as code spans with commas; beyond *most* they are counted."""
    found = list(texts)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(code(text) for text in found[:most]) + more


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def fold(summary: str, lines: Iterable[str]) -> list[str]:
    """Return lines that are shown on a click; *summary* are our own words."""
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "", "</details>"]

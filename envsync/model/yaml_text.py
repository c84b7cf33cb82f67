"""Writing YAML that people read: block style, quoted only where a reader could take it wrongly."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping as Map
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import TypeAlias

from envsync.model.document import Mapping, Node, Scalar, Sequence

_PART = r"[A-Za-z0-9_./+~=@%<>!,*-]"
# Reads as text in YAML 1.1 and 1.2 alike, outside of brackets.
_PLAIN = re.compile(rf"(?:[A-Za-z_/]|\./|\$(?=[a-z])){_PART}*(?:(?::+| ){_PART}+)*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_BLOCK = re.compile(r"[^\s].*[^\s]\n?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A scalar that stands as it is: a number, a boolean, or what stood so in another file."""

    text: str


Plain: TypeAlias = "str | Raw | Seq[Plain] | Map[str, Plain]"


def render_yaml(value: Map[str, Plain]) -> str:
    """Return a document; keys and items keep their order."""
    return "".join(f"{line}\n" for line in _mapping(value))


def scalar(text: str) -> str:
    """Return *text* as a YAML scalar of one line that every YAML parser takes for text."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else _escaped(c) for c in quoted)


def plain_of(node: Node) -> Plain:
    """Return a parsed document as what can be written again; comments are lost."""
    if isinstance(node, Mapping):
        return {key.text: plain_of(value) for key, value in node.entries}
    if isinstance(node, Sequence):
        return [plain_of(item) for item in node.items]
    if node.style == "plain" and "\n" not in node.text:
        return Raw(text=node.text)
    return node.text


def replaced(text: str, edits: Seq[tuple[Scalar, str]]) -> str | None:
    """Return a document's *text* with other values for some scalars, and all else as it is.

    None when a scalar cannot be found where it stands, as one of several lines cannot.
    """
    lines = text.removeprefix("\ufeff").splitlines(keepends=True)
    for old, new in sorted(edits, key=lambda edit: edit[0].where, reverse=True):
        row, column = old.where.line - 1, old.where.column - 1
        if not 0 <= row < len(lines):
            return None
        line = lines[row]
        found = _written(old, line[column:])
        if not found:
            return None
        lines[row] = line[:column] + scalar(new) + line[column + len(found) :]
    return "".join(lines)


def _written(old: Scalar, rest: str) -> str:
    """Return how a scalar of one line stands at the start of *rest*, '' when it does not."""
    if old.style == "plain":
        return old.text if old.text and rest.startswith(old.text) else ""
    quote = {"single": "'", "double": '"'}.get(old.style, "")
    plain = f"{quote}{old.text}{quote}"
    return plain if quote and rest.startswith(plain) else ""


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _mapping(value: Map[str, Plain]) -> list[str]:
    lines = []
    for key, item in value.items():
        lines += _entry(f"{scalar(key)}:", item)
    return lines


def _entry(head: str, item: Plain) -> list[str]:
    if isinstance(item, Raw):
        return [f"{head} {item.text}".rstrip()]
    if isinstance(item, str):
        return _text(head, item)
    if not item:
        return [f"{head} {{}}" if isinstance(item, Map) else f"{head} []"]
    inner = _mapping(item) if isinstance(item, Map) else _sequence(item)
    return [head, *(f"  {line}" if line else "" for line in inner)]


def _sequence(items: Seq[Plain]) -> list[str]:
    lines = []
    for item in items:
        if isinstance(item, (Raw, str)) or not item:
            lines += _entry("-", item)
            continue
        inner = _mapping(item) if isinstance(item, Map) else _sequence(item)
        lines += [f"- {inner[0]}", *(f"  {line}" if line else "" for line in inner[1:])]
    return lines


def _text(head: str, text: str) -> list[str]:
    body = text.removesuffix("\n")
    printable = all(c.isprintable() or c == "\n" for c in body)
    if "\n" not in body or not printable or not _BLOCK.fullmatch(text):
        return [f"{head} {scalar(text)}"]
    mark = "|" if text.endswith("\n") else "|-"
    return [f"{head} {mark}", *(f"  {line}" if line else "" for line in body.split("\n"))]

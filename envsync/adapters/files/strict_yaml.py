"""YAML, strictly: one document, no aliases, no tags, no key twice, and every scalar as its text.

Only PyYAML's event parser is used (libyaml's where it is there), so no YAML type is ever guessed
and nothing is constructed. Limits bound the work that a hostile file can cause.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Any, Protocol

import yaml

from envsync.adapters.files.yaml_words import explain
from envsync.errors import Position
from envsync.model.document import Faults, Mapping, Node, Scalar, Sequence, Style, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a document is read before it is refused."""

    size: int = 1024 * 1024
    """Bytes of the file."""
    depth: int = 24
    """Lists and maps within one another."""
    nodes: int = 5_000
    """Scalars, lists and maps together; keys count."""


SPEC_LIMITS = Limits()

_FAULT_LIMIT = 20
"""A file with more faults than this is not read further: it is not what it should be."""

_STYLES: dict[str | None, Style] = {
    "'": "single",
    '"': "double",
    "|": "literal",
    ">": "folded",
}
_BRACKETS = re.compile(r"[\[\]{}]")
_OPEN_BRACKETS = 64
"""libyaml's scanner is quadratic in open brackets, so they are counted before it sees them."""


class _Events(Protocol):
    def get_event(self) -> Any: ...


class _Mark(Protocol):
    line: int
    column: int


def parse_document(
    data: bytes, path: str, faults: Faults, limits: Limits = SPEC_LIMITS
) -> Node | None:
    """Parse one YAML document; implements `envsync.ports.documents.ParseDocument`.

    An empty file is an empty scalar, as it is in YAML.
    """
    text = _decoded(data, path, faults, limits)
    if text is None:
        return None
    try:
        return _Reader(_parser(text), path, faults, limits).document()
    except yaml.YAMLError as error:
        fault = explain(error, text, path)
        # A line that is wrong already, as '{{…}}/x' is, needs no second explanation.
        if not any((at.where.file, at.where.line) == (path, fault.where.line) for at in faults):
            faults.extend([fault])
        return None
    except _Stop:
        return None


def _parser(text: str) -> _Events:
    try:
        from yaml._yaml import CParser  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return yaml.Loader(text)
    return CParser(text)  # type: ignore[no-any-return,unused-ignore]


def _decoded(data: bytes, path: str, faults: Faults, limits: Limits) -> str | None:
    here = Position(file=path)
    if len(data) > limits.size:
        faults.add(
            here,
            f"The file has {len(data):,} bytes; at most {limits.size:,} are read",
            "Is it the right file?",
        )
        return None
    if data.startswith(b"PK\x03\x04"):
        faults.add(here, "The file is a zip archive, not a text", "Is it the right file?")
        return None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:4]:
        faults.add(here, "The file is UTF-16 or UTF-32, not UTF-8", "Save it as UTF-8.")
        return None
    # Taken off first: with "utf-8-sig" an error's place would be counted without it.
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        good = data[: error.start].decode()
        faults.add(
            Position(file=path, line=good.count("\n") + 1, column=len(good) - good.rfind("\n")),
            f"The file is not UTF-8: there is a byte 0x{data[error.start]:02x} here",
            "Save it as UTF-8; it may be Latin-1 or Windows-1252 now.",
        )
        return None
    if not _brackets_are_few(text, path, faults, limits):
        return None
    return text


def _brackets_are_few(text: str, path: str, faults: Faults, limits: Limits) -> bool:
    """Tell whether *text* can be scanned in linear time; brackets inside quotes count too."""
    if sum(map(text.count, "[]{}")) > 2 * limits.nodes:
        faults.add(
            Position(file=path),
            f"The file has more than {limits.nodes:,} values",
            "Is it the right file?",
        )
        return False
    opened = 0
    for bracket in _BRACKETS.finditer(text):
        opened = opened + 1 if bracket[0] in "[{" else max(opened - 1, 0)
        if opened > _OPEN_BRACKETS:
            where = Position(
                file=path,
                line=text.count("\n", 0, bracket.start()) + 1,
                column=bracket.start() - text.rfind("\n", 0, bracket.start()),
            )
            faults.add(where, f"More than {_OPEN_BRACKETS} brackets are open here")
            return False
    return True


class _Stop(Exception):
    """Reading further makes no sense; the reason is among the faults."""


class _Reader:
    """Builds nodes from the events of one file."""

    def __init__(self, events: _Events, path: str, faults: Faults, limits: Limits) -> None:
        self._events = events
        self._path = path
        self._faults = faults
        self._limits = limits
        self._nodes = 0
        self._stop_at = len(faults) + _FAULT_LIMIT

    def document(self) -> Node:
        """Return the only document's root."""
        next_event = self._events.get_event
        next_event()  # the stream starts
        start = next_event()
        if isinstance(start, yaml.StreamEndEvent):
            return Scalar(where=Position(file=self._path), text="")
        if start.tags:
            self._fault(start.start_mark, "A %TAG directive is not allowed", "Remove the line.")
        root = self._node(next_event(), 0)
        next_event()  # the document ends
        second = next_event()
        if not isinstance(second, yaml.StreamEndEvent):
            self._fault(
                second.start_mark,
                "A second document starts here; the file must hold one",
                "Remove the line '---' or what follows it.",
            )
        return root

    def _node(self, event: Any, depth: int) -> Node:
        mark = event.start_mark
        where = Position(file=self._path, line=mark.line + 1, column=mark.column + 1)
        self._nodes += 1
        if self._nodes > self._limits.nodes:
            self._faults.add(
                where,
                f"The file has more than {self._limits.nodes:,} values",
                "Is it the right file?",
            )
            raise _Stop
        if event.anchor is not None:
            self._check_anchor(event, where)
        kind = type(event)
        if kind is yaml.ScalarEvent:
            if event.tag is not None:
                self._check_tag(event, where)
            return Scalar(where=where, text=event.value, style=_STYLES.get(event.style, "plain"))
        if kind is yaml.AliasEvent:
            return Scalar(where=where, text="")
        if event.tag is not None:
            self._check_tag(event, where)
        if depth >= self._limits.depth:
            self._faults.add(
                where,
                f"Lists and maps stand within one another more than {self._limits.depth} deep",
            )
            raise _Stop
        if kind is yaml.SequenceStartEvent:
            return self._sequence(where, depth + 1)
        return self._mapping(where, depth + 1)

    def _sequence(self, where: Position, depth: int) -> Sequence:
        items = []
        while not isinstance(event := self._events.get_event(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth))
        return Sequence(where=where, items=tuple(items))

    def _mapping(self, where: Position, depth: int) -> Mapping:
        entries: list[tuple[Scalar, Node]] = []
        seen: dict[str, Position] = {}
        while not isinstance(event := self._events.get_event(), yaml.MappingEndEvent):
            key = self._node(event, depth)
            value = self._node(self._events.get_event(), depth)
            if not isinstance(key, Scalar):
                self._fault(
                    event.start_mark,
                    "A key must be text, not a list or a map",
                    "Is '{{ … }}' a placeholder of a template? Fill it in first."
                    if isinstance(key, Mapping)
                    else "",
                )
            elif (first := seen.get(key.text)) is not None:
                self._fault(
                    event.start_mark,
                    f"The key {shown(key.text)} stands twice; the first is at line {first.line},"
                    f" column {first.column}",
                    "Keep one of them.",
                )
            else:
                seen[key.text] = key.where
                entries.append((key, value))
        return Mapping(where=where, entries=tuple(entries))

    def _check_anchor(self, event: Any, where: Position) -> None:
        if isinstance(event, yaml.AliasEvent):
            message = f"The alias {shown(f'*{event.anchor}')} is not allowed"
        else:
            message = f"The anchor {shown(f'&{event.anchor}')} is not allowed"
        self._add(where, message, "Write the value out where it is needed.")

    def _check_tag(self, event: Any, where: Position) -> None:
        self._add(
            where,
            f"The tag {shown(_written(event.tag))} is not allowed",
            "Remove it; quote the value if it must be text.",
        )

    def _fault(self, mark: _Mark, message: str, hint: str = "") -> None:
        where = Position(file=self._path, line=mark.line + 1, column=mark.column + 1)
        self._add(where, message, hint)

    def _add(self, where: Position, message: str, hint: str) -> None:
        self._faults.add(where, message, hint)
        if len(self._faults) >= self._stop_at:
            raise _Stop


def _written(tag: str) -> str:
    """Return a tag as people write it: ``!!binary`` for the long name."""
    prefix = "tag:yaml.org,2002:"
    return f"!!{tag.removeprefix(prefix)}" if tag.startswith(prefix) else tag

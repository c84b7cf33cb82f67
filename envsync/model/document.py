"""A parsed YAML document as a tree of values that know where they stand, and what is wrong in it.

Scalars keep the text of the file: ``python: 3.10`` is "3.10", ``no`` is "no". A schema asks for a
number or a boolean where it wants one; nothing is guessed. What is wrong is collected in `Faults`
instead of raised, so that one run reports all of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Literal, TypeAlias

from envsync.errors import Fault, InvalidInput, Position
from envsync.model.places import redacted

Style = Literal["plain", "single", "double", "literal", "folded"]

_NULLS = {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A piece of text and how it was written."""

    where: Position
    text: str
    style: Style = "plain"

    @property
    def is_null(self) -> bool:
        """Whether nothing was written: an empty value, ``~`` or ``null`` without quotes."""
        return self.style == "plain" and self.text in _NULLS


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A list, in the order it was written."""

    where: Position
    items: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """Keys and values, in the order they were written; no key stands twice."""

    where: Position
    entries: tuple[tuple[Scalar, Node], ...] = ()

    def get(self, key: str) -> Node | None:
        """Return the value of *key*; None when the key is absent."""
        for name, value in self.entries:
            if name.text == key:
                return value
        return None

    def key(self, key: str) -> Scalar | None:
        """Return the key itself, for its position; None when it is absent."""
        return next((name for name, _ in self.entries if name.text == key), None)


Node: TypeAlias = Scalar | Sequence | Mapping


class Faults:
    """Collects what is wrong in one or several documents."""

    __slots__ = ("_faults",)

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, where: Position, message: str, hint: str = "") -> None:
        """Note one thing that is wrong."""
        self._faults.append(Fault(where=where, message=message, hint=hint))

    def extend(self, faults: Iterable[Fault]) -> None:
        """Note what was found elsewhere."""
        self._faults.extend(faults)

    def __len__(self) -> int:
        return len(self._faults)

    def __iter__(self) -> Iterator[Fault]:
        """Yield the faults by file and place, each once."""
        return iter(dict.fromkeys(sorted(self._faults, key=lambda fault: fault.where)))

    def check(self, summary: str) -> None:
        """Raise InvalidInput with all faults when there are any."""
        if self._faults:
            raise InvalidInput(summary, faults=tuple(self))


def described(node: Node) -> str:
    """Say what kind of thing *node* is, for messages: ``a list``, ``a map``, ``text``."""
    if isinstance(node, Sequence):
        return "a list"
    if isinstance(node, Mapping):
        return "a map"
    return "empty" if node.is_null else "text"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word most like *word*, '' when none is alike."""
    close = difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.6)
    return close[0] if close else ""


def shown(text: str, limit: int = 60) -> str:
    """Return *text* in quotes, on one line, printable, short, without credentials: for messages."""
    text = redacted(text)
    cut = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return "'" + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in cut) + "'"


def absent(node: Node | None) -> bool:
    """Tell whether there is no value: no such key, or a key with nothing after it."""
    return node is None or (isinstance(node, Scalar) and node.is_null)


def as_text(node: Node | None, what: str, faults: Faults) -> Scalar | None:
    """Return *node* when it is text that says something; None when absent, or with a fault."""
    if node is None or absent(node):
        return None
    if not isinstance(node, Scalar):
        faults.add(node.where, f"{what} is {described(node)}; it must be text")
        return None
    return node


def as_mapping(node: Node | None, what: str, faults: Faults, hint: str = "") -> Mapping | None:
    """Return *node* when it is a map; None when absent, or with a fault."""
    if node is None or absent(node):
        return None
    if not isinstance(node, Mapping):
        faults.add(
            node.where, f"{what} is {described(node)}; it must be a map of 'key: value'", hint
        )
        return None
    return node


def as_texts(node: Node | None, what: str, faults: Faults) -> tuple[Scalar, ...]:
    """Return the items of a list of texts; what is not text becomes a fault."""
    if node is None or absent(node):
        return ()
    if not isinstance(node, Sequence):
        faults.add(
            node.where, f"{what} is {described(node)}; it must be a list", "Write '- ' before each."
        )
        return ()
    texts = []
    for item in node.items:
        if isinstance(item, Scalar) and not item.is_null and item.text.strip():
            texts.append(item)
        elif isinstance(item, Scalar):
            faults.add(item.where, f"An item of {what} is empty", "Remove the line.")
        else:
            faults.add(item.where, f"An item of {what} is {described(item)}; it must be text")
    return tuple(texts)


def as_text_map(node: Node | None, what: str, faults: Faults) -> dict[str, Scalar]:
    """Return a map of texts by key; a value that is not text becomes a fault."""
    mapping = as_mapping(node, what, faults)
    texts = {}
    for key, value in mapping.entries if mapping else ():
        if isinstance(value, Scalar):
            texts[key.text] = value
        else:
            faults.add(
                value.where,
                f"{shown(key.text)} in {what} is {described(value)}; it must be text",
            )
    return texts


def as_bool(node: Node | None, what: str, faults: Faults) -> bool | None:
    """Return a boolean written ``true`` or ``false``; None when absent, or with a fault."""
    if node is None or absent(node):
        return None
    text = node.text if isinstance(node, Scalar) else ""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    faults.add(node.where, f"{what} must be true or false")
    return None


def as_whole_number(
    node: Node | None, what: str, faults: Faults, *, low: int, high: int
) -> int | None:
    """Return a whole number within bounds; None when absent, or with a fault."""
    if node is None or absent(node):
        return None
    text = node.text if isinstance(node, Scalar) else ""
    if text.isascii() and text.isdigit() and len(text) <= 18 and (text == "0" or text[0] != "0"):
        number = int(text)
        if low <= number <= high:
            return number
    faults.add(node.where, f"{what} must be a whole number from {low} to {high}")
    return None


def check_keys(
    mapping: Mapping, known: Iterable[str], what: str, faults: Faults, advice: Map[str, str]
) -> None:
    """Note every key that is not known, with *advice* for it or the nearest known one."""
    known = set(known)
    for key, _ in mapping.entries:
        if key.text in known:
            continue
        hint = advice.get(key.text, "")
        if not hint and (near := nearest(key.text, known)):
            hint = f"Did you mean '{near}'?"
        faults.add(
            key.where,
            f"{shown(key.text)} is not a key of {what}",
            hint or f"Known keys: {', '.join(sorted(known))}.",
        )

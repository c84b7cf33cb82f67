"""What is remembered of an environment: what it comes to, and the files from which that followed.

Specs and locks are read once for as long as they stay the same, in every commit and branch. What is
remembered names each file that was read, by an identity that other content cannot have, so that it
holds for exactly the trees in which these files are the same.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import get_args

from envsync.errors import InvalidInput
from envsync.model.config import CONFIG_FILE, ENVIRONMENTS, LOCKS
from envsync.model.policy import Span
from envsync.model.spec import Kind
from envsync.planning.states import Desired
from envsync.ports.tree import CommittedTree, TreeFile

_FIELDS = {field.name for field in fields(Desired)}
_ALWAYS = Span()
_TYPES = {"format": int, "copied": bool}
"""Of the fields that are no text."""


class Traced:
    """A tree that notes what was read of it; implements `envsync.ports.tree.Tree`."""

    def __init__(self, tree: CommittedTree) -> None:
        self._tree = tree
        self.seen: dict[str, str] = {}
        """Path to identity, '' for what was looked for and is not there."""

    @property
    def label(self) -> str:
        """What the tree is, for messages."""
        return self._tree.label

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None when there is no such regular file."""
        self.seen[path] = self._tree.identity(path)
        return self._tree.read(path)

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the names directly in *folder*, folders with a trailing slash, sorted."""
        self.seen[folder] = self._tree.identity(folder)
        return self._tree.list(folder)

    def files(self, folder: str) -> Iterable[TreeFile]:
        """Return everything below *folder*, sorted by path."""
        self.seen[folder] = self._tree.identity(folder)
        return self._tree.files(folder)


def key_of(tree: CommittedTree, place: str, name: str) -> str:
    """Return what an environment's documents are remembered under: most of what they depend on.

    *place* is what its channels depend on besides the tree.
    """
    where = (CONFIG_FILE, f"{ENVIRONMENTS}/{name}", f"{LOCKS}/{name}")
    return json.dumps([place, name, *map(tree.identity, where)])


def document_of(desired: Desired, seen: Mapping[str, str], span: Span = _ALWAYS) -> bytes:
    """Return what to remember."""
    days = [day.isoformat() if day else None for day in (span.first, span.last)]
    return json.dumps({"desired": asdict(desired), "seen": dict(seen), "days": days}).encode()


def recalled(
    document: bytes, tree: CommittedTree, day: datetime.date | None = None
) -> Desired | None:
    """Return what is remembered, None when it is not about this tree, *day*, or of this shape."""
    try:
        found = json.loads(document)
        seen, values = found["seen"], found["desired"]
        first, last = (datetime.date.fromisoformat(day) if day else None for day in found["days"])
        if not Span(first=first, last=last).holds(day):
            return None
        if any(tree.identity(path) != identity for path, identity in seen.items()):
            return None
        return _desired(values)
    except (ValueError, KeyError, TypeError, AttributeError, InvalidInput):
        return None


def _desired(values: Mapping[str, object]) -> Desired:
    platforms, version = values["platforms"], values["version"]
    if values.keys() != _FIELDS or values["kind"] not in get_args(Kind):
        raise ValueError("other fields than an environment has")
    if not isinstance(platforms, list) or not all(isinstance(one, str) for one in platforms):
        raise TypeError("platforms are no texts")
    if version is not None and not isinstance(version, str):
        raise TypeError("the version is no text")
    for name in _FIELDS - {"platforms", "version"}:
        if type(values[name]) is not _TYPES.get(name, str):
            raise TypeError(f"{name} is of another type")
    return Desired(**{**values, "platforms": tuple(platforms)})  # type: ignore[arg-type]

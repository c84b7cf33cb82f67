"""Lifecycle files of a tree: what was said about environments after they were made."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from envsync.errors import InvalidInput, Position
from envsync.model.config import LIFECYCLE
from envsync.model.document import Faults, shown
from envsync.model.lifecycle import Lifecycle, read_lifecycle
from envsync.model.names import is_name
from envsync.ports.documents import ParseDocument
from envsync.ports.tree import Tree

_SUFFIX, _MISSPELT = ".yaml", ".yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycles:
    """The lifecycle files of a tree; a broken one matters to its own environment only."""

    known: Mapping[str, Lifecycle] = field(default_factory=dict)
    """By name of the environment; most have none."""
    broken: Mapping[str, InvalidInput] = field(default_factory=dict)

    def of(self, name: str) -> Lifecycle:
        """Return what was said about an environment; InvalidInput when its file is broken."""
        if name in self.broken:
            raise self.broken[name]
        return self.known.get(name, Lifecycle())


def load_lifecycles(
    tree: Tree, parse: ParseDocument, names: Collection[str] | None = None
) -> Lifecycles:
    """Load the lifecycle files of *tree*, all of them or those of *names*."""
    known: dict[str, Lifecycle] = {}
    broken: dict[str, InvalidInput] = {}
    for entry in tree.list(LIFECYCLE):
        name = entry.removesuffix(_SUFFIX)
        if entry.endswith(_MISSPELT):
            name = entry.removesuffix(_MISSPELT)
            problem = f"{shown(entry)} is not read"
            where = Position(file=f"{LIFECYCLE}/{entry}")
            broken[name] = _broken(name, where, problem, f"Call it {name}{_SUFFIX}.")
        if not entry.endswith(_SUFFIX) or (names is not None and name not in names):
            continue
        try:
            known[name] = _load(tree, parse, name, f"{LIFECYCLE}/{entry}")
        except InvalidInput as error:
            broken[name] = error
    return Lifecycles(known=known, broken=broken)


def _load(tree: Tree, parse: ParseDocument, name: str, path: str) -> Lifecycle:
    if not is_name(name):
        raise _broken(name, Position(file=path), f"{shown(name)} is not the name of an environment")
    faults = Faults()
    data = tree.read(path)
    root = parse(data, path, faults) if data is not None else None
    found = read_lifecycle(root, faults) if root is not None else Lifecycle()
    faults.check(_summary(name))
    return found


def _summary(name: str) -> str:
    return f"The lifecycle file of {shown(name)} cannot be used"


def _broken(name: str, where: Position, problem: str, hint: str = "") -> InvalidInput:
    faults = Faults()
    faults.add(where, problem, hint)
    return InvalidInput(_summary(name), faults=tuple(faults))

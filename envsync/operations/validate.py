"""Validate: read everything that envsync would read, change nothing, and report every fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from envsync.errors import Fault, InvalidInput
from envsync.model.document import Faults
from envsync.operations.lifecycles import load_lifecycles
from envsync.operations.load import environment_names, load_config, load_environment, select
from envsync.ports.documents import ParseDocument
from envsync.ports.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What was looked at and what is wrong with it."""

    names: tuple[str, ...]
    """The environments that were read, sorted."""
    broken: tuple[str, ...]
    """Those of them that have faults, sorted."""
    faults: tuple[Fault, ...]
    """Of the settings and of all environments, by file and place."""


def validate(tree: Tree, parse: ParseDocument, names: Sequence[str] = ()) -> Validation:
    """Check settings and environments; raises InvalidInput only for a name that selects nothing."""
    faults = Faults()
    load_config(tree, parse, faults)
    selected = select(environment_names(tree), names)
    broken = []
    for name in selected:
        try:
            load_environment(tree, parse, name)
        except InvalidInput as error:
            broken.append(name)
            faults.extend(error.faults)
    for name, unread in load_lifecycles(tree, parse, selected if names else None).broken.items():
        broken += [name] if name in selected and name not in broken else []
        faults.extend(unread.faults)
    return Validation(names=selected, broken=tuple(sorted(broken)), faults=tuple(faults))

"""Validate: read everything that envsync would read, change nothing, and report every fault."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from envsync.errors import Fault, InvalidInput
from envsync.model.document import Faults
from envsync.operations.lifecycles import load_lifecycles
from envsync.operations.load import environment_names, load_config, load_environment, select
from envsync.operations.policy import Judging, policy_faults
from envsync.operations.readers import Readers
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


def validate(tree: Tree, readers: Readers, names: Sequence[str], day: datetime.date) -> Validation:
    """Check settings and environments, and by the policy what is asked for and what is locked.

    *day* is to which the policy counts days. Raises InvalidInput only for a name that selects
    nothing.
    """
    faults, parse = Faults(), readers.parse
    config = load_config(tree, parse, faults)
    selected = select(environment_names(tree), names)
    broken = []
    specs = []
    for name in selected:
        try:
            specs.append(load_environment(tree, parse, name))
        except InvalidInput as error:
            broken.append(name)
            faults.extend(error.faults)
    for name, found in policy_faults(tree, readers, config, specs, Judging(day=day)).items():
        broken.append(name)
        faults.extend(found)
    for name, unread in load_lifecycles(tree, parse, selected if names else None).broken.items():
        broken += [name] if name in selected and name not in broken else []
        faults.extend(unread.faults)
    return Validation(names=selected, broken=tuple(sorted(broken)), faults=tuple(faults))

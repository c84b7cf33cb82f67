"""Desire: what a commit asks for, resolved to definitions; what cannot be, with the reason.

What was worked out from the same files before is remembered, so that planning costs what changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from envsync.errors import Unavailable
from envsync.model.config import CONFIG_FILE, Config
from envsync.model.document import Faults
from envsync.model.policy import Breach
from envsync.operations.load import environment_names, load_config, select
from envsync.operations.policy import Judging
from envsync.operations.readers import Readers, read_lock
from envsync.operations.recalled import Traced, document_of, key_of, recalled
from envsync.planning.states import Blocked, Desired
from envsync.ports.tree import CommittedTree

if TYPE_CHECKING:
    from envsync.operations.resolve import Resolved


_BY_ITS_OWN = Judging()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One environment that can be built."""

    desired: Desired
    resolved: Callable[[], Resolved]
    """Returns its spec, its lock and what follows from them; may have to read them first."""
    notices: tuple[Breach, ...] = ()
    """What the policy lets pass, and wants to be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Everything that a tree asks for; each environment is in one of the two."""

    config: Config
    wishes: Mapping[str, Wish] = field(default_factory=dict)
    blocked: Mapping[str, Blocked] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted({*self.wishes, *self.blocked}))


def desire(
    tree: CommittedTree,
    readers: Readers,
    names: Sequence[str] = (),
    judging: Judging = _BY_ITS_OWN,
) -> Wishes:
    """Read what *tree* asks for, of the environments that *names* (globs too) select.

    Raises InvalidInput when the settings are wrong or a name selects nothing.
    """
    faults = Faults()
    config = load_config(tree, readers.parse, faults)
    faults.check(f"{CONFIG_FILE} cannot be used")
    selected = select(environment_names(tree), names)
    place = f"{readers.root} {readers.channel_alias} {judging.source}"
    keys = {name: key_of(tree, place, name) for name in selected}
    documents = readers.memory.recall(keys.values())
    wishes: dict[str, Wish] = {}
    blocked: dict[str, Blocked] = {}
    fresh: dict[str, bytes] = {}
    for name, key in keys.items():
        known = recalled(documents[key], tree, judging.day) if key in documents else None
        if known is not None:
            again = partial(_again, tree, readers, config, known, judging)
            wishes[name] = Wish(desired=known, resolved=again)
            continue
        traced = Traced(tree)
        found = _resolve(traced, readers, config, name, judging)
        if isinstance(found, Blocked):
            blocked[name] = found
            continue
        wishes[name] = Wish(desired=found.desired, resolved=_kept(found), notices=found.notices)
        if found.span is not None:
            fresh[key] = document_of(found.desired, traced.seen, found.span)
    readers.memory.remember(fresh)
    return Wishes(config=config, wishes=wishes, blocked=blocked)


def _resolve(
    tree: CommittedTree | Traced, readers: Readers, config: Config, name: str, judging: Judging
) -> Resolved | Blocked:
    # Judging a lock takes libraries that are not needed where everything is remembered.
    from envsync.operations.resolve import resolve

    return resolve(tree, readers, config, name, judging)


def _kept(found: Resolved) -> Callable[[], Resolved]:
    return lambda: found


def _again(
    tree: CommittedTree, readers: Readers, config: Config, known: Desired, judging: Judging
) -> Resolved:
    found = _resolve(tree, readers, config, known.name, judging)
    if isinstance(found, Blocked) or found.desired != known:
        raise Unavailable(
            f"what is remembered of {known.name} is not what {tree.label} says",
            detail="The cache was written by something else than this envsync.",
            hint="Delete envsync's cache folder, and run it again.",
        )
    return found


__all__ = ["Readers", "Wish", "Wishes", "desire", "read_lock"]

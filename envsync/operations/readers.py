"""What turns the files of a tree into values, and how the files of a lock are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from envsync.model.channels import CHANNEL_ALIAS
from envsync.model.config import LOCKS
from envsync.model.lock import IMAGE_FILE, LOCK_FILE, Lock, LockedPackage
from envsync.ports.documents import ParseDocument
from envsync.ports.locks import ParseLock
from envsync.ports.memory import Forgetful, Memory
from envsync.ports.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """What turns the files of a tree into values."""

    parse: ParseDocument
    parse_lock: ParseLock
    matches: Callable[[str, LockedPackage], bool]
    """See `envsync.planning.freshness.Matches`."""
    root: str
    """The repository's absolute POSIX path, where relative channels start."""
    channel_alias: str = CHANNEL_ALIAS
    """Before the names of channels."""
    memory: Memory = field(default_factory=Forgetful)
    """What was worked out from the same files before."""


def read_lock(tree: Tree, parse_lock: ParseLock, name: str) -> Lock | None:
    """Read the lock of environment *name*; InvalidInput has every fault of its files."""
    folder = f"{LOCKS}/{name}"
    return parse_lock(
        tree.read(f"{folder}/{LOCK_FILE}"), tree.read(f"{folder}/{IMAGE_FILE}"), folder
    )

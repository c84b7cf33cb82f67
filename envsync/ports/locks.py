"""Lock files: from their bytes to values, and back into the working folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from envsync.model.document import Faults
from envsync.model.lock import Lock, LockedPackage
from envsync.model.spec import CondaFile


class ParseLock(Protocol):
    """Parses the two files of a lock."""

    def __call__(self, conda_lock: bytes | None, image: bytes | None, folder: str) -> Lock | None:
        """Return the lock, or None when it was never written completely.

        A file is None when it does not exist; *folder* is where they stand, for messages. Raises
        InvalidInput with every fault found.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFiles:
    """The bytes of one environment's lock, ready to be written."""

    conda_lock: bytes | None
    """None for an environment without packages, which has only an image."""
    image: bytes


class WriteLocks(Protocol):
    """Writes locks into the working folder."""

    def __call__(self, locks: Mapping[str, LockFiles]) -> None:
        """Write the locks, by environment name: all bytes first, then the renames.

        A crash leaves for each environment the old lock, the new one, or a pair of files that do
        not belong to each other, which `envsync.planning.freshness` finds.
        """


class ContentHashes(Protocol):
    """conda-lock's own hash of what a lock was asked for, so that conda-lock knows it again."""

    def __call__(
        self, conda: CondaFile, channels: tuple[str, ...], platforms: tuple[str, ...]
    ) -> Mapping[str, str]:
        """Return the hash by platform."""


class ReadCondaLock(Protocol):
    """Reads a conda-lock file that need not be envsync's."""

    def __call__(
        self, data: bytes, file: str, faults: Faults
    ) -> tuple[Mapping[str, tuple[LockedPackage, ...]], tuple[str, ...]]:
        """Return the packages by platform, and the channels; what is wrong goes to *faults*."""


class LockSources(Protocol):
    """Tells which files a conda-lock file was made from."""

    def __call__(self, data: bytes, file: str) -> tuple[str, ...]:
        """Return their paths, relative to the lock's folder."""

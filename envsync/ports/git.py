"""Git: commits, trees and the records, with the reader apart from the writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from envsync.model.reading import Present, Unknown
from envsync.model.record import Record
from envsync.ports.tree import CommittedTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit: its full id, committer date in seconds since 1970 UTC, author and first line."""

    id: str
    date: int
    author: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A commit that changed some files, and who it is from."""

    commit: str
    email: str
    """Of the author, as the commit says it: whoever wrote the commit chose it."""
    signer: str
    """Address of who signed it, when git verified that with the keys of this machine; else ''."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """All records that the arbiter holds, and the tags below ``env/`` that are not records."""

    records: tuple[Record, ...]
    broken: Mapping[str, str]
    """Tag to what is wrong with it."""


class GitReader(Protocol):
    """Reads of the repository and of the arbiter: the remote, or without one the repository."""

    @property
    def remote(self) -> str:
        """The arbiter's remote name, '' when the local repository is the arbiter."""

    def commit(self, revision: str) -> Commit:
        """Resolve a revision; InvalidInput when there is no such commit."""

    def merge_base(self, one: str, other: str) -> str:
        """Return the newest commit that both of two commits come from, '' when none is known."""

    def tree(self, revision: str) -> CommittedTree:
        """Return a commit's tree."""

    def changes(self, since: str, until: str, paths: Sequence[str]) -> tuple[Change, ...] | None:
        """Return the commits after *since* ('': all) up to *until* that changed *paths*, newest
        first; None when not all of them are here, as in a shallow clone.
        """

    def records(self) -> Present[Records] | Unknown:
        """Read all records from the arbiter."""

    def known_records(self) -> Records:
        """Read the records known locally, without network."""

    def uncommitted(self, folders: Sequence[str]) -> tuple[str, ...]:
        """Return paths under *folders* whose working copy differs from HEAD."""

    def unreachable(self, commits: Sequence[str]) -> frozenset[str]:
        """Return those of *commits* that no branch and not HEAD lead to, of those that are here."""


Verdict = Literal["recorded", "lost", "unknown"]


class GitWriter(GitReader, Protocol):
    """Writes of records, nothing else."""

    def record(self, records: Sequence[Record]) -> Verdict:
        """Create all of *records* on the arbiter, atomically and create-only.

        ``recorded``: they are there now, byte for byte as asked. ``lost``: at least one of the tags
        exists with another content, and none was written. ``unknown``: the arbiter did not say, and
        asking it afterwards failed. Raises NotAllowed when the remote refuses.
        """

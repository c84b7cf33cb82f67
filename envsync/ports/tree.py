"""Trees of files to read from: a commit's, or the working folder's."""

from __future__ import annotations

from typing import Protocol


class Tree(Protocol):
    """A read-only tree of files, by repository-relative POSIX path."""

    @property
    def label(self) -> str:
        """What the tree is, for messages: ``commit 1a2b3c4`` or ``the working folder``."""

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None when there is no such regular file."""

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the names directly in *folder*, folders with a trailing slash, sorted."""


class CommittedTree(Tree, Protocol):
    """A tree that knows what its files are without reading them."""

    def identity(self, path: str) -> str:
        """Return what names the content of a file or folder for ever, '' when there is none.

        Of a link it is that of the file which is read in its place.
        """

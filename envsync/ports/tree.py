"""Trees of files to read from: a commit's, or the working folder's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

FileKind = Literal["file", "executable", "link", "submodule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFile:
    """One file below a folder, as git has it: nothing is followed."""

    path: str
    """Relative to the folder; bytes that are no UTF-8 stand as lone surrogates."""
    kind: FileKind
    read: Callable[[], bytes]
    """Returns the bytes; where a link leads, for a link; nothing, for a submodule."""


class Tree(Protocol):
    """A read-only tree of files, by repository-relative POSIX path."""

    @property
    def label(self) -> str:
        """What the tree is, for messages: ``commit 1a2b3c4`` or ``the working folder``."""

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None when there is no such regular file."""

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the names directly in *folder*, folders with a trailing slash, sorted."""


class ContextTree(Tree, Protocol):
    """A tree whose folders can be taken as a whole."""

    def files(self, folder: str) -> Iterable[TreeFile]:
        """Return everything below *folder*, ``.`` for the tree itself, sorted by path."""


class CommittedTree(ContextTree, Protocol):
    """A tree that knows what its files are without reading them."""

    def identity(self, path: str) -> str:
        """Return what names the content of a file or folder for ever, '' when there is none.

        Of a link it is that of the file which is read in its place.
        """

"""The branch that people push to, and a private copy of it that nobody works in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

Pushed = Literal["pushed", "moved"]


class Upstream(Protocol):
    """Reads and adds to one branch of a remote; history is never rewritten."""

    def fetch(self) -> str:
        """Make the copy what the branch is now, leftovers gone; return the commit's id.

        Raises Unavailable or NotAllowed when the remote does not say.
        """

    def commit(self, message: str, folders: Sequence[str]) -> str:
        """Commit what changed in the copy below *folders*; '' when nothing did."""

    def back_to(self, commit: str) -> None:
        """Make the copy what *commit* has, whatever was committed since."""

    def push(self, commit: str) -> Pushed:
        """Add *commit* to the branch.

        ``moved``: the branch has other commits by now, and nothing was pushed. Raises NotAllowed
        when the remote refuses, and Unavailable when it does not say.
        """

    def propose(self, branch: str, commit: str) -> bool:
        """Put *commit* on a branch of its own; False when people have worked on it.

        A branch that has commits of envsync only is replaced, and deleted ones are made anew.
        """

    def touched(self, path: str) -> int:
        """Return when a commit last changed what is below *path*, in seconds; 0 for never."""

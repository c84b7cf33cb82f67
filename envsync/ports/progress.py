"""Progress of long work, for a terminal, a CI log or a program."""

from __future__ import annotations

from typing import Literal, Protocol

Made = Literal["registry", "cache", "built"]
Sent = Literal["present", "mounted", "uploaded"]


class Progress(Protocol):
    """Told what happens; never fails the work it reports on. Safe to call from any thread."""

    def step(self, name: str, text: str) -> None:
        """Say what is happening to environment *name* now: ``solving``, ``linking 54 packages``."""

    def bytes(self, name: str, amount: int) -> None:
        """Say that *amount* bytes more were moved for environment *name*."""

    def expect(self, name: str, *, packages: int, layers: int) -> None:
        """Say how many are to come."""

    def package(self, name: str, package: str, made: Made, size: int) -> None:
        """Say that a package's part of the image is there."""

    def layer(self, name: str, digest: str, sent: Sent, size: int) -> None:
        """Say that a layer is in the repository."""

    def done(self, name: str, text: str) -> None:
        """Say how it ended for environment *name*."""


class Silent:
    """Says nothing: for tests and for use as a library."""

    def step(self, name: str, text: str) -> None:
        """Say nothing."""

    def bytes(self, name: str, amount: int) -> None:
        """Say nothing."""

    def expect(self, name: str, *, packages: int, layers: int) -> None:
        """Say nothing."""

    def package(self, name: str, package: str, made: Made, size: int) -> None:
        """Say nothing."""

    def layer(self, name: str, digest: str, sent: Sent, size: int) -> None:
        """Say nothing."""

    def done(self, name: str, text: str) -> None:
        """Say nothing."""

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
        """Say how many are to come; told once for each platform of an image, it adds up."""

    def package(self, name: str, package: str, made: Made, size: int) -> None:
        """Say that a package's part of the image is there, and why it did not cost more.

        Its layer is in the ``registry`` already, it was compressed before and is in the ``cache``,
        or it was ``built`` now. *size* is in compressed bytes.
        """

    def layer(self, name: str, digest: str, sent: Sent, size: int) -> None:
        """Say that a layer or config is in the repository: it was ``present`` already, was
        ``mounted`` from another repository, or had to be ``uploaded``. *size* is in bytes.
        """

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

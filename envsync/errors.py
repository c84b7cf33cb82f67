"""Every error that envsync raises on purpose, and the exit code each one ends with.

::

    EnvsyncError
    ├── InvalidInput       6   a document or argument is wrong; carries every fault found
    │   └── PolicyRefused  6   valid, but forbidden by ``policy:``
    ├── LockStale          6   the committed lock does not satisfy the spec
    ├── Unsatisfiable      6   no set of packages satisfies the request
    ├── Conflict           5   git and the registry disagree; a person must decide
    ├── StalePlan          4   the reviewed plan no longer describes what would happen
    ├── NotAllowed         7   not authenticated, or not permitted
    ├── Unavailable        8   a remote did not answer, or its state stays unknown
    └── Misuse            64   wrong usage of the command line

An error has three parts, as in OpenTofu's diagnostics: a *summary* (the same words for the same
kind of error), a *detail* (what and where) and a *hint* (what to do; a command stands alone on its
line, ready to copy).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """A place in a text file: repository-relative path, line and column, both from 1."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if self.line == 0:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong in a document: where, what, and what would be right."""

    where: Position
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}"
        return f"{text}\n    {self.hint}" if self.hint else text


class EnvsyncError(Exception):
    """Base of all errors that envsync raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, summary: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(part for part in (self.summary, self.detail, self.hint) if part)


class InvalidInput(EnvsyncError):
    """A document, file or argument is wrong; every fault found is in ``faults``."""

    exit_code = 6

    def __init__(
        self, summary: str, *, detail: str = "", hint: str = "", faults: Sequence[Fault] = ()
    ) -> None:
        super().__init__(summary, detail=detail or "\n".join(map(str, faults)), hint=hint)
        self.faults = tuple(faults)


class PolicyRefused(InvalidInput):
    """The request is well formed, but the repository's policy forbids it."""


class LockStale(EnvsyncError):
    """A committed lock is missing or does not satisfy its spec."""

    exit_code = 6


class Unsatisfiable(EnvsyncError):
    """No set of packages satisfies the request; the detail is the solver's explanation."""

    exit_code = 6


class Conflict(EnvsyncError):
    """Git and the registry contradict each other, and only a person can say who is right."""

    exit_code = 5


class StalePlan(EnvsyncError):
    """What would be done now differs from the plan that was reviewed."""

    exit_code = 4


class NotAllowed(EnvsyncError):
    """A remote refused the credentials, or the lack of them."""

    exit_code = 7


class Unavailable(EnvsyncError):
    """A remote could not be reached, or answered nothing that can be relied on."""

    exit_code = 8


class Misuse(EnvsyncError):
    """The command line was used wrongly."""

    exit_code = 64

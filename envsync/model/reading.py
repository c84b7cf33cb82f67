"""What a read from outside can say: present, absent or unknown; a failed read is not *absent*."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

from envsync.errors import NotAllowed, Unavailable

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Present(Generic[T_co]):
    """It is there."""

    value: T_co


@dataclass(frozen=True, slots=True)
class Absent:
    """It is proved not to be there: the remote answered 404, or the folder has no such file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Nothing can be said: refused, unreachable, or an answer that makes no sense."""

    why: Literal["not allowed", "unavailable"]
    reason: str
    """For people, without credentials."""

    @property
    def code(self) -> Literal["not_allowed", "unavailable"]:
        """*why* as plans and findings have it."""
        return "not_allowed" if self.why == "not allowed" else "unavailable"

    def error(self, summary: str, *, where: str = "") -> NotAllowed | Unavailable:
        """Return what to raise where nothing can go on without knowing; *where* was asked."""
        kind = NotAllowed if self.why == "not allowed" else Unavailable
        return kind(summary, detail=f"{where}: {self.reason}" if where else self.reason)


Reading: TypeAlias = Present[T_co] | Absent | Unknown
ABSENT = Absent()

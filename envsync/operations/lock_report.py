"""What `lock` and `lock --check` found and did, per environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from envsync.errors import EnvsyncError
from envsync.model.package_changes import PackageChange
from envsync.operations.outcome import winning_code
from envsync.planning.freshness import Stale

Outcome = Literal["fresh", "locked", "reused", "failed"]
"""``fresh``: kept byte for byte; ``reused``: the lock of an equal request was taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOutcome:
    """How locking ended for one environment."""

    name: str
    outcome: Outcome
    why: tuple[Stale, ...] = ()
    """Why the lock was made again; empty for an upgrade, and for one that is fresh."""
    changes: tuple[PackageChange, ...] = ()
    base: tuple[str, str] | None = None
    """The base image's digest before and after, when it changed; '' where there was none."""
    source: str = ""
    """The environment whose lock was reused."""
    warnings: tuple[str, ...] = ()
    error: EnvsyncError | None = None
    wrote: bool = False
    """Whether a byte of the lock changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockReport:
    """How locking ended, by environment in order of name."""

    environments: tuple[LockOutcome, ...]

    @property
    def exit_code(self) -> int:
        """0 when nothing failed, else the failures' code that wins."""
        return winning_code(e.error.exit_code for e in self.environments if e.error is not None)

    def with_broken(self, broken: Mapping[str, EnvsyncError]) -> LockReport:
        """Return the report with the environments, by name, whose specs could not be read."""
        failed = (
            LockOutcome(name=name, outcome="failed", error=error) for name, error in broken.items()
        )
        found = sorted([*self.environments, *failed], key=lambda outcome: outcome.name)
        return LockReport(environments=tuple(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class LockCheck:
    """Whether one environment's lock satisfies its spec."""

    name: str
    why: tuple[Stale, ...] = ()
    error: EnvsyncError | None = None
    """What is wrong with the spec itself, which then cannot be checked."""

    @property
    def fresh(self) -> bool:
        """Whether nothing has to be done."""
        return not self.why and self.error is None


def check_exit_code(checks: Sequence[LockCheck]) -> int:
    """Return 0 when all locks hold, 2 when one does not, an error's own code before that."""
    errors = [check.error for check in checks if check.error is not None]
    if errors:
        return winning_code(error.exit_code for error in errors)
    return 0 if all(check.fresh for check in checks) else 2

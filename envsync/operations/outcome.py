"""How a run of apply ended, per environment, and the exit code that says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from envsync.errors import (
    Conflict,
    EnvsyncError,
    InvalidInput,
    NotAllowed,
    PolicyRefused,
    Unavailable,
)
from envsync.planning.plan import EnvironmentPlan

PRECEDENCE = (1, 5, 6, 7, 4, 8, 3, 2)
"""Exit codes, the one that wins first (release protocol §7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How it ended for one environment."""

    name: str
    state: Literal["done", "unchanged", "failed"]
    version: str = ""
    digest: str = ""
    did: str = ""
    """The plan's state that was carried out."""
    error: EnvsyncError | None = None
    note: str = ""
    """What went wrong besides, and stopped nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended for all, sorted by name."""

    commit: str
    results: tuple[Result, ...]
    uncommitted: tuple[str, ...] = ()
    """Files that differ from the commit, so that nobody thinks that they were applied."""

    @property
    def exit_code(self) -> int:
        """0 when nothing failed, else the code that wins."""
        codes = {r.error.exit_code for r in self.results if r.error is not None}
        if codes and any(r.state == "done" for r in self.results):
            codes.add(3)
        return winning_code(codes)


def winning_code(codes: Iterable[int]) -> int:
    """Return the exit code of a process in which all of *codes* occurred."""
    found = set(codes)
    return next((code for code in PRECEDENCE if code in found), max(found, default=0))


def refusal(plan: EnvironmentPlan) -> Result:
    """Return the result of an environment that a plan leaves alone: in sync, or an error."""
    if plan.state == "in_sync":
        return Result(
            name=plan.name, state="unchanged", version=plan.after_version, digest=plan.digest
        )
    reason = plan.reasons[0]
    detail = "\n".join(reason.text for reason in plan.reasons)
    error: EnvsyncError
    if plan.state == "conflict":
        error = Conflict(f"{plan.name}: a person must decide", detail=detail, hint=plan.hint)
    elif plan.state == "invalid" and reason.code.startswith("policy_"):
        error = PolicyRefused(f"{plan.name} is refused by policy", detail=detail, hint=plan.hint)
    elif plan.state == "invalid":
        error = InvalidInput(f"{plan.name} cannot be built", detail=detail, hint=plan.hint)
    elif reason.code == "not_allowed":
        error = NotAllowed(f"{plan.name}: its state may not be read", detail=detail)
    else:
        error = Unavailable(f"{plan.name}: its state is unknown", detail=detail)
    return Result(name=plan.name, state="failed", error=error)

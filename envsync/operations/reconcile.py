"""Reconcile: one tick makes the branch that people push to, the records and the registry agree.

It begins anew each time, from what the branch is now: there is nothing to remember, so nothing can
be remembered wrongly. Locks are pushed before anything is built from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from envsync.errors import Conflict, EnvsyncError, Unavailable
from envsync.model.config import LOCKS
from envsync.model.record import Record
from envsync.operations.lock_report import LockReport
from envsync.operations.outcome import Outcome, Result, winning_code
from envsync.operations.plan import Planned
from envsync.planning.changes_text import changes_text
from envsync.planning.plan import EnvironmentPlan
from envsync.planning.states import in_order
from envsync.ports.upstream import Upstream

ROUNDS = 10
"""How often a lost race for the branch is begun anew."""
_NAMED = 5
_DAY = 86_400
_TURNS = 4
"""Versions that have to go back and forth within a day for an environment to be stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """What a tick is done with."""

    upstream: Upstream
    names: Callable[[], tuple[str, ...]]
    """The environments of the copy, as it is now."""
    lock: Callable[[Sequence[str]], LockReport]
    """Makes locks that do not satisfy their specs, where the settings say so."""
    apply: Callable[[Sequence[str]], Outcome]
    """Applies the copy's commit; flapping environments are refused, see `steady`."""
    pause: Callable[[int], None]
    """Waits before round *n* of a race."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """How a tick ended."""

    commit: str
    """What was applied."""
    locked: tuple[str, ...] = ()
    """Environments whose locks were pushed."""
    outcome: Outcome
    resting: tuple[str, ...] = ()
    """Environments that were left alone because they failed before."""
    push_error: EnvsyncError | None = None
    """Why locks could not be pushed."""
    proposed: Mapping[str, str] = field(default_factory=dict)
    """Environments whose refresh was proposed, and on which branch."""

    @property
    def exit_code(self) -> int:
        """0 when nothing failed, else the code that wins."""
        codes = {self.outcome.exit_code} - {0}
        if self.push_error is not None:
            codes.add(self.push_error.exit_code)
        return winning_code(codes)


def reconcile(
    tools: Reconciler, resting: Callable[[str], frozenset[str]] = lambda _: frozenset()
) -> Tick:
    """Do one tick; *resting* says for a commit which environments are left alone.

    One failing environment blocks no other. Raises Unavailable or NotAllowed when the branch cannot
    be read.
    """
    for attempt in range(ROUNDS):
        commit = tools.upstream.fetch()
        left = resting(commit)
        names = [name for name in tools.names() if name not in left]
        report = tools.lock(names) if names else LockReport(environments=())
        pushed, moved, error = _push(tools.upstream, report)
        if not moved:
            break
        tools.pause(attempt)
    else:
        raise Unavailable(f"others pushed to the branch {ROUNDS} times while it was locked")
    if error is not None:
        tools.upstream.back_to(commit)
    outcome = tools.apply(names) if names else Outcome(commit=pushed or commit, results=())
    return Tick(
        commit=pushed or commit,
        locked=tuple(one.name for one in report.environments if one.wrote) if pushed else (),
        outcome=_with_locks(outcome, report),
        resting=tuple(sorted(left)),
        push_error=error,
    )


def _push(upstream: Upstream, report: LockReport) -> tuple[str, bool, EnvsyncError | None]:
    """Return the commit of the locks that was pushed, whether others were quicker, and an error."""
    if not any(outcome.wrote for outcome in report.environments):
        return "", False, None
    commit = upstream.commit(lock_message(report), [LOCKS])
    if not commit:
        return "", False, None
    try:
        verdict = upstream.push(commit)
    except EnvsyncError as error:
        return "", False, error
    return (commit, False, None) if verdict == "pushed" else ("", True, None)


def lock_message(report: LockReport, deed: str = "Lock") -> str:
    """Return the message of a commit of locks: what moved, and why."""
    wrote = [outcome for outcome in report.environments if outcome.wrote]
    names = ", ".join(outcome.name for outcome in wrote[:_NAMED])
    more = f" and {len(wrote) - _NAMED} more" if len(wrote) > _NAMED else ""
    lines = [f"{deed} {names}{more}", ""]
    for outcome in wrote:
        lines += [f"{outcome.name}:", *(f"    because {why}" for why in outcome.why[:_NAMED])]
        if outcome.base is not None:
            before, after = (digest[:19] or "none" for digest in outcome.base)
            lines.append(f"    base image {before} → {after}")
        lines += [*changes_text(outcome.changes), ""]
    return "\n".join(lines)


def _with_locks(outcome: Outcome, report: LockReport) -> Outcome:
    """Tell why a lock could not be made, where apply only says that there is none."""
    failed = {one.name: one.error for one in report.environments if one.error is not None}
    results = tuple(
        replace(result, error=failed[result.name])
        if result.name in failed and result.state == "failed"
        else result
        for result in outcome.results
    )
    return replace(outcome, results=results)


def steady(planned: Planned) -> tuple[Mapping[str, EnvironmentPlan], tuple[Result, ...]]:
    """Return what of a plan may be carried out without asking, and what is refused.

    An environment whose last versions went back and forth between two definitions within a day, and
    that would do so again, is stopped: two programs are at odds about it. A person can apply it.
    """
    allowed, refused = {}, []
    for plan in planned.plan.changing:
        own = in_order(tuple(r for r in planned.records if r.name == plan.name))
        if _flaps(own[-_TURNS:], plan.definition, planned.commit.date):
            error = Conflict(
                f"{plan.name} goes back and forth between two definitions",
                detail=f"Its versions {', '.join(r.version for r in own[-_TURNS:])} alternate, and "
                "the next would be as the one before the last.",
                hint=f"Find out who changes it back. Then:\n    envsync apply {plan.name}",
            )
            refused.append(Result(name=plan.name, state="failed", error=error))
        else:
            allowed[plan.name] = plan
    return allowed, tuple(refused)


def _flaps(last: Sequence[Record], wanted: str, now: int) -> bool:
    if len(last) < _TURNS or now - last[0].created > _DAY:
        return False
    two = [record.definition for record in last]
    return two[0] == two[2] == wanted and two[1] == two[3] != wanted

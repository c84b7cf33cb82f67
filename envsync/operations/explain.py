"""Explain: what moves since the version before, and how much work it is. Only for what changes."""

from __future__ import annotations

from dataclasses import replace

from envsync.errors import EnvsyncError
from envsync.model.definition import Definition, as_recorded
from envsync.model.lock import Lock
from envsync.model.package_changes import direct_names, package_changes
from envsync.model.record import Record
from envsync.operations.contexts import define
from envsync.operations.load import load_environment
from envsync.operations.readers import Readers, read_lock
from envsync.operations.resolve import Resolved
from envsync.planning.plan import Effort, EnvironmentPlan, Reason
from envsync.planning.reasons import definition_reasons, effort
from envsync.planning.states import latest
from envsync.ports.git import GitReader


def explained(
    git: GitReader,
    readers: Readers,
    now: Resolved,
    plan: EnvironmentPlan,
    records: tuple[Record, ...],
) -> EnvironmentPlan:
    """Add to a plan that changes something what moves since the newest of *records*."""
    before = _before(git, readers, latest(records))
    reasons = plan.reasons
    if before is not None and plan.before_definition != plan.definition:
        reasons += definition_reasons(before[0], now.definition)
    elif records and plan.before_definition != plan.definition:
        text = f"version {plan.before_version} cannot be read here (a shallow clone?)"
        reasons += (Reason(code="previous_unreadable", text=text),)
    old = before[1] if before else None
    return replace(
        plan,
        reasons=reasons,
        changes=package_changes(
            old.packages if old else {}, now.lock.packages, direct_names(now.spec.conda)
        ),
        effort=_effort(plan, old, now.lock),
    )


def _effort(plan: EnvironmentPlan, before: Lock | None, after: Lock) -> Effort | None:
    """Return what is pushed; None where everything is in the registry already."""
    if plan.state in {"retag", "reuse"}:
        return None
    return effort(None if plan.state == "republish" else before, after)


def _before(
    git: GitReader, readers: Readers, record: Record | None
) -> tuple[Definition, Lock] | None:
    """Read the definition and lock that *record* was made from; None when they are not here."""
    if record is None:
        return None
    try:
        tree = git.tree(record.commit)
        spec = load_environment(tree, readers.parse, record.name)
        lock = read_lock(tree, readers.parse_lock, record.name)
        if lock is None:
            return None
        return as_recorded(define(tree, spec, lock), record), lock
    except EnvsyncError:
        return None

"""Explain: what moves since the version before, and how much work it is. Only for what changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from envsync.errors import EnvsyncError
from envsync.model.config import Config
from envsync.model.definition import Definition, as_recorded
from envsync.model.document import Faults
from envsync.model.lock import Lock
from envsync.model.package_changes import (
    direct_names,
    package_changes,
    requests,
    with_requests,
)
from envsync.model.record import Record
from envsync.model.spec import Spec
from envsync.operations.contexts import define
from envsync.operations.load import environment_names, load_config, load_environment
from envsync.operations.readers import Readers, read_lock
from envsync.operations.resolve import Resolved
from envsync.planning.plan import Effort, EnvironmentPlan, Reason
from envsync.planning.reasons import definition_reasons, effort
from envsync.planning.states import latest
from envsync.ports.git import GitReader


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """What an environment was."""

    definition: Definition
    spec: Spec
    lock: Lock


def explained(
    git: GitReader,
    readers: Readers,
    now: Resolved,
    plan: EnvironmentPlan,
    records: tuple[Record, ...],
    base: str = "",
) -> EnvironmentPlan:
    """Add to a plan that changes something what moves since the newest of *records*.

    With *base*, a commit, since there: what a branch brings. What is pushed is counted from the
    newest record in any case.
    """
    recorded = _before(git, readers, latest(records))
    before = _at(git, readers, base, plan.name) if base else recorded
    reasons = plan.reasons
    if before is not None and (base or plan.before_definition != plan.definition):
        reasons += definition_reasons(before.definition, now.definition)
    elif base:
        reasons += (_not_there(git, base, plan.name),)
    elif records and plan.before_definition != plan.definition:
        text = f"version {plan.before_version} cannot be read here (a shallow clone?)"
        reasons += (Reason(code="previous_unreadable", text=text),)
    asked = requests(before.spec.conda if before else None)
    changes = package_changes(
        before.lock.packages if before else {},
        now.lock.packages,
        direct_names(now.spec.conda),
        direct_names(before.spec.conda) if before else None,
    )
    return replace(
        plan,
        reasons=reasons,
        changes=with_requests(changes, asked, requests(now.spec.conda)),
        effort=_effort(plan, recorded.lock if recorded else None, now.lock),
    )


def _effort(plan: EnvironmentPlan, before: Lock | None, after: Lock) -> Effort | None:
    """Return what is pushed; None where everything is in the registry already."""
    if plan.state in {"retag", "reuse"}:
        return None
    return effort(None if plan.state == "republish" else before, after)


def _before(git: GitReader, readers: Readers, record: Record | None) -> _Before | None:
    """Read what *record* was made from; None when it is not here."""
    found = _read(git, readers, record.commit, record.name, Config()) if record else None
    if record is None or found is None:
        return None
    return replace(found, definition=as_recorded(found.definition, record))


def _at(git: GitReader, readers: Readers, commit: str, name: str) -> _Before | None:
    """Read what an environment is in *commit*; None when it is not there, or cannot be read."""
    try:
        config = load_config(git.tree(commit), readers.parse, Faults())
    except EnvsyncError:
        config = Config()
    return _read(git, readers, commit, name, config)


def _read(
    git: GitReader, readers: Readers, commit: str, name: str, config: Config
) -> _Before | None:
    try:
        tree = git.tree(commit)
        spec = load_environment(tree, readers.parse, name)
        lock = read_lock(tree, readers.parse_lock, name)
        if lock is None:
            return None
        definition = define(tree, spec, lock, config.compression)
        return _Before(definition=definition, spec=spec, lock=lock)
    except EnvsyncError:
        return None


def _not_there(git: GitReader, base: str, name: str) -> Reason:
    """Tell why an environment could not be compared with *base*."""
    if name in environment_names(git.tree(base)):
        text = "where it goes into, its spec or its lock cannot be used"
        return Reason(code="base_unreadable", text=text)
    return Reason(code="environment_new", text="the environment is new")

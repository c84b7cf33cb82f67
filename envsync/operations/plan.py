"""Plan: compare a commit with git's records and the registry. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from envsync.errors import EnvsyncError
from envsync.model.config import CONFIG_FILE, ENVIRONMENTS, LOCKS
from envsync.model.definition import Definition, definition_of
from envsync.model.lock import Lock
from envsync.model.package_changes import direct_names, package_changes
from envsync.model.reading import Present, Unknown
from envsync.model.record import Record
from envsync.operations.desire import Readers, Wish, Wishes, desire, read_lock
from envsync.operations.load import environment_names, load_environment
from envsync.operations.observe import Registries, observe
from envsync.planning.diff import blocked_plan, diff, unknown_plan
from envsync.planning.plan import CHANGING, EnvironmentPlan, Plan, Reason
from envsync.planning.reasons import definition_reasons, effort
from envsync.planning.states import latest
from envsync.ports.git import Commit, GitReader, Records

WATCHED = (ENVIRONMENTS, LOCKS, CONFIG_FILE)
"""What of a working folder decides a plan once it is committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan and what it was made from, for carrying it out."""

    plan: Plan
    commit: Commit
    wishes: Wishes
    records: tuple[Record, ...]


def make_plan(
    git: GitReader,
    registries: Registries,
    readers: Readers,
    *,
    revision: str = "HEAD",
    names: Sequence[str] = (),
) -> Planned:
    """Plan what would make the registry hold what *revision* asks for."""
    commit = git.commit(revision)
    tree = git.tree(commit.id)
    wishes = desire(tree, readers, names)
    read = git.records()
    records = read.value if isinstance(read, Present) else Records(records=(), broken={})
    plans = [blocked_plan(blocked) for blocked in wishes.blocked.values()]
    if isinstance(read, Unknown):
        plans += [unknown_plan(name, read) for name in wishes.wishes]
    else:
        observed = observe(wishes.wishes.values(), records, registries)
        for name, wish in wishes.wishes.items():
            found = diff(wish.desired, observed[name])
            plans.append(_explained(git, readers, wish, found, observed[name].records))
    known = {record.name for record in records.records}
    plan = Plan(
        commit=commit.id,
        registry=registries.registry.name,
        environments=tuple(sorted(plans, key=lambda one: one.name)),
        removed=() if names else tuple(sorted(known - set(environment_names(tree)))),
        uncommitted=git.uncommitted(WATCHED),
    )
    return Planned(plan=plan, commit=commit, wishes=wishes, records=records.records)


def _explained(
    git: GitReader,
    readers: Readers,
    wish: Wish,
    plan: EnvironmentPlan,
    records: tuple[Record, ...],
) -> EnvironmentPlan:
    """Add to a plan that changes something: what moves since the version before, and how much."""
    if plan.state not in CHANGING:
        return plan
    before = _before(git, readers, latest(records))
    direct = direct_names(wish.spec.conda)
    reasons = plan.reasons
    if before is not None and plan.before_definition != plan.definition:
        reasons += definition_reasons(before[0], wish.desired.definition)
    elif records and plan.before_definition != plan.definition:
        text = f"version {plan.before_version} cannot be read here (a shallow clone?)"
        reasons += (Reason(code="previous_unreadable", text=text),)
    old = before[1] if before else None
    return replace(
        plan,
        reasons=reasons,
        changes=package_changes(old.packages if old else {}, wish.lock.packages, direct),
        effort=None if plan.state == "retag" else effort(old, wish.lock),
    )


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
    except EnvsyncError:
        return None
    return (definition_of(spec, lock), lock) if lock is not None else None

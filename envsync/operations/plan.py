"""Plan: compare a commit with git's records and the registry. Reads only."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from envsync.model.config import LAYOUT, WATCHED
from envsync.model.reading import Present, Unknown
from envsync.model.record import Record
from envsync.operations.desire import Wish, Wishes, desire
from envsync.operations.lifecycles import Lifecycles, load_lifecycles
from envsync.operations.load import environment_names
from envsync.operations.observe import Registries, observe
from envsync.operations.owners import Verdict, changed_by
from envsync.operations.parallel import threads
from envsync.operations.policy import Judging, judging_of
from envsync.operations.readers import Readers
from envsync.planning.diff import blocked_plan, diff, policy_reasons, unknown_plan
from envsync.planning.plan import CHANGING, EnvironmentPlan, Plan, Reason
from envsync.planning.states import Blocked, Observed, latest
from envsync.ports.git import Commit, GitReader, Records

if TYPE_CHECKING:
    from envsync.operations.compare import Compared

_LOOKS = 3
"""How often git is asked again, when it and the registry contradict each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan and what it was made from, for carrying it out."""

    plan: Plan
    commit: Commit
    wishes: Wishes
    records: tuple[Record, ...]
    lifecycles: Lifecycles = field(default_factory=Lifecycles)


def make_plan(
    git: GitReader,
    registries: Registries,
    readers: Readers,
    *,
    revision: str = "HEAD",
    names: Sequence[str] = (),
    base: str = "",
    policy_from: str = "",
) -> Planned:
    """Plan what would make the registry hold what *revision* asks for.

    With *base*, the revision that it is to be merged into, only what it changes there. It is judged
    by its own policy, or by that of the revision *policy_from*: whoever asks for a change must not
    be the one who says what is allowed. Nor who says which hosts are asked: *registries* are then
    those that `envsync.operations.asked` chooses.
    """
    commit = git.commit(revision)
    tree = git.tree(commit.id)
    if base:
        from envsync.operations.compare import base_commit  # only plans of branches need it

        base_commit(git, base)
    judging = judging_of(git, readers.parse, date=commit.date, policy_from=policy_from)
    with threads(2) as beside:
        # Both wait for git, and perhaps for its remote; neither needs what is read meanwhile.
        reading = beside.submit(git.records)
        changed = beside.submit(git.uncommitted, WATCHED)
        lifecycles = load_lifecycles(tree, readers.parse)
        wishes = desire(tree, readers, names, judging)
    policy = judging.of(wishes.config)
    moved = _registry_moved(wishes, judging, policy_from)
    compared: Compared | None = None
    if base:
        from envsync.operations.compare import compare

        compared = compare(git, readers, base, commit.id, wishes, judging)
        touched = compared.touched
        wishes = replace(
            wishes,
            wishes={name: wish for name, wish in wishes.wishes.items() if name in touched},
            blocked={name: why for name, why in wishes.blocked.items() if name in touched},
        )
    read = reading.result()
    records = read.value if isinstance(read, Present) else Records(records=(), broken={})
    plans = [blocked_plan(blocked) for blocked in wishes.blocked.values()]
    sound = {name: wish for name, wish in wishes.wishes.items() if name not in lifecycles.broken}
    plans += [
        blocked_plan(Blocked(name=name, reason="spec_invalid", detail=error.detail))
        for name, error in lifecycles.broken.items()
        if name in wishes.wishes
    ]
    if isinstance(read, Unknown):
        plans += [unknown_plan(name, read) for name in sound]
    else:
        records, found_of, observed = _differences(git, records, sound, registries, lifecycles)
        for name, wish in sound.items():
            found = found_of[name]
            if found.state in CHANGING and policy.changes:
                newest = latest(observed[name].records)
                since = policy_from or (newest.commit if newest else "")
                found = _owned(found, changed_by(git, policy, name, since, commit.id))
            notices = (*found.notices, *policy_reasons(wish.notices), *moved)
            found = replace(found, notices=notices)
            plans.append(
                _explained(
                    git,
                    readers,
                    wish,
                    found,
                    observed[name].records,
                    compared.base.commit if compared is not None else "",
                )
            )
    if compared is not None:
        plans = [compared.checked(plan, policy) for plan in plans]
    known = {record.name for record in records.records}
    removed = () if names else tuple(sorted(known - set(environment_names(tree))))
    if compared is not None:
        removed = () if names else compared.removed
    plan = Plan(
        commit=commit.id,
        registry=_called(registries.registry.name),
        environments=tuple(sorted(plans, key=lambda one: one.name)),
        removed=removed,
        uncommitted=changed.result(),
        policy_from=git.commit(policy_from).id if policy_from else "",
        policy_changed=policy != wishes.config.policy,
        base=compared.base if compared is not None else None,
    )
    return Planned(
        plan=plan,
        commit=commit,
        wishes=wishes,
        records=records.records,
        lifecycles=lifecycles,
    )


def _registry_moved(wishes: Wishes, judging: Judging, policy_from: str) -> tuple[Reason, ...]:
    if judging.target is None or judging.target.registry == wishes.config.registry:
        return ()
    from envsync.operations.asked import registry_notice  # mostly nobody moves it

    text = registry_notice(wishes.config, judging.target, policy_from)
    return (Reason(code="registry_changed", text=text),)


def _differences(
    git: GitReader,
    records: Records,
    sound: Mapping[str, Wish],
    registries: Registries,
    lifecycles: Lifecycles,
) -> tuple[Records, Mapping[str, EnvironmentPlan], Mapping[str, Observed]]:
    """Compare, and where git and the registry contradict each other ask git once more.

    Somebody may have recorded and tagged a version after git was read and before the registry was:
    only what git says after the registry is a contradiction.
    """
    observed = dict(observe(sound.values(), records, registries, lifecycles.known))
    plans = {name: diff(wish.desired, observed[name]) for name, wish in sound.items()}
    for _ in range(_LOOKS):
        odd = {name: sound[name] for name, plan in plans.items() if plan.state == "conflict"}
        read = git.records() if odd else None
        if not isinstance(read, Present) or read.value == records:
            break
        records = read.value
        observed.update(observe(odd.values(), records, registries, lifecycles.known))
        plans.update({name: diff(wish.desired, observed[name]) for name, wish in odd.items()})
    return records, plans, observed


def _owned(plan: EnvironmentPlan, verdict: Verdict) -> EnvironmentPlan:
    """Add who changed it; what may not go on becomes a plan of nothing."""
    if verdict.breaches:
        detail = "\n".join(map(str, verdict.breaches))
        plan = blocked_plan(
            Blocked(name=plan.name, reason="policy", detail=detail, breaches=verdict.breaches)
        )
    return replace(plan, notices=policy_reasons(verdict.notices))


def _called(registry: str) -> str:
    """Return a registry's name for people who are not at this machine, as the plan's readers."""
    return LAYOUT if posixpath.isabs(registry) else registry


def _explained(
    git: GitReader,
    readers: Readers,
    wish: Wish,
    plan: EnvironmentPlan,
    records: tuple[Record, ...],
    base: str,
) -> EnvironmentPlan:
    if plan.state not in CHANGING:
        return plan
    # Explaining takes libraries that are not needed where nothing changed.
    from envsync.operations.explain import explained

    return explained(git, readers, wish.resolved(), plan, records, base)

"""The plan as lines of text for a terminal or a log; colour is the command line's business."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from envsync.planning.changes_text import FOLD, changes_text
from envsync.planning.plan import EnvironmentPlan, Plan, State
from envsync.planning.sizes import size

SYMBOLS: dict[State, str] = {
    "create": "+",
    "new_version": "~",
    "reuse": "~",
    "republish": "~",
    "retag": "~",
    "in_sync": "=",
    "unknown": "?",
    "conflict": "!",
    "invalid": "!",
}

_WORDS: dict[State, str] = {
    "create": "create version {after}",
    "new_version": "new version {after}, was {before}",
    "reuse": "version {after} from an image that exists",
    "republish": "publish version {after} again",
    "retag": "put the tags of version {after} again",
    "in_sync": "in sync, version {after}",
    "unknown": "unknown",
    "conflict": "conflict",
    "invalid": "cannot be built",
}


def plan_text(plan: Plan) -> str:
    """Return the plan as text; its last line is the verdict."""
    # A text of somebody else, such as the name of a file, may have line breaks.
    return "\n".join(" ".join(line.splitlines()) for line in _lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    since = f", as it differs from {plan.base.ref}" if plan.base else ""
    yield f"Plan of commit {plan.commit[:12]} against {plan.registry}{since}"
    yield ""
    for environment in plan.environments:
        if environment.state != "in_sync" or environment.notices:
            yield from _environment(environment)
            yield ""
    in_sync = plan.with_state("in_sync")
    if in_sync:
        names = ", ".join(f"{e.name} ({e.after_version})" for e in in_sync[:FOLD])
        more = f" and {len(in_sync) - FOLD} more" if len(in_sync) > FOLD else ""
        yield f"= in sync: {names}{more}"
    if plan.removed:
        yield f"- no spec any more, images and records stay: {', '.join(plan.removed)}"
    if plan.uncommitted:
        yield f"! not committed, so not part of this plan: {', '.join(plan.uncommitted[:FOLD])}"
    if plan.policy_changed:
        yield f"! judged by the policy of {plan.policy_from[:12]}; this commit changes it"
    if in_sync or plan.removed or plan.uncommitted or plan.policy_changed:
        yield ""
    if plan.changing:
        # A plan of a branch is about some environments; these must be named to get the same plan.
        names = "".join(f" {e.name}" for e in plan.changing) if plan.base else ""
        yield "To carry it out, after the merge:" if plan.base else "To carry it out:"
        yield f"    envsync apply{names} --plan-id {plan.id[:16]}"
        yield ""
    yield verdict(plan)


def verdict(plan: Plan) -> str:
    """Return the plan in one line."""
    if not plan.environments:
        return "Plan: no environment differs." if plan.base else "Plan: there are no environments."
    counts = Counter(environment.state for environment in plan.environments)
    names: dict[State, str] = {
        "create": "to create",
        "new_version": "to update",
        "reuse": "to reuse",
        "republish": "to publish again",
        "retag": "to tag again",
        "in_sync": "in sync",
        "unknown": "unknown",
        "conflict": "in conflict",
        "invalid": "to mend first",
    }
    parts = [f"{counts[state]} {words}" for state, words in names.items() if counts.get(state)]
    return f"Plan: {', '.join(parts)}."


def _environment(plan: EnvironmentPlan) -> Iterator[str]:
    words = _WORDS[plan.state].format(before=plan.before_version, after=plan.after_version)
    platforms = f"  [{', '.join(plan.platforms)}]" if plan.platforms else ""
    yield f"{SYMBOLS[plan.state]} {plan.name}: {words}{platforms}"
    for reason in plan.reasons:
        for line in reason.text.splitlines():
            yield f"    because {line}" if reason == plan.reasons[0] else f"    and {line}"
    yield from changes_text(plan.changes, fold=0 if plan.state == "create" else FOLD)
    if plan.effort is not None and plan.effort.layers:
        effort = plan.effort
        yield (
            f"    about {size(effort.bytes_to_push)} to push:"
            f" {effort.layers_to_push} of {effort.layers} layers"
        )
    for notice in plan.notices:
        yield from (f"    notice: {line}" for line in notice.text.splitlines())
    for line in plan.hint.splitlines():
        yield f"    {line}"

"""Checks: what was looked at for one environment, and how it came out, for reviewers."""

from __future__ import annotations

from collections.abc import Iterator

from envsync.planning.plan import Check, EnvironmentPlan

_LOCK = "lock"
_SPEC = "spec"
_POLICY = "policy"
_REGISTRY = "registry"
_STATE = "git and registry"

LOCK_GOOD = (
    "the locked packages are what the spec asks for, on every platform"
    " (this does not judge where they come from)"
)
POLICY_GOOD = "nothing breaks a rule of 'policy:' in envsync.yaml"
STATE_GOOD = "the versions recorded in git and those in the registry do not contradict each other"


def checks_of(plan: EnvironmentPlan) -> tuple[Check, ...]:
    """Return what follows from a plan's state, then what others found out."""
    notices = (
        Check(
            name=_REGISTRY if one.code.startswith(_REGISTRY) else _POLICY,
            verdict="warn",
            text=one.text,
        )
        for one in plan.notices
    )
    return (*_own(plan), *notices, *plan.checks)


def _own(plan: EnvironmentPlan) -> Iterator[Check]:
    if plan.state == "invalid":
        reason = plan.reasons[0]
        name = next((n for n in (_LOCK, _SPEC, _POLICY) if reason.code.startswith(n)), reason.code)
        yield Check(name=name, verdict="fail", text=reason.text or reason.code.replace("_", " "))
        return
    if plan.state == "unknown":
        for reason in plan.reasons:
            yield Check(name=_STATE, verdict="unknown", text=reason.text)
        return
    # An environment gets so far only when its lock answers its spec on every platform.
    yield Check(name=_LOCK, verdict="pass", text=LOCK_GOOD)
    if plan.state == "conflict":
        yield Check(name=_STATE, verdict="fail", text=plan.reasons[0].text)
    else:
        yield Check(name=_STATE, verdict="pass", text=STATE_GOOD)

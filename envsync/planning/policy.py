"""Does an environment obey the policy? Answered from its spec and its lock, offline.

What breaks the policy in a commit is a function of the commit and of the policy: days are counted
to the day that a case is judged for, which is the commit's own.
"""

from __future__ import annotations

import datetime

from envsync.model.lock import Lock
from envsync.model.policy import Breach, Policy, Span
from envsync.planning.policy_case import Case, Rule
from envsync.planning.policy_packages import (
    cooldown,
    forbidden_packages,
    licenses,
    lock_age,
    required_packages,
    unknown_licenses,
)
from envsync.planning.policy_sources import (
    base_images,
    channels,
    registries,
    wheel_urls,
    wheels_only,
)

RULES: tuple[Rule, ...] = (
    channels,
    wheel_urls,
    registries,
    base_images,
    wheels_only,
    forbidden_packages,
    required_packages,
    licenses,
    lock_age,
    cooldown,
)


def judge(case: Case) -> tuple[Breach, ...]:
    """Return what of the environment breaks the policy; nothing when it obeys."""
    return tuple(dict.fromkeys(breach for rule in RULES for breach in rule(case)))


def warnings(case: Case) -> tuple[Breach, ...]:
    """Return what the policy lets pass, and wants to be told."""
    return tuple(dict.fromkeys(unknown_licenses(case)))


def span(policy: Policy, lock: Lock | None, day: datetime.date | None) -> Span | None:
    """Return the days on which the same judgement of an obedient *lock* holds for sure.

    None when days were to be counted and nobody said to which.
    """
    if policy.cooldown is None and policy.max_lock_age is None:
        return Span()
    if day is None:
        return None
    last = None
    if policy.max_lock_age and lock is not None and lock.image.chosen:
        chosen = datetime.date.fromisoformat(lock.image.chosen)
        last = chosen + datetime.timedelta(days=policy.max_lock_age.days)
    return Span(first=day, last=last)

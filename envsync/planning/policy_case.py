"""What a rule of the policy is given, and how it says what breaks it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from envsync.errors import Position
from envsync.model.lock import Lock, LockedPackage
from envsync.model.policy import Breach, Policy, PolicyRule
from envsync.model.spec import Spec
from envsync.planning.freshness import LockRules

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One environment before the policy."""

    policy: Policy
    spec: Spec
    lock: Lock | None
    """None: there is none, or none that can be judged."""
    rules: LockRules
    day: datetime.date | None
    """To which days are counted (UTC); None leaves out the rules that count days."""

    @property
    def packages(self) -> tuple[LockedPackage, ...]:
        """Everything that is locked, on all platforms."""
        if self.lock is None:
            return ()
        return tuple(package for part in self.lock.packages.values() for package in part)

    @property
    def written(self) -> str:
        """The file that says which packages are wanted."""
        return (self.spec.conda.path if self.spec.conda else None) or self.spec.path

    def relock(self, what: str, *upgrade: str) -> str:
        """Return a hint: *what* to do, and the command that locks again."""
        option = f"--upgrade {','.join(upgrade)} " if upgrade else ""
        return f"{what}:\n    envsync lock {option}{self.spec.name}"

    def breach(
        self, rule: PolicyRule, where: Position, says: str, found: str, hint: str = "",
        part: str = "",
    ) -> Breach:  # fmt: skip
        """Return that *found* breaks what the *rule*, or a *part* of it, *says*."""
        named = self.policy.named(f"{rule}.{part}" if part else rule)
        return Breach(
            rule=rule,
            where=where,
            message=f"{named} {says}; {self.spec.name}: {found}",
            hint=hint,
        )


Rule: TypeAlias = Callable[[Case], Iterator[Breach]]


def few(words: Sequence[str], one: str, many: str) -> str:
    """Return words for a sentence, the first of them and a count, and its verb: *one* or *many*."""
    known = list(dict.fromkeys(words))
    verb = one if len(known) == 1 else many
    if len(known) == 1:
        return f"{known[0]} {verb}"
    if len(known) <= _SHOWN:
        return f"{', '.join(known[:-1])} and {known[-1]} {verb}"
    return f"{', '.join(known[:_SHOWN])} and {len(known) - _SHOWN} more {verb}"


def listed(texts: Sequence[str]) -> str:
    """Return the items of a list of the policy, the first of them and a count."""
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return f"{', '.join(texts[:_SHOWN])}{more}"

"""The plan: what would be done to make the registry hold what git asks for, and why.

Everything here is data; carrying it out is `envsync.operations.apply`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from envsync.model.canonical import Json, hash_json

if TYPE_CHECKING:
    # It knows locks and specs, which a plan that changes nothing has no need of.
    from envsync.model.package_changes import PackageChange

State = Literal[
    "create",
    "new_version",
    "reuse",
    "republish",
    "retag",
    "in_sync",
    "unknown",
    "conflict",
    "invalid",
]
"""
- create: the first version, to be built; new_version: another one, to be built
- reuse: a version whose image already exists
- republish: a recorded image is gone from the registry; retag: only registry tags are missing
- in_sync: nothing to do
- unknown: git or the registry did not answer
- conflict: a person must decide
- invalid: the spec or its lock must be mended first
"""

CHANGING: frozenset[State] = frozenset({"create", "new_version", "reuse", "republish", "retag"})
"""The states in which apply does something."""

Verb = Literal["build", "copy", "publish", "adopt", "record", "tag"]
"""
build: make the image · copy: take it from another repository · publish: upload it and put the
content tag · adopt: verify an image that is published and not recorded · record: create the git tag
· tag: put a registry tag
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One step: a verb and what it is done to."""

    verb: Verb
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why an environment is in its state: a code for programs and words for people."""

    code: str
    text: str


CheckVerdict = Literal["pass", "warn", "fail", "unknown"]
"""warn: somebody should look; fail: it cannot go on; unknown: it could not be found out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something that was looked at, such as the lock, and how it came out."""

    name: str
    verdict: CheckVerdict
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What publishing would move; archive sizes stand in for layers that are not built yet."""

    bytes_to_push: int
    layers_to_push: int
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentPlan:
    """What would be done for one environment."""

    name: str
    state: State
    reasons: tuple[Reason, ...]
    actions: tuple[Action, ...] = ()
    before_version: str = ""
    after_version: str = ""
    before_definition: str = ""
    definition: str = ""
    digest: str = ""
    """Of the image when it is known before building: recorded, or published already."""
    copy_from: str = ""
    """Environment whose repository the image is taken from."""
    platforms: tuple[str, ...] = ()
    changes: tuple[PackageChange, ...] = ()
    effort: Effort | None = None
    hint: str = ""
    notices: tuple[Reason, ...] = ()
    """What somebody should know although it stops nothing."""
    checks: tuple[Check, ...] = ()
    """What else was looked at; `envsync.planning.checks` adds what follows from the state."""

    @property
    def id(self) -> str:
        """Hash of what would be done, and of nothing else: not of clocks, reasons or estimates.

        What a shallow clone cannot explain, it can carry out.
        """
        return hash_json(
            {
                "name": self.name,
                "state": self.state,
                "actions": [[action.verb, action.target] for action in self.actions],
                "before": [self.before_version, self.before_definition],
                "after": [self.after_version, self.definition, self.digest],
                "copy_from": self.copy_from,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a plan of a branch is compared with."""

    ref: str
    """As it was given, such as ``origin/main``."""
    commit: str
    """What it names."""
    fork: str
    """The commit where the branch began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be done for all environments asked about, sorted by name."""

    commit: str
    registry: str
    environments: tuple[EnvironmentPlan, ...]
    removed: tuple[str, ...] = ()
    """Names with records and no spec: their images stay, nothing is done."""
    uncommitted: tuple[str, ...] = ()
    """Changed files that are not part of the plan because they are not committed."""
    policy_from: str = ""
    """The commit that the policy was read from; '' for the commit itself."""
    policy_changed: bool = False
    """Whether the commit has another policy than that."""
    base: Base | None = None
    """Given, the plan is of the environments that differ from there, and packages are compared with
    what is locked there."""

    @property
    def id(self) -> str:
        """Hash over the ids of the environments that would change."""
        return plan_id(e for e in self.environments if e.state in CHANGING)

    def with_state(self, *states: State) -> tuple[EnvironmentPlan, ...]:
        """Return the environments in one of *states*."""
        return tuple(e for e in self.environments if e.state in states)

    @property
    def changing(self) -> tuple[EnvironmentPlan, ...]:
        """Return the environments for which apply would do something."""
        return tuple(e for e in self.environments if e.state in CHANGING)


def plan_id(environments: Iterable[EnvironmentPlan]) -> str:
    """Return the id of a plan that changes *environments*."""
    ids: list[Json] = [environment.id for environment in environments]
    return hash_json(sorted(map(str, ids)))

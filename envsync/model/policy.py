"""The policy of a repository: what its environments may be made of, as values with their places.

Reading YAML into these values is `envsync.model.policy_reader`; whether an environment obeys them
says `envsync.planning.policy`.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from envsync.errors import Position

# Places do not count when two policies are compared: they say the same.

PolicyRule = Literal[
    "channels",
    "wheel_urls",
    "registries",
    "base_images",
    "packages",
    "licenses",
    "max_lock_age",
    "cooldown",
    "wheels_only",
    "changes",
]
"""The keys below ``policy:`` that something can break; a plan says ``policy_<rule>``."""

WhenUnknown = Literal["refuse", "warn", "allow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One text of the policy and where it stands."""

    text: str
    where: Position = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A list that says everything that is allowed."""

    where: Position = field(compare=False)
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """A number of days and where it stands."""

    where: Position = field(compare=False)
    days: int

    def __str__(self) -> str:
        return f"{self.days} day{'' if self.days == 1 else 's'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Licenses:
    """Which licences packages may have. Items are SPDX licences, globs too."""

    where: Position = field(compare=False)
    allowed: Allowed | None = None
    forbidden: tuple[Item, ...] = ()
    unknown: WhenUnknown = "refuse"
    unknown_at: Position = field(compare=False)
    """Where `unknown` stands; where the licences stand when it is not written."""
    of: Mapping[str, str] = field(default_factory=dict)
    """What a person found out: package to licence. It wins over what the channel says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Who may change some environments."""

    where: Position = field(compare=False)
    environments: tuple[str, ...]
    """Globs of names."""
    by: tuple[str, ...]
    """As written: globs of e-mail addresses, and teams."""
    addresses: tuple[str, ...]
    """Globs of e-mail addresses, those of the teams among them."""
    signed: bool = False
    """Whether it counts who signed a commit, as git verifies it, and not who its author is said to
    be."""
    refuse: bool = False
    """Whether a change by somebody else is refused, and not only told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What environments may be made of; without any rule everything is allowed."""

    channels: Allowed | None = None
    """Conda channels: names, URLs or paths, globs too."""
    wheel_urls: Allowed | None = None
    """Globs of URLs that wheels may come from."""
    registries: Allowed | None = None
    """Globs of hosts that images may come from."""
    base_images: Allowed | None = None
    """Globs of images, in full: ``docker.io/library/debian:12*``."""
    forbidden: tuple[Item, ...] = ()
    """Match specs of packages that nothing may lock, from a channel or an index."""
    required: tuple[Item, ...] = ()
    """Match specs of which every environment with packages must lock one."""
    licenses: Licenses | None = None
    max_lock_age: Days | None = None
    cooldown: Days | None = None
    wheels_only: Item | None = None
    """None when it is not asked for."""
    changes: tuple[Owners, ...] = ()
    origin: str = field(default="", compare=False)
    """Which revision it was read from, for messages; '' for the same tree as the environments."""
    own_registry: str = ""
    """``registry:`` of the same settings: what stands there is the repository's own."""

    @property
    def has_rules(self) -> bool:
        """Whether anything at all is forbidden or required."""
        return self != Policy(own_registry=self.own_registry)

    def named(self, rule: str) -> str:
        """Return how messages call a rule: ``policy.channels``."""
        return f"policy.{rule} of {self.origin}" if self.origin else f"policy.{rule}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One rule that an environment breaks: which, where it stands, what breaks it, what to do."""

    rule: PolicyRule
    where: Position
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The days on which a judgement holds for the same files; None is without end."""

    first: datetime.date | None = None
    last: datetime.date | None = None

    def holds(self, day: datetime.date | None) -> bool:
        """Tell whether *day* is one of them; None stands for any day."""
        if day is None:
            return self.first is None and self.last is None
        return not (
            (self.first is not None and day < self.first)
            or (self.last is not None and day > self.last)
        )

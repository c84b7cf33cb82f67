"""Solvers: conda packages for one platform, and wheels on top of them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from envsync.model.lock import LockedPackage


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaRequest:
    """One conda solve."""

    platform: str
    channels: tuple[str, ...]
    """In priority order, as written: names, URLs or paths."""
    dependencies: tuple[str, ...]
    virtual_packages: Mapping[str, str]
    """Name to version, the complete set the solver may assume."""
    prefer: tuple[LockedPackage, ...] = ()
    """Packages to keep where the request allows it."""
    exclude_newer: datetime.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnWheel:
    """A wheel that stands in the repository."""

    path: str
    """Relative to the repository's top."""
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PipRequest:
    """One resolution of wheels for a solved conda environment."""

    platform: str
    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    """Lines that limit versions and ask for nothing."""
    python_version: str
    """Full version of the locked python, such as 3.11.9."""
    glibc: str
    provided: Mapping[str, str]
    """Distribution name to version that conda packages already provide."""
    wheels: Mapping[str, OwnWheel] = field(default_factory=dict)
    """Wheels of the repository, by their path as it stands in a requirement."""
    osx: str = ""
    """Version of macOS to support, where the platform is one of its; '' for the default."""
    prefer: tuple[LockedPackage, ...] = ()
    exclude_newer: datetime.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """What a solver chose, sorted by name."""

    packages: tuple[LockedPackage, ...]
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Archive size in bytes by file name, where the index says it."""
    licenses: Mapping[str, str] = field(default_factory=dict)
    """By file name, where the index says it, in its own words."""
    released: Mapping[str, str] = field(default_factory=dict)
    """By file name the day (UTC) on which the index got it, or it was made, such as 2025-03-31."""
    warnings: tuple[str, ...] = ()
    """What people should know although it worked."""


class CondaSolver(Protocol):
    """Solves conda requests; repodata is read once for all requests of a run."""

    def solve(self, requests: Sequence[CondaRequest]) -> list[Solution | Exception]:
        """Solve all requests together; an EnvsyncError stands in the place of a failed one."""


class PipResolver(Protocol):
    """Resolves pip requirements to wheels."""

    def resolve(self, request: PipRequest) -> Solution:
        """Return the wheels to install; Unsatisfiable, InvalidInput or Unavailable otherwise."""

"""Build jobs: one environment to be built from packages and published, as a value.

A job says all that decides the image and where it goes, so that it can be carried out in this
process or sent to another machine that shares nothing with this one but the registry.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envsync.model.definition import Definition
    from envsync.model.lock import Lock


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildJob:
    """An environment to be built and published; can be pickled."""

    name: str
    version: str
    repository: str
    definition: Definition
    lock: Lock
    digest: str = ""
    """What the version was recorded as; '' for a new one."""
    wheels: tuple[bytes, ...] = field(default=(), repr=False)
    """Those of the git repository."""
    images: tuple[tuple[str, str], ...] = ()
    """Earlier images that share packages, as (repository, recorded digest), the likeliest first."""

"""The workshop: what building, publishing and tagging needs, put together once for a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envsync.model.lifecycle import Lifecycle
from envsync.model.record import Record
from envsync.operations.build_job import BuildJob
from envsync.operations.desire import Readers
from envsync.operations.observe import Registries
from envsync.operations.publish import Uploads
from envsync.operations.tagging import Tags
from envsync.ports.builder import Workspace
from envsync.ports.git import GitWriter
from envsync.ports.progress import Progress
from envsync.ports.registry import RegistryWriter

if TYPE_CHECKING:
    from envsync.operations.attach import Made
    from envsync.operations.build_dockerfile import BuildSite

RELATIVES = 16
"""Other environments whose newest images are asked for layers that a build needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What building and publishing needs."""

    git: GitWriter
    registry: RegistryWriter
    registries: Registries
    readers: Readers
    build: Callable[[BuildJob], str]
    """Carries a job out, here or elsewhere, and returns the digest that was published."""
    workspace: Callable[[], AbstractContextManager[Workspace]]
    uploads: Uploads
    progress: Progress
    pause: Callable[[int], None]
    """Waits before round *n* of a race, for a random time that grows with *n*."""
    builds_at_once: int = 2
    referrers: bool = True
    """Whether provenance and bills of materials are attached."""
    site: Callable[[], BuildSite] | None = None
    """What builds from Dockerfiles."""

    def tags(self, lives: Mapping[str, Lifecycle], made: Callable[[Record], Made]) -> Tags:
        """Return what puts tags, and before a version's what refers to it; *made* is asked then."""
        attach = None
        if self.referrers:
            from envsync.operations.attach import Attaching

            attach = Attaching(
                registry=self.registry, repository=self.registries.repository, made=made
            )
        return Tags(
            git=self.git,
            registry=self.registry,
            repository=self.registries.repository,
            lives=lives,
            attach=attach,
        )

"""Publishing what an engine built. No two builds of a Dockerfile need to give the same bytes.

So what a definition's content tag names already is taken as it is, and the image that was recorded
for a version is the only one that may stand for it (docs/decisions/0014-dockerfile-builds.md).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from envsync.errors import Conflict, EnvsyncError, Unavailable
from envsync.failpoints import reach
from envsync.model.names import content_tag
from envsync.model.reading import Present
from envsync.model.record import Record
from envsync.operations.build_dockerfile import BuildSite, build_dockerfile
from envsync.operations.publish import Uploads, publish, verify
from envsync.operations.resolve import Resolved
from envsync.planning.plan import EnvironmentPlan
from envsync.ports.builder import Workspace
from envsync.ports.progress import Progress
from envsync.ports.registry import RegistryWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where an image goes."""

    registry: RegistryWriter
    repository: str
    uploads: Uploads
    progress: Progress


def publish_dockerfile(
    resolved: Resolved,
    plan: EnvironmentPlan,
    shelf: Shelf,
    site: BuildSite | None,
    workspace: Callable[[], AbstractContextManager[Workspace]],
) -> str:
    """Build and publish; return the digest under which the definition is published, verified.

    Raises Conflict when a recorded version would get another digest.
    """
    registry, repository, definition = shelf.registry, shelf.repository, resolved.definition
    if plan.digest:
        whole = registry.manifest(repository, plan.digest)
        if isinstance(whole, Present):
            # Only the tag is gone. A manifest is there when everything it names is.
            reach("content-tag.before")
            registry.put_manifest(repository, definition.content_tag, whole.value)
            reach("content-tag.after")
            return verify(registry, repository, definition)
    if site is None:
        raise Unavailable(f"{plan.name} needs a Docker engine to be built")
    with workspace() as folder:
        image = build_dockerfile(resolved, site, folder, shelf.progress, plan.name)
        if plan.digest and plan.digest != image.top.digest:
            raise Conflict(
                f"version {plan.after_version} of {plan.name} cannot be made again",
                detail=f"The registry lost {plan.digest}. Building from a Dockerfile gives other"
                f" bytes each time, now {image.top.digest}, and a version never changes.",
                hint="Restore the registry's backup, or make a new version of the same definition:"
                f" write another 'version:' into the spec of {plan.name}.",
            )
        if isinstance(registry.head(repository, definition.content_tag), Present):
            return verify(registry, repository, definition)  # somebody was quicker: theirs it is
        shelf.progress.step(plan.name, f"publishing {len(image.blobs)} blobs")
        return publish(
            image,
            registry,
            repository,
            shelf.uploads,
            shelf.progress,
            plan.name,
        )


def keep_content_tag(registry: RegistryWriter, repository: str, record: Record) -> None:
    """See to it that the content tag names what was recorded, whoever published last.

    Where it cannot be seen to, the next plan reports the conflict.
    """
    tag = content_tag(record.definition)
    with suppress(EnvsyncError):
        found = registry.head(repository, tag)
        if isinstance(found, Present) and found.value.digest != record.digest:
            recorded = registry.manifest(repository, record.digest)
            if isinstance(recorded, Present):
                reach("content-tag.before")
                registry.put_manifest(repository, tag, recorded.value)
                reach("content-tag.after")

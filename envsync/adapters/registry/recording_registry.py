"""A registry that remembers what it was asked: for tests, and for showing what a run did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from envsync.adapters.registry.streams import Content
from envsync.model.reading import Reading
from envsync.oci.descriptor import Descriptor, RawManifest
from envsync.ports.registry import RegistryWriter

MUTATING = frozenset({"mount_blob", "put_blob", "put_manifest"})
"""Operations that change a registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operation on a registry."""

    operation: str
    repository: str
    reference: str = ""
    """The tag or digest it was about."""

    @property
    def mutating(self) -> bool:
        """Whether the operation may change the registry."""
        return self.operation in MUTATING


class RecordingRegistry:
    """A RegistryWriter that passes everything on to another one, and keeps a list of it."""

    def __init__(self, registry: RegistryWriter) -> None:
        self._registry = registry
        self._calls: list[Call] = []

    @property
    def name(self) -> str:
        """The name of the registry behind it."""
        return self._registry.name

    @property
    def calls(self) -> tuple[Call, ...]:
        """Everything so far, in the order in which it was asked."""
        return tuple(self._calls)

    @property
    def mutations(self) -> tuple[Call, ...]:
        """What may have changed the registry so far."""
        return tuple(call for call in self.calls if call.mutating)

    def head(self, repository: str, reference: str) -> Reading[Descriptor]:
        """Ask for a descriptor."""
        self._note("head", repository, reference)
        return self._registry.head(repository, reference)

    def manifest(self, repository: str, reference: str) -> Reading[RawManifest]:
        """Get a manifest."""
        self._note("manifest", repository, reference)
        return self._registry.manifest(repository, reference)

    def tags(self, repository: str) -> Reading[tuple[str, ...]]:
        """List tags."""
        self._note("tags", repository)
        return self._registry.tags(repository)

    def repositories(self) -> Reading[tuple[str, ...]]:
        """List repositories."""
        self._note("repositories", "")
        return self._registry.repositories()

    def blob(
        self, repository: str, descriptor: Descriptor
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Stream a blob."""
        self._note("blob", repository, descriptor.digest)
        return self._registry.blob(repository, descriptor)

    def blob_part(self, repository: str, descriptor: Descriptor, start: int, length: int) -> bytes:
        """Get a part of a blob."""
        self._note("blob_part", repository, descriptor.digest)
        return self._registry.blob_part(repository, descriptor, start, length)

    def has_blob(self, repository: str, digest: str) -> bool:
        """Ask for a blob."""
        self._note("has_blob", repository, digest)
        return self._registry.has_blob(repository, digest)

    def mount_blob(self, repository: str, digest: str, source: str) -> bool:
        """Mount a blob."""
        self._note("mount_blob", repository, digest)
        return self._registry.mount_blob(repository, digest, source)

    def put_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        content: Content,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """Upload a blob."""
        self._note("put_blob", repository, descriptor.digest)
        self._registry.put_blob(repository, descriptor, content, sent)

    def put_manifest(self, repository: str, reference: str, manifest: RawManifest) -> bool:
        """Put a manifest."""
        self._note("put_manifest", repository, reference)
        return self._registry.put_manifest(repository, reference, manifest)

    def _note(self, operation: str, repository: str, reference: str = "") -> None:
        self._calls.append(Call(operation=operation, repository=repository, reference=reference))

"""The container registry: a reader, which is all that planning gets, and a writer.

A *repository* here is the whole path below the registry's host, such as ``team/envs/train``.
Two implementations pass one contract suite: an OCI layout on disk and any OCI registry over HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from envsync.errors import Unavailable
from envsync.model.reading import Reading
from envsync.oci.descriptor import Descriptor, RawManifest


class ContentMissing(Unavailable):
    """A manifest was refused because content it names is not in its repository: upload it again."""


class RegistryReader(Protocol):
    """Reads of one registry. Three-valued reads never raise for what the remote answered."""

    @property
    def name(self) -> str:
        """``host[:port]``, or the path of a layout: for messages and comparison of registries."""

    def head(self, repository: str, reference: str) -> Reading[Descriptor]:
        """Ask for the descriptor that a tag or digest names (one HEAD request)."""

    def manifest(self, repository: str, reference: str) -> Reading[RawManifest]:
        """Get the manifest or index that a tag or digest names, its digest verified."""

    def tags(self, repository: str) -> Reading[tuple[str, ...]]:
        """List all tags of a repository, sorted; an absent repository is absent."""

    def repositories(self) -> Reading[tuple[str, ...]]:
        """List all repositories, sorted; absent where the registry does not tell."""

    def blob(
        self, repository: str, descriptor: Descriptor
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Stream a blob in chunks; the digest is verified at its end.

        Raises Unavailable or NotAllowed; a digest that differs is Unavailable too.
        """

    def blob_part(self, repository: str, descriptor: Descriptor, start: int, length: int) -> bytes:
        """Return *length* bytes of a blob from *start*; whoever asks knows what they should be.

        Raises Unavailable or NotAllowed, also when the blob is shorter.
        """


class RegistryWriter(RegistryReader, Protocol):
    """Writes to one registry; each may be repeated, and raises an EnvsyncError or is done."""

    def has_blob(self, repository: str, digest: str) -> bool:
        """Tell whether the repository has the blob."""

    def mount_blob(self, repository: str, digest: str, source: str) -> bool:
        """Take a blob over from repository *source*; False when it must be uploaded."""

    def put_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        content: Callable[[], AbstractContextManager[BinaryIO | Iterator[bytes]]],
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """Upload a blob; *content* is called again for each try, *sent* with every chunk's size."""

    def put_manifest(self, repository: str, reference: str, manifest: RawManifest) -> bool:
        """Put a manifest or index under a tag or its own digest.

        True when the registry says that it lists the manifest among what refers to its subject.

        Raises ContentMissing when what it names is not there, and Conflict when the registry does
        not let the tag move.
        """

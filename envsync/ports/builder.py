"""Building: from a definition's packages to layers, and where those layers' bytes are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from envsync.model.definition import Definition
from envsync.model.lock import LockedPackage
from envsync.oci.descriptor import Descriptor, RawManifest
from envsync.oci.layer import Layer, WrittenLayer
from envsync.oci.ownership import StagedPackage
from envsync.oci.segment import Python


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Content to publish and how to read it, as often as needed."""

    descriptor: Descriptor
    open: Callable[[], AbstractContextManager[BinaryIO | Iterator[bytes]]]
    registry: str = ""
    """Name of the registry that already holds the blob (base layers); '' for what was built."""
    repository: str = ""
    """Repository in that registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeImage:
    """An image with everything it names: blobs go first, then children, then the top."""

    top: RawManifest
    """What tags will name: the index when there are several platforms, else the manifest."""
    children: tuple[RawManifest, ...]
    """The manifests an index lists; empty for a single platform."""
    blobs: tuple[Blob, ...]
    """Layers and configs of all platforms, each digest once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage(WholeImage):
    """A finished image, ready to publish, and what it was made from."""

    definition: Definition


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """A base image on one platform: its config and layers, the bytes left where they are."""

    config: bytes
    layers: tuple[Blob, ...]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """The packages of one platform, linked for `envsync.oci.entry.PREFIX`, each for itself."""

    packages: tuple[StagedPackage, ...]
    """Conda packages, dependencies before what depends on them, then wheels by name."""
    python: Python | None


class PackageStore(Protocol):
    """Packages of the channels and of the pip index, fetched once and verified."""

    def keep(self, wheel: bytes) -> None:
        """Take in a wheel of the repository, which no URL leads to, for `stage` to find."""

    def stage(self, packages: Sequence[LockedPackage], platform: str, staging: Path) -> Staged:
        """Link *packages* (conda and pip), each into a folder of its own below *staging*.

        Files get the image's prefix; no link script runs. The entries can be read as long as
        *staging* stands. Raises Unavailable when a package cannot be fetched, InvalidInput when its
        bytes are not what the lock says or it holds what no image may hold.
        """


class Workspace(Protocol):
    """The folder of one build: what is staged, and the blobs that were made of it."""

    def staging(self, name: str) -> Path:
        """Return a new empty folder."""

    def write(
        self, layers: Sequence[Layer], written: Callable[[int], None]
    ) -> tuple[tuple[WrittenLayer, Blob], ...]:
        """Compress *layers* on all cores and return them in the same order.

        *written* hears the compressed bytes of each part, from any thread. Raises Unavailable when
        the disk is full.
        """

    def pack(
        self, archive: Iterator[bytes], written: Callable[[int], None]
    ) -> tuple[Descriptor, str, Blob]:
        """Compress the tar of a layer that somebody else made, as it is, on all cores.

        Returns its descriptor, its diff id and its bytes. Raises Unavailable when the disk is full.
        """

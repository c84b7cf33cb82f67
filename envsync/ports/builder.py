"""Building: from a definition's packages to layers, and where those layers' bytes are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    # Types only: most runs build nothing.
    from envsync.model.definition import Definition, PackageIdentity
    from envsync.model.lock import LockedPackage
    from envsync.oci.codec import Codec
    from envsync.oci.descriptor import Descriptor, RawManifest
    from envsync.oci.inventory import Inventory, Python
    from envsync.oci.layer import Packed, WrittenLayer
    from envsync.oci.segment import Contents


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


class PackageStore(Protocol):
    """Packages of the channels and of the pip index, fetched once and verified."""

    def keep(self, wheel: bytes) -> None:
        """Take in a wheel of the repository, which no URL leads to."""

    def is_here(self, package: LockedPackage) -> bool:
        """Tell whether `fetch` has nothing to do for a package."""

    def fetch(self, packages: Sequence[LockedPackage]) -> None:
        """Fetch the archives of *packages* (conda and pip) that are not on this machine.

        Raises Unavailable when one cannot be fetched, InvalidInput when its bytes are not what the
        lock says.
        """

    def inventory(self, package: LockedPackage, python: Python | None) -> Inventory | None:
        """Return what a fetched package places; None when only its contents can tell.

        Raises InvalidInput when the package is not what the lock says.
        """

    def open(
        self,
        package: LockedPackage,
        python: Python | None,
        platform: str,
        excluded: frozenset[str],
        scratch: Path,
    ) -> AbstractContextManager[tuple[int, Contents]]:
        """Give the size in bytes of a fetched package's archive, and its entries.

        Files get the image's prefix, those of python packages go where *python* wants them; no link
        script runs. Entries at *excluded* (relative to the prefix) are left out. What does not fit
        into memory goes into the folder *scratch*. Raises InvalidInput when the package holds what
        no image may hold.
        """

    def check(self, inventories: Sequence[Inventory]) -> None:
        """Raise PolicyRefused when packages bring scripts that nobody allowed to be left out."""

    def order(self, inventories: Sequence[Inventory]) -> Sequence[Inventory]:
        """Return conda packages in the order of linking, dependencies before what needs them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSegment:
    """A segment whose compressed bytes are on this machine."""

    packed: Packed
    sha256: str
    """Of its bytes, 64 hexadecimal digits."""
    open: Callable[[], AbstractContextManager[BinaryIO]]
    """Raises FileNotFoundError when it was removed meanwhile."""


class SegmentWriter(Protocol):
    """Takes the compressed bytes of a segment, those of its head first."""

    def write(self, data: bytes, *, head: bool) -> None:
        """Append bytes."""


class BuildCache(Protocol):
    """What building made before, on this machine; all of it can be made again.

    Safe to use from many threads and processes. What is damaged is as good as not there.
    """

    def inventory(self, package: PackageIdentity, key: str) -> Inventory | None:
        """Return the inventory kept under a segment's key."""

    def keep_inventory(self, key: str, inventory: Inventory) -> None:
        """Keep an inventory."""

    def layer(self, key: str, codec: Codec) -> WrittenLayer | None:
        """Return what is known of the layer with this key."""

    def keep_layer(self, layer: WrittenLayer) -> None:
        """Keep what is known of a layer."""

    def segment(self, key: str) -> StoredSegment | None:
        """Return the segment with this key."""

    def writing(self, key: str) -> AbstractContextManager[SegmentWriter]:
        """Write a segment: it is there when the context ends without an error.

        Raises Unavailable when the disk is full.
        """

    def forget(self, key: str) -> None:
        """Remove a segment that turned out to be damaged."""


class Workspace(Protocol):
    """The folder of one build."""

    def staging(self, name: str) -> Path:
        """Return a new empty folder."""

    def pack(
        self, archive: Iterator[bytes], written: Callable[[int], None]
    ) -> tuple[Descriptor, str, Blob]:
        """Compress the tar of a layer that somebody else made, as it is, on all cores.

        Returns its descriptor, its diff id and its bytes. Raises Unavailable when the disk is full.
        """

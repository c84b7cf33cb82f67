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
class BuiltImage:
    """A finished image, ready to publish: blobs first, then children, then the top."""

    definition: Definition
    top: RawManifest
    """What tags will name: the index when there are several platforms, else the manifest."""
    children: tuple[RawManifest, ...]
    """The manifests an index lists; empty for a single platform."""
    blobs: tuple[Blob, ...]
    """Layers and configs of all platforms, each digest once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """A base image on one platform: its config and layers, the bytes left where they are."""

    config: bytes
    layers: tuple[Blob, ...]
    digest: str


class PackageStore(Protocol):
    """Packages of the channels and of the pip index, fetched once and verified."""

    def link(self, packages: Sequence[LockedPackage], platform: str, staging: Path) -> None:
        """Install *packages* (conda and pip) into the empty folder *staging* for ``/opt/env``.

        Files get the image's prefix; no link script runs. Raises Unavailable when a package cannot
        be fetched, InvalidInput when its bytes are not what the lock says.
        """


class Built(Protocol):
    """A build in progress holds a folder with blobs; leaving the context removes it."""

    def __enter__(self) -> BuiltImage: ...

    def __exit__(self, *exc: object) -> None: ...

"""Base images as locking sees them: digests per platform, and the C library in them."""

from __future__ import annotations

from typing import Protocol

from envsync.model.reference import ImageReference
from envsync.oci.descriptor import RawManifest
from envsync.ports.registry import RegistryReader


class OpenRegistry(Protocol):
    """Opens the registry that an image reference names, for reading."""

    def __call__(self, reference: ImageReference) -> RegistryReader:
        """Return a reader of the reference's registry."""


class FindGlibc(Protocol):
    """Finds the C library of a base image."""

    def __call__(self, registry: RegistryReader, repository: str, manifest: RawManifest) -> str:
        """Return the glibc version in an image, such as 2.36; '' when it has none."""

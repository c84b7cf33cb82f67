"""Base images as locking sees them: digests per platform, and the C library in them."""

from __future__ import annotations

from typing import Protocol

from envsync.model.reference import EnvironmentReference, ImageReference
from envsync.oci.descriptor import RawManifest
from envsync.ports.registry import RegistryReader


class OpenRegistry(Protocol):
    """Opens the registry that an image reference names, for reading."""

    def __call__(self, reference: ImageReference) -> RegistryReader:
        """Return a reader of the reference's registry."""


class FindEnvironment(Protocol):
    """Finds the image of an environment that a spec names instead of an image."""

    def __call__(self, reference: EnvironmentReference) -> ImageReference:
        """Return where the image is: for a recorded version with its digest, else with its tag.

        Raises InvalidInput when there is none, NotAllowed or Unavailable when nobody says.
        """


class FindGlibc(Protocol):
    """Finds the C library of a base image."""

    def __call__(self, registry: RegistryReader, repository: str, manifest: RawManifest) -> str:
        """Return the glibc version in an image, such as 2.36; '' when it has none."""

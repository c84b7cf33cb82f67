"""Archives: images as files, for places that no network reaches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from envsync.oci.descriptor import Descriptor
from envsync.ports.builder import WholeImage
from envsync.ports.registry import RegistryReader


class WriteArchive(Protocol):
    """Writes an image into a new file."""

    def __call__(
        self,
        image: WholeImage,
        tag: str,
        annotations: Mapping[str, str],
        written: Callable[[int], None],
    ) -> None:
        """Write the file whole or not at all; *written* hears the bytes of each blob.

        Raises InvalidInput when something stands at its path.
        """


class Archive(RegistryReader, Protocol):
    """The images of an archive, read as those of a registry with one repository."""

    def images(self) -> Sequence[Descriptor]:
        """Return what the archive's index names, with annotations."""

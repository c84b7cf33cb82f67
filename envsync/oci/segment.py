"""Segments: what one package contributes to a layer, compressed once and reused in any grouping.

A segment is the package's tar entries, without folders and without an end mark, cut at fixed
offsets of its own stream into members that are compressed each for itself: first those of its head,
by which a later build knows the package, then those of the rest. Concatenated members are a legal
stream, so a layer is a concatenation of segments. Nothing else than what `segment_key` hashes
decides the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from envsync.model.canonical import hash_json
from envsync.model.definition import FORMAT, PackageIdentity
from envsync.oci.codec import GZIP, Codec
from envsync.oci.entry import PREFIX, Entry, sort_key
from envsync.oci.gzip import cut
from envsync.oci.inventory import Python
from envsync.oci.tar import entry_stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One package's part of a layer, as far as it is known without its bytes."""

    key: str
    package: PackageIdentity | None
    """None for what belongs to the environment itself."""
    archive_size: int
    """Bytes of the package's archive; 0 for the environment's own segment."""
    paths: tuple[str, ...]
    """Of its entries."""
    folders: tuple[str, ...] = ()
    """Folders that must be there though no entry is below them."""
    excluded: tuple[str, ...] = ()
    """Paths, relative to the prefix, that another package provides."""

    @property
    def name(self) -> str:
        """The package's name, unique in an image: a wheel may share its name with a package."""
        if self.package is None:
            return ""
        return self.package.name if self.package.manager == "conda" else f"pip/{self.package.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The entries of a segment, which can be read now."""

    head: tuple[Entry, ...]
    body: tuple[Entry, ...]
    """Sorted by path."""

    def pieces(self) -> Iterator[tuple[bool, bytes]]:
        """Yield (is it of the head, piece): the uncompressed stream in what become members."""
        for piece in cut(entry_stream(self.head)):
            yield True, piece
        for piece in cut(entry_stream(self.body)):
            yield False, piece


def segment_key(
    package: PackageIdentity,
    python: Python | None,
    excluded: Sequence[str] = (),
    codec: Codec = GZIP,
) -> str:
    """Return the key of a package's segment, 64 hexadecimal digits.

    Only packages whose files depend on the interpreter, noarch packages and wheels, have it in
    their key.
    """
    sorted_paths = sorted(excluded, key=sort_key)
    anywhere = package.manager == "conda" and package.subdir != "noarch"
    return hash_json(
        {
            "format": FORMAT,
            **codec.mark,
            "prefix": PREFIX,
            "manager": package.manager,
            "sha256": package.sha256,
            "python": None
            if anywhere or python is None
            else {"version": python.version, "site_packages": python.site_packages},
            "excluded": [*sorted_paths],
        }
    )

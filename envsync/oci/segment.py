"""Segments: what one package contributes to a layer, compressed once and reused in any grouping.

A segment is the package's tar entries, without folders and without an end mark, cut at fixed
offsets of its own stream into gzip members. Concatenated members are a legal gzip stream, so a
layer is a concatenation of segments. Nothing else than what `segment_key` hashes decides the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from envsync.model.canonical import hash_json
from envsync.model.definition import FORMAT, PackageIdentity
from envsync.oci.entry import PREFIX, Entry, sort_key
from envsync.oci.gzip import cut
from envsync.oci.tar import entry_stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """The interpreter of an environment, as far as it decides where its packages' files go."""

    version: str
    """Major and minor, such as 3.11."""
    site_packages: str
    """Relative to the prefix, such as lib/python3.11/site-packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One package's part of a layer: entries sorted by path, and what they were made from."""

    key: str
    package: PackageIdentity | None
    """None for what belongs to the environment itself."""
    archive_size: int
    """Bytes of the package's archive; 0 for the environment's own segment."""
    entries: tuple[Entry, ...]
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

    def pieces(self) -> Iterator[bytes]:
        """Yield the uncompressed stream in the pieces that become gzip members."""
        return cut(entry_stream(self.entries))


def segment_key(
    package: PackageIdentity, python: Python | None, excluded: Sequence[str] = ()
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
            "prefix": PREFIX,
            "manager": package.manager,
            "sha256": package.sha256,
            "python": None
            if anywhere or python is None
            else {"version": python.version, "site_packages": python.site_packages},
            "excluded": [*sorted_paths],
        }
    )

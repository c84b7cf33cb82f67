"""Which package provides a path when several do.

As in conda, the later in topological order wins, and the loser's segment is built without the
path: so the files of an image do not depend on the order of its layers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from envsync.errors import InvalidInput
from envsync.model.definition import PackageIdentity
from envsync.oci.activation import ENTRY_POINT
from envsync.oci.entry import ROOT, Entry, File, SoftLink, parents, with_hard_links
from envsync.oci.segment import Python, Segment, segment_key

HISTORY = f"{ROOT}/conda-meta/history"
RESERVED = frozenset({HISTORY, ENTRY_POINT.removeprefix("/")})
"""Paths that belong to the environment itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedPackage:
    """A package as it would stand in the prefix if it were alone."""

    package: PackageIdentity
    archive_size: int
    entries: tuple[Entry, ...]
    """`File` and `SoftLink` only; names of one file share an inode number."""
    folders: tuple[str, ...] = ()

    def __str__(self) -> str:
        kind = "wheel " if self.package.manager == "pip" else ""
        return f"{kind}{self.package.name} {self.package.version}"


def resolve(packages: Sequence[StagedPackage], python: Python | None) -> tuple[Segment, ...]:
    """Return one segment per package, each path in exactly one of them.

    *packages* are conda packages, dependencies before what depends on them, then wheels. Raises
    InvalidInput, with every conflict, for a file where another package has a folder, for a wheel
    that overwrites a package or another wheel's different file, and for reserved paths.
    """
    owners: dict[str, tuple[StagedPackage, Entry]] = {}
    lost: dict[int, set[str]] = {}
    position = {id(package): number for number, package in enumerate(packages)}
    faults: list[str] = []
    for package in packages:
        for entry in package.entries:
            if entry.path in RESERVED:
                faults.append(f"{package} has /{entry.path}, which is the environment's own.")
            elif (before := owners.get(entry.path)) is None:
                owners[entry.path] = (package, entry)
            elif package.package.manager == "conda":
                owners[entry.path] = (package, entry)
                lost.setdefault(position[id(before[0])], set()).add(entry.path)
            elif before[0].package.manager == "pip" and _same(before[1], entry):
                lost.setdefault(position[id(package)], set()).add(entry.path)
            else:
                faults.append(f"{package} overwrites /{entry.path} of {before[0]}.")
    faults += _folders_against_files(packages, owners)
    if faults:
        raise InvalidInput(
            "packages contradict each other",
            detail="\n".join(dict.fromkeys(faults)),
            hint="Leave one of them out, or take a version that does not have the path.",
        )
    return tuple(
        _segment(package, python, lost.get(number, set()))
        for number, package in enumerate(packages)
    )


def _segment(package: StagedPackage, python: Python | None, lost: set[str]) -> Segment:
    excluded = tuple(sorted((path.removeprefix(f"{ROOT}/") for path in lost), key=str.encode))
    return Segment(
        key=segment_key(package.package, python, excluded),
        package=package.package,
        archive_size=package.archive_size,
        entries=with_hard_links(entry for entry in package.entries if entry.path not in lost),
        folders=package.folders,
        excluded=excluded,
    )


def _folders_against_files(
    packages: Sequence[StagedPackage], owners: dict[str, tuple[StagedPackage, Entry]]
) -> list[str]:
    faults = []
    for package in packages:
        paths = [entry.path for entry in package.entries]
        for folder in (*parents(paths), *package.folders):
            if (owner := owners.get(folder)) is not None:
                faults.append(f"/{folder} is a folder in {package} and a file in {owner[0]}.")
    return faults


def _same(one: Entry, other: Entry) -> bool:
    if isinstance(one, File) and isinstance(other, File):
        alike = (one.size, one.executable) == (other.size, other.executable)
        return alike and _hash(one) == _hash(other)
    return isinstance(one, SoftLink) and one == other


def _hash(entry: File) -> bytes:
    digest = hashlib.sha256()
    for chunk in entry.content():
        digest.update(chunk)
    return digest.digest()

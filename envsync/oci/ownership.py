"""Which package provides a path when several do.

As in conda, the later in topological order wins, and the loser's segment is built without the
path: so the files of an image do not depend on the order of its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from envsync.errors import InvalidInput
from envsync.oci.activation import ENTRY_POINT
from envsync.oci.codec import GZIP, Codec
from envsync.oci.entry import ROOT, parents
from envsync.oci.inventory import Inventory, Python
from envsync.oci.segment import Segment, segment_key

HISTORY = f"{ROOT}/conda-meta/history"
RESERVED = frozenset({HISTORY, ENTRY_POINT.removeprefix("/")})
"""Paths that belong to the environment itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """A package's segment, and what of the package is in it."""

    inventory: Inventory
    segment: Segment

    @property
    def name(self) -> str:
        """The package's name, unique in an image."""
        return self.segment.name

    @property
    def archive_size(self) -> int:
        """Bytes of the package's archive."""
        return self.segment.archive_size

    @property
    def variables(self) -> dict[str, str]:
        """Path to text of the files that set variables and are the package's in the image."""
        here = set(self.segment.paths)
        return {path: text for path, text in self.inventory.variables.items() if path in here}


def resolve(
    packages: Sequence[Inventory], python: Python | None, codec: Codec = GZIP
) -> tuple[Owned, ...]:
    """Return one segment per package, each path in exactly one of them.

    *packages* are conda packages, dependencies before what depends on them, then wheels. Raises
    InvalidInput, with every conflict, for a file where another package has a folder, for a wheel
    that overwrites a package or another wheel's different file, and for reserved paths.
    """
    owners: dict[str, int] = {}
    lost: dict[int, set[str]] = {}
    faults: list[str] = []
    for number, package in enumerate(packages):
        for path in package.paths:
            before = owners.setdefault(path, number)
            if before == number:
                continue
            if package.package.manager == "conda":
                owners[path] = number
                lost.setdefault(before, set()).add(path)
            elif _same(packages[before], package, path):
                lost.setdefault(number, set()).add(path)
            else:
                faults.append(f"{package} overwrites /{path} of {packages[before]}.")
    faults += [
        f"{packages[owners[path]]} has /{path}, which is the environment's own."
        for path in sorted(RESERVED.intersection(owners))
    ]
    faults += _folders_against_files(packages, owners)
    if faults:
        raise InvalidInput(
            "packages contradict each other",
            detail="\n".join(dict.fromkeys(faults)),
            hint="Leave one of them out, or take a version that does not have the path.",
        )
    return tuple(
        _owned(package, python, lost.get(number, set()), codec)
        for number, package in enumerate(packages)
    )


def _owned(package: Inventory, python: Python | None, lost: set[str], codec: Codec) -> Owned:
    excluded = tuple(sorted((path.removeprefix(f"{ROOT}/") for path in lost), key=str.encode))
    paths = tuple(path for path in package.paths if path not in lost) if lost else package.paths
    segment = Segment(
        key=segment_key(package.package, python, excluded, codec),
        package=package.package,
        archive_size=package.archive_size,
        paths=paths,
        folders=package.folders,
        excluded=excluded,
    )
    return Owned(inventory=package, segment=segment)


def _folders_against_files(packages: Sequence[Inventory], owners: dict[str, int]) -> list[str]:
    faults = []
    for package in packages:
        for folder in (*parents(package.paths), *package.folders):
            if (owner := owners.get(folder)) is not None:
                where = packages[owner]
                faults.append(f"/{folder} is a folder in {package} and a file in {where}.")
    return faults


def _same(one: Inventory, other: Inventory, path: str) -> bool:
    """Tell whether two wheels bring the same file, so that it does not matter whose it is."""
    found = one.hashes.get(path)
    return found is not None and found == other.hashes.get(path)


Order = Callable[[Sequence[Inventory]], Sequence[Inventory]]
"""Puts conda packages in the order in which they would be linked."""

"""What a conda package says of itself, judged before any of its files is linked."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rattler.package_streaming import PackageArchive

from envsync.errors import InvalidInput
from envsync.model.lock import LockedPackage
from envsync.oci.entry import CONSTANT_TIME, MAX_TIME, parents, path_fault
from envsync.oci.segment import Python

_INDEX, _PATHS, _FILES, _LINK = "info/index.json", "info/paths.json", "info/files", "info/link.json"
# What is written there is the environment's own account of what is installed.
_RECORD = re.compile(r"conda-meta/(?:history|[^/]*\.json)")
_ENTRY_POINT = re.compile(r"\s*(?P<name>[\w.+-]+)\s*=\s*[\w.]+\s*:\s*[\w.]+\s*")
_MILLISECONDS = 253402300799  # the last second of the year 9999: what is larger is in milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageInfo:
    """A package's ``info/index.json``, the size of its archive in bytes, and what it places."""

    package: LockedPackage
    archive: Path
    size: int
    index: Mapping[str, Any]
    paths: tuple[str, ...]
    """Of files and links in the archive."""
    programs: tuple[str, ...] = ()
    """Names of the entry points that are made when the package is linked."""

    @property
    def link_scripts(self) -> tuple[str, ...]:
        """Paths of scripts that conda would run when it links the package."""
        scripts = {f"bin/.{self.package.name}-{when}-link.sh" for when in ("pre", "post")}
        return tuple(sorted(scripts.intersection(self.paths)))

    @property
    def depends(self) -> list[str]:
        """Dependencies as the package itself states them, which no repodata patch changes."""
        return [str(text) for text in self.index.get("depends") or ()]

    @property
    def time(self) -> int:
        """When the package was made, in seconds since 1970 UTC."""
        stamp = self.index.get("timestamp")
        if not isinstance(stamp, int) or stamp <= 0:
            return CONSTANT_TIME
        return min(stamp // 1000 if stamp > _MILLISECONDS else stamp, MAX_TIME)

    @property
    def python(self) -> Python:
        """The interpreter, if this is the package ``python``."""
        minor = ".".join(self.package.version.split(".")[:2])
        default = f"lib/python{minor}/site-packages"
        site_packages = str(self.index.get("python_site_packages_path") or default)
        return Python(version=minor, site_packages=site_packages.rstrip("/"))

    def placed(self, python: Python | None) -> dict[str, str]:
        """Return path in the archive to path in the prefix; python packages are moved there.

        Source: https://docs.conda.io/projects/conda/en/stable/user-guide/concepts/packages.html
        """
        if self.index.get("noarch") != "python" or python is None:
            return {path: path for path in self.paths}
        moved = {"site-packages": python.site_packages, "python-scripts": "bin"}
        found = {}
        for path in self.paths:
            top, slash, rest = path.partition("/")
            found[path] = f"{moved[top]}/{rest}" if slash and top in moved else path
        return found


async def read_package_info(package: LockedPackage, archive: Path) -> PackageInfo:
    """Read a verified archive's own description.

    Raises InvalidInput when the archive is not one, is not the package that the lock names, or
    would put a file outside of the prefix.
    """
    size = (await asyncio.to_thread(archive.stat)).st_size
    try:
        opened = await PackageArchive.from_path(archive)
        files = await opened.read_files([_INDEX, _PATHS, _FILES, _LINK])
        index = _json(files[_INDEX])
        paths = _paths(files)
        links = _json(files[_LINK]).get("noarch") or {}
        points = [str(point) for point in links.get("entry_points") or ()]
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise _bad(package, [f"its archive cannot be read: {error}"]) from error
    faults = [
        *_identity_faults(package, index),
        *_type_faults(index),
        *_path_faults(paths),
        *_point_faults(points),
    ]
    if site := index.get("python_site_packages_path"):
        fault = path_fault(str(site).rstrip("/"))
        faults += [f"its site-packages {site!r} {fault}"] if fault else []
    if faults:
        raise _bad(package, faults)
    return PackageInfo(
        package=package,
        archive=archive,
        size=size,
        index=index,
        paths=tuple(paths),
        programs=tuple(point.partition("=")[0].strip() for point in points),
    )


def check_placed(info: PackageInfo, python: Python | None) -> None:
    """Refuse a package in which one path is another's folder.

    Were the one a link, files would be linked through it to wherever it leads.
    """
    paths = list(info.placed(python).values())
    folders = set(parents([*paths, *(f"bin/{name}" for name in info.programs)]))
    if clash := sorted(folders.intersection(paths)):
        raise _bad(info.package, [f"{path!r} is a file and a folder" for path in clash])


def _json(raw: bytes | None) -> dict[str, Any]:
    document = json.loads(raw) if raw else {}
    if not isinstance(document, dict):
        raise TypeError("a JSON object was expected")
    return document


def _paths(files: Mapping[str, bytes | None]) -> list[str]:
    if files[_PATHS]:
        return [
            str(entry["_path"])
            for entry in _json(files[_PATHS])["paths"]
            if entry.get("path_type") != "directory" or path_fault(str(entry["_path"]))
        ]
    # Packages before conda-build 3 list their files one per line.
    return (files[_FILES] or b"").decode().split("\n")[:-1] if files[_FILES] else []


def _identity_faults(package: LockedPackage, index: Mapping[str, Any]) -> list[str]:
    found = tuple(str(index.get(key, "")) for key in ("name", "version", "build"))
    if found == (package.name, package.version, package.build):
        return []
    wanted = f"{package.name} {package.version} {package.build}"
    return [f"the lock says {wanted}, and it calls itself {' '.join(found)}"]


def _type_faults(index: Mapping[str, Any]) -> list[str]:
    expected: dict[str, tuple[type, ...]] = {
        "build_number": (int,),
        "depends": (list,),
        "noarch": (str, bool),
        "python_site_packages_path": (str,),
        "timestamp": (int, float),
    }
    return [
        f"{key} of its index.json is {index[key]!r}"
        for key, types in expected.items()
        if index.get(key) is not None and not isinstance(index[key], types)
    ]


def _path_faults(paths: Sequence[str]) -> list[str]:
    faults = [f"{path!r} {fault}" for path in paths if (fault := path_fault(path))]
    faults += [f"{path!r} is not a package's to bring" for path in paths if _RECORD.fullmatch(path)]
    counted = Counter(paths)
    faults += [f"{path!r} is listed twice" for path, count in counted.items() if count > 1]
    return faults


def _point_faults(points: Sequence[str]) -> list[str]:
    return [
        f"{point!r} is not an entry point"
        for point in points
        if not (match := _ENTRY_POINT.fullmatch(point)) or path_fault(f"bin/{match['name']}")
    ]


def _bad(package: LockedPackage, faults: Sequence[str]) -> InvalidInput:
    shown = [*faults[:20], *([f"and {len(faults) - 20} more"] if len(faults) > 20 else [])]
    return InvalidInput(
        f"the package {package.name} {package.version} cannot be used", detail="\n".join(shown)
    )

"""Inventories: what a package places into the prefix, known without its files.

With the inventories of all packages an image can be planned: who provides which path, which layers
there are and what they are made of. An inventory follows from a package's *head*, the first entries
of its segment: the record of a conda package, the RECORD of a wheel, and files of ``env_vars.d``.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envsync.model.definition import PackageIdentity
from envsync.model.json_text import read_json
from envsync.oci.activation import VARIABLES
from envsync.oci.entry import ROOT, path_fault, sort_key
from envsync.oci.installed import record_path

_WHEEL_RECORD = re.compile(r".+\.dist-info/RECORD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """The interpreter of an environment, as far as it decides where its packages' files go."""

    version: str
    """Major and minor, such as 3.11."""
    site_packages: str
    """Relative to the prefix, such as lib/python3.11/site-packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What one package places; all paths are those of entries (``opt/env/…``)."""

    package: PackageIdentity
    archive_size: int
    """Bytes of the package's archive."""
    paths: tuple[str, ...]
    """Files and links, sorted by their bytes."""
    folders: tuple[str, ...] = ()
    """Folders that must be there though nothing may be below them."""
    depends: tuple[str, ...] = ()
    """Dependencies as the package itself states them, which no repodata patch changes."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Path to text of the files that set variables."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """For wheels: path to sha256 of the file, in the base64 of RECORD, where that tells it."""
    python: Python | None = None
    """For the package ``python``: where it wants its packages."""

    def __str__(self) -> str:
        kind = "wheel " if self.package.manager == "pip" else ""
        return f"{kind}{self.package.name} {self.package.version}"

    @property
    def link_scripts(self) -> tuple[str, ...]:
        """Paths of scripts that conda would run when it links the package."""
        if self.package.manager != "conda":
            return ()
        scripts = {f"{ROOT}/bin/.{self.package.name}-{when}-link.sh" for when in ("pre", "post")}
        found = sorted(scripts.intersection(self.paths))
        return tuple(path.removeprefix(f"{ROOT}/") for path in found)

    def document(self) -> dict[str, Any]:
        """Return the inventory, without its package, as the values of a JSON document."""
        python = self.python
        return {
            "archive_size": self.archive_size,
            "paths": list(self.paths),
            "folders": list(self.folders),
            "depends": list(self.depends),
            "variables": dict(self.variables),
            "hashes": dict(self.hashes),
            "python": [python.version, python.site_packages] if python else None,
        }

    @classmethod
    def parse(cls, package: PackageIdentity, document: Mapping[str, Any]) -> Inventory:
        """Read what `document` gave; KeyError, TypeError or ValueError when it is not that."""
        python = document["python"]
        return cls(
            package=package,
            archive_size=int(document["archive_size"]),
            paths=tuple(document["paths"]),
            folders=tuple(document["folders"]),
            depends=tuple(document["depends"]),
            variables=dict(document["variables"]),
            hashes=dict(document["hashes"]),
            python=Python(version=python[0], site_packages=python[1]) if python else None,
        )


def python_of(package: PackageIdentity, index: Mapping[str, Any]) -> Python | None:
    """Return the interpreter that a package is, by its ``index.json``; None when it is none."""
    if package.manager != "conda" or package.name != "python":
        return None
    minor = ".".join(package.version.split(".")[:2])
    default = f"lib/python{minor}/site-packages"
    site_packages = str(index.get("python_site_packages_path") or default)
    return Python(version=minor, site_packages=site_packages.rstrip("/"))


def is_variables(path: str) -> bool:
    """Tell whether the file at *path* sets variables when an environment is activated."""
    return path.startswith(VARIABLES) and path.endswith(".json")


def is_head(package: PackageIdentity, path: str) -> bool:
    """Tell whether the entry at *path* stands at the head of the package's segment."""
    if is_variables(path):
        return True
    if package.manager == "conda":
        return path == f"{ROOT}/{record_path(package)}"
    return _WHEEL_RECORD.fullmatch(path) is not None


def inventory_of_head(
    package: PackageIdentity, archive_size: int, files: Mapping[str, bytes], python: Python | None
) -> Inventory | None:
    """Return the inventory that a segment's head tells; *files* are the head's, by path.

    None when the head does not tell all: a file that sets variables was not shipped with it.
    Raises ValueError, KeyError or TypeError when the head is not one.
    """
    variables = {path: text.decode() for path, text in files.items() if is_variables(path)}
    if package.manager == "conda":
        found = _of_record(package, archive_size, files, variables)
    elif python is None:
        raise ValueError("a wheel without an interpreter")
    else:
        found = _of_wheel(package, archive_size, files, variables, python)
    for path in (*found.paths, *found.folders):
        if fault := path_fault(path.removeprefix(f"{ROOT}/")):
            raise ValueError(f"{path!r} {fault}")
        if not path.startswith(f"{ROOT}/"):
            raise ValueError(f"{path!r} is outside of the environment")
    wanted = {path for path in found.paths if is_variables(path)}
    return found if wanted == variables.keys() else None


def _of_record(
    package: PackageIdentity,
    archive_size: int,
    files: Mapping[str, bytes],
    variables: Mapping[str, str],
) -> Inventory:
    own = f"{ROOT}/{record_path(package)}"
    record = read_json(files[own])
    entries = record["paths_data"]["paths"]
    placed = [e["_path"] for e in entries if e.get("path_type") != "directory"]
    folders = [e["_path"] for e in entries if e.get("path_type") == "directory"]
    return Inventory(
        package=package,
        archive_size=archive_size,
        paths=tuple(sorted([*(f"{ROOT}/{path}" for path in placed), own], key=sort_key)),
        folders=tuple(f"{ROOT}/{path}" for path in folders),
        depends=tuple(map(str, record.get("depends") or ())),
        variables=variables,
        python=python_of(package, record),
    )


def _of_wheel(
    package: PackageIdentity,
    archive_size: int,
    files: Mapping[str, bytes],
    variables: Mapping[str, str],
    python: Python,
) -> Inventory:
    (name,) = (path for path in files if _WHEEL_RECORD.fullmatch(path))
    hashes: dict[str, str] = {}
    for row in csv.reader(io.StringIO(files[name].decode())):
        path = posixpath.normpath(f"{ROOT}/{python.site_packages}/{row[0]}")
        algorithm, _, text = row[1].partition("=")
        hashes[path] = text if algorithm == "sha256" else ""
    return Inventory(
        package=package,
        archive_size=archive_size,
        paths=tuple(sorted(hashes, key=sort_key)),
        variables=variables,
        hashes={path: text for path, text in hashes.items() if text},
    )

"""A conda package as a value, and the two archive formats it is written in."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import zstandard

# The length conda-build uses: https://docs.conda.io/projects/conda-build/en/stable/resources/
# make-relocatable.html
PLACEHOLDER = "/placeholder".ljust(255, "_")

_LEVEL = 1  # archives are read far more seldom than a fresh machine makes them
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A regular file; `placeholder` says how the prefix stands in it."""

    path: str
    data: bytes
    executable: bool = False
    placeholder: Literal["text", "binary"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftLink:
    """A symbolic link with a relative target."""

    path: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HardLink:
    """A second name of the file `source` of the same package."""

    path: str
    source: str


Entry = File | SoftLink | HardLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """Everything that decides the bytes of one conda package."""

    name: str
    version: str
    build: str
    released: date
    subdir: str = "linux-64"
    noarch: Literal["python", "generic"] | None = None
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    entry_points: tuple[str, ...] = ()
    site_packages: str | None = None
    license: str = "MIT"
    license_text: bytes = b"See the project this package was made from.\n"
    summary: str = ""
    archive: Literal[".conda", ".tar.bz2"] = ".conda"

    @property
    def file_name(self) -> str:
        """The archive's name in its subdir."""
        return f"{self.name}-{self.version}-{self.build}{self.archive}"

    @property
    def seconds(self) -> int:
        """The release date in seconds since the epoch, at noon UTC."""
        day = self.released
        return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())


def build_string(entries: Iterable[Entry], *, prefix: str = "h", suffix: str = "") -> str:
    """Return a build string that changes with the content."""
    digest = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry.path):
        content = hashlib.sha256(entry.data).digest() if isinstance(entry, File) else repr(entry)
        digest.update(f"{entry.path}\0{content!r}\0".encode())
    return f"{prefix}{digest.hexdigest()[:7]}_0{suffix}"


def write_package(package: Package, channel: Path) -> Path:
    """Write the archive below `channel/<subdir>` and return its path."""
    folder = channel / package.subdir
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / package.file_name
    content = sorted(package.entries, key=lambda entry: entry.path)
    info = _info(package, content)
    if package.archive == ".tar.bz2":
        path.write_bytes(bz2.compress(_tar([*info, *content], package.seconds)))
        return path
    stem = path.name.removesuffix(".conda")
    squeeze = zstandard.ZstdCompressor(level=_LEVEL).compress
    members = {
        "metadata.json": b'{"conda_pkg_format_version": 2}',
        f"pkg-{stem}.tar.zst": squeeze(_tar(content, package.seconds)),
        f"info-{stem}.tar.zst": squeeze(_tar(info, package.seconds)),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def _tar(entries: Iterable[Entry], mtime: int) -> bytes:
    """Return a tar whose hard links follow the files they name, as readers expect."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for entry in sorted(entries, key=lambda entry: isinstance(entry, HardLink)):
            header = tarfile.TarInfo(entry.path)
            header.mtime, header.mode = mtime, 0o644
            match entry:
                case File():
                    header.size = len(entry.data)
                    header.mode = 0o755 if entry.executable else 0o644
                    archive.addfile(header, io.BytesIO(entry.data))
                case SoftLink():
                    header.type, header.linkname, header.mode = tarfile.SYMTYPE, entry.target, 0o777
                    archive.addfile(header)
                case HardLink():
                    header.type, header.linkname = tarfile.LNKTYPE, entry.source
                    archive.addfile(header)
    return buffer.getvalue()


def _info(package: Package, content: list[Entry]) -> list[Entry]:
    index: dict[str, Any] = {
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "build_number": 0,
        "depends": list(package.depends),
        "constrains": list(package.constrains),
        "license": package.license,
        "subdir": package.subdir,
        "timestamp": package.seconds * 1000,
    }
    if package.noarch:
        index["noarch"] = package.noarch
    else:
        platform, _, arch = package.subdir.partition("-")
        index |= {"platform": platform, "arch": {"64": "x86_64"}.get(arch, arch)}
    if package.site_packages:
        index["python_site_packages_path"] = package.site_packages
    documents: dict[str, Any] = {
        "about.json": {"summary": package.summary, "license": package.license},
        "index.json": index,
        "paths.json": {"paths": _paths(content), "paths_version": 1},
    }
    if package.noarch == "python":
        scripts = {"entry_points": list(package.entry_points), "type": "python"}
        documents["link.json"] = {"noarch": scripts, "package_metadata_version": 1}
    elif package.noarch:
        generic = {"noarch": {"type": "generic"}, "package_metadata_version": 1}
        documents["link.json"] = generic
    texts = {name: json.dumps(value, indent=2, sort_keys=True) for name, value in documents.items()}
    texts["files"] = "".join(f"{entry.path}\n" for entry in content)
    has_prefix = [
        f'"{PLACEHOLDER}" {entry.placeholder} "{entry.path}"\n'
        for entry in content
        if isinstance(entry, File) and entry.placeholder
    ]
    if has_prefix:
        texts["has_prefix"] = "".join(has_prefix)
    license_file = File(path="info/licenses/LICENSE", data=package.license_text)
    files = [File(path=f"info/{name}", data=text.encode()) for name, text in texts.items()]
    return sorted([license_file, *files], key=lambda entry: entry.path)


def _paths(content: list[Entry]) -> list[dict[str, Any]]:
    files = {entry.path: entry for entry in content if isinstance(entry, File)}
    rows = []
    for entry in content:
        row: dict[str, Any] = {"_path": entry.path, "path_type": "hardlink"}
        file = files.get(_source(entry))
        # As conda-build does it, a link to a folder has the hash of nothing.
        row["sha256"] = hashlib.sha256(file.data).hexdigest() if file else _EMPTY_SHA256
        row["size_in_bytes"] = len(file.data) if file else 0
        if isinstance(entry, SoftLink):
            row["path_type"] = "softlink"
        elif file and file.placeholder:
            row |= {"prefix_placeholder": PLACEHOLDER, "file_mode": file.placeholder}
        rows.append(row)
    return rows


def _source(entry: Entry) -> str:
    match entry:
        case File():
            return entry.path
        case HardLink():
            return entry.source
        case SoftLink():
            parts: list[str] = entry.path.split("/")[:-1]
            for part in entry.target.split("/"):
                parts = parts[:-1] if part == ".." else [*parts, part]
            return "/".join(parts)

"""From a package that was linked into a folder of its own to the entries of its segment.

What rattler leaves there is not what belongs into an image: its records have cache paths and mode
0600, what it generates has the current time and umask. So only contents are taken from the folder,
and link targets; modes and times follow from the package.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from envsync.adapters.package_info import PackageInfo
from envsync.errors import InvalidInput
from envsync.model.definition import PackageIdentity
from envsync.oci.entry import (
    MAX_TIME,
    ROOT,
    Entry,
    File,
    SoftLink,
    file_of,
    link_fault,
    parents,
    path_fault,
)
from envsync.oci.installed import record_document, record_path
from envsync.oci.ownership import StagedPackage
from envsync.oci.segment import Python

_CHUNK = 1 << 20
_EXECUTABLE = stat.S_IXUSR
_SET_ID = stat.S_ISUID | stat.S_ISGID


def staged_package(info: PackageInfo, folder: Path, python: Python | None) -> StagedPackage:
    """Return the entries of a package that rattler linked into *folder*.

    Raises InvalidInput for what no image may hold: set-id files, devices, links that leave the
    environment.
    """
    identity = PackageIdentity.of(info.package)
    (written,) = (folder / "conda-meta").glob("*.json")
    record = json.loads(written.read_bytes())
    paths: list[dict[str, Any]] = record["paths_data"]["paths"]
    unpacked = Path(record["extracted_package_dir"])
    _refuse_detours(info, unpacked, folder, python)
    hard_links = _hard_links(info, unpacked, paths)
    entries: list[Entry] = []
    folders: list[str] = []
    faults: list[str] = []
    for path in paths:
        name = str(path["_path"])
        if fault := path_fault(name):
            faults.append(f"/{name} {fault}")
        elif path.get("path_type") == "directory":
            folders.append(f"{ROOT}/{name}")
        else:
            entry = _entry(info, folder, path, hard_links.get(name, 0))
            entries.append(entry) if not isinstance(entry, str) else faults.append(entry)
    if faults:
        raise InvalidInput(
            f"the package {info.package.name} {info.package.version} cannot be in an image",
            detail="\n".join(faults),
        )
    document = record_document(
        identity,
        index=info.index,
        paths=paths,
        file_name=info.package.file_name,
        size=info.size,
    )
    entries.append(file_of(f"{ROOT}/{record_path(identity)}", document, mtime=info.time))
    return StagedPackage(
        package=identity,
        archive_size=info.size,
        entries=tuple(entries),
        folders=tuple(folders),
    )


def _entry(info: PackageInfo, folder: Path, path: Mapping[str, Any], inode: int) -> Entry | str:
    name = str(path["_path"])
    where = folder / name
    status = where.lstat()
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(where)  # noqa: PTH115  Path would tidy the text
        fault = link_fault(name, target)
        # Links have no time of their own in a package that was unpacked.
        return (
            f"/{name} {fault}"
            if fault
            else SoftLink(path=f"{ROOT}/{name}", target=target, mtime=info.time)
        )
    if not stat.S_ISREG(status.st_mode):
        return f"/{name} is neither a file nor a link"
    if status.st_mode & _SET_ID:
        return f"/{name} would run with the rights of its owner (set-id)"
    patched = path.get("file_mode") is not None
    generated = path.get("path_type") not in {None, "hardlink"}
    return File(
        path=f"{ROOT}/{name}",
        size=status.st_size,
        executable=bool(status.st_mode & _EXECUTABLE),
        mtime=info.time if patched or generated else _seconds(status),
        content=lambda: _read(info, where, path, patched),
        inode=inode,
    )


def _seconds(status: os.stat_result) -> int:
    return min(max(status.st_mtime_ns // 10**9, 0), MAX_TIME)


def _read(
    info: PackageInfo, where: Path, path: Mapping[str, Any], patched: bool
) -> Iterator[bytes]:
    """Yield a file's content, which is checked against what the package says of it on the way."""
    digest = hashlib.sha256()
    placeholder = str(path.get("prefix_placeholder") or "").encode() if patched else b""
    tail = b""
    with where.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if placeholder:
                window = tail + chunk
                if placeholder in window:
                    raise _left(info, path)
                tail = window[1 - len(placeholder) :]
            yield chunk
    wanted = path.get("sha256_in_prefix") or path.get("sha256")
    if wanted and digest.hexdigest() != wanted:
        raise InvalidInput(
            f"a file of {info.package.name} {info.package.version} is not what the package says",
            detail=f"/{path['_path']} has the sha256 {digest.hexdigest()}, not {wanted}.",
            hint="The cached copy of the package may be damaged: remove the cache folder and try "
            "again. If it stays so, the package itself is wrong.",
        )


def _left(info: PackageInfo, path: Mapping[str, Any]) -> InvalidInput:
    return InvalidInput(
        f"the package {info.package.name} {info.package.version} cannot be moved to its prefix",
        detail=f"/{path['_path']} still has the prefix it was built with.",
    )


def _refuse_detours(info: PackageInfo, unpacked: Path, folder: Path, python: Python | None) -> None:
    """Refuse files that were found through a link in the package: they may be this machine's."""
    faults = [
        f"/{above} is a link where the package lists files below it"
        for above in parents(info.paths)
        if not stat.S_ISDIR((unpacked / above).lstat().st_mode)
    ]
    faults += [
        f"/{path} is a link and is to be changed like a file"
        for path, placed in info.placed(python).items()
        if stat.S_ISLNK((unpacked / path).lstat().st_mode)
        and not stat.S_ISLNK((folder / placed).lstat().st_mode)
    ]
    if faults:
        raise InvalidInput(
            f"the package {info.package.name} {info.package.version} cannot be used",
            detail="\n".join(faults),
        )


def _hard_links(info: PackageInfo, unpacked: Path, paths: list[dict[str, Any]]) -> dict[str, int]:
    """Return path to a number that names of one file have in common.

    The unpacked package is asked, because the linked one may be a copy, as the file system will.
    """
    if info.index.get("noarch") == "python":
        return {}
    numbers: dict[tuple[int, int], int] = {}
    found: dict[str, int] = {}
    for path in paths:
        if path.get("path_type") != "hardlink" or path.get("file_mode") is not None:
            continue
        status = (unpacked / str(path["_path"])).lstat()
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            key = (status.st_dev, status.st_ino)
            found[str(path["_path"])] = numbers.setdefault(key, len(numbers) + 1)
    return found

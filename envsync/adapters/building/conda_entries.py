"""From a decoded conda package to the entries of its segment.

Only contents and link targets are taken from the archive; owners, modes and times follow from the
package, and what is generated is ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from envsync.adapters.building.conda_archive import Decoded
from envsync.adapters.building.package_info import Listed, PackageInfo, unusable
from envsync.adapters.building.tar_index import TarMember
from envsync.errors import InvalidInput
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
    with_hard_links,
)
from envsync.oci.installed import record_document, record_path
from envsync.oci.inventory import Python, is_variables
from envsync.oci.linking import patched
from envsync.oci.segment import Contents

_EXECUTABLE = 0o100
_KEPT_IN_MEMORY = 1 << 20
"""Bytes of a file that is patched once; a larger one is patched again when it is written."""


def conda_contents(
    info: PackageInfo, archive: Decoded, python: Python | None, excluded: frozenset[str]
) -> Contents:
    """Return the entries of a package without those at *excluded* (relative to the prefix).

    They can be read as long as *archive* is open. A file that asks to run with its owner's rights
    does not, as when conda installs it. Raises InvalidInput for what no image may hold: devices,
    links that leave the environment, files that are not there.
    """
    _refuse_detours(info, archive)
    placing = _Placing(info=info, archive=archive)
    entries: dict[str, Entry] = {}
    records: dict[str, Mapping[str, Any]] = {}
    for one in info.listed:
        path = info.where(one.path, python)
        if fault := path_fault(path):
            placing.faults.append(f"/{path} {fault}")
        elif one.kind == "directory":
            records[path] = {"_path": path, "path_type": "directory"}
        elif (found := placing.entry(one, path)) is not None:
            entries[path], records[path] = found
    for point in info.points:
        if python is None:
            continue
        script = point.script(python)
        entries[point.path] = file_of(
            f"{ROOT}/{point.path}", script, executable=True, mtime=info.time
        )
        records[point.path] = {
            "_path": point.path,
            "path_type": "unix_python_entry_point",
            "sha256": hashlib.sha256(script).hexdigest(),
            "size_in_bytes": len(script),
        }
    if placing.faults:
        raise InvalidInput(
            f"the package {info.package.name} {info.package.version} cannot be in an image",
            detail="\n".join(placing.faults),
        )
    record = record_document(
        info.identity,
        index=info.index,
        paths=list(records.values()),
        file_name=info.package.file_name,
        size=info.size,
    )
    own = file_of(f"{ROOT}/{record_path(info.identity)}", record, mtime=info.time)
    kept = [entry for path, entry in entries.items() if path not in excluded]
    head = sorted((e for e in kept if is_variables(e.path)), key=lambda e: e.path.encode())
    body = with_hard_links(entry for entry in kept if not is_variables(entry.path))
    return Contents(head=(own, *head), body=body)


@dataclass(slots=True, kw_only=True)
class _Placing:
    """Makes entries, and keeps what is wrong with those that cannot be made."""

    info: PackageInfo
    archive: Decoded
    faults: list[str]

    def __init__(self, *, info: PackageInfo, archive: Decoded) -> None:
        self.info = info
        self.archive = archive
        self.faults = []

    def entry(self, one: Listed, path: str) -> tuple[Entry, Mapping[str, Any]] | None:
        """Return the entry of a listed file or link, and what the record says of it."""
        member = self._member(one, path)
        if member is None:
            return None
        if member.kind == "soft link":
            return self._link(one, path, member)
        return self._file(one, path, member)

    def _member(self, one: Listed, path: str) -> TarMember | None:
        members = self.archive.members
        member = members.get(one.path)
        for _ in range(8):
            if member is None or member.kind != "hard link":
                break
            member = members.get(member.target.removeprefix("./"))
        if member is None:
            raise InvalidInput(
                f"{self.info.package.name} {self.info.package.version} is not complete",
                detail=f"/{path} is listed, and not in the archive.",
            )
        if member.kind not in {"file", "soft link"}:
            self.faults.append(f"/{path} is neither a file nor a link")
            return None
        return member

    def _link(
        self, one: Listed, path: str, member: TarMember
    ) -> tuple[Entry, Mapping[str, Any]] | None:
        if fault := link_fault(path, member.target):
            self.faults.append(f"/{path} {fault}")
            return None
        target = hashlib.sha256(member.target.encode()).hexdigest()
        record = _record(one, path, size=one.size if one.size is not None else len(member.target))
        # Installers hash where a link leads, not what is there.
        if target != one.sha256:
            record["sha256_in_prefix"] = target
        entry = SoftLink(path=f"{ROOT}/{path}", target=member.target, mtime=self.info.time)
        return entry, record

    def _file(self, one: Listed, path: str, member: TarMember) -> tuple[Entry, Mapping[str, Any]]:
        executable = bool(member.mode & _EXECUTABLE)
        record = _record(one, path, size=one.size if one.size is not None else member.size)
        if one.placeholder:
            data = self._patched(one, path, member)
            found = hashlib.sha256(data).hexdigest()
            if found != one.sha256:
                record["sha256_in_prefix"] = found
            record["size_in_bytes"] = size = len(data)
            record |= {"file_mode": one.mode}
            keep = data if size <= _KEPT_IN_MEMORY else None
            return File(
                path=f"{ROOT}/{path}",
                size=size,
                executable=executable,
                mtime=self.info.time,
                content=lambda: iter((keep or self._patched(one, path, member),)),
            ), record
        if not one.sha256:
            digest = hashlib.sha256()
            for chunk in self.archive.read(member):
                digest.update(chunk)
            record["sha256_in_prefix"] = digest.hexdigest()
        return File(
            path=f"{ROOT}/{path}",
            size=member.size,
            executable=executable,
            mtime=min(max(member.mtime, 0), MAX_TIME),
            content=lambda: self._checked(one, member),
            # Names of one file in the archive are one file in the image, unless they are moved.
            inode=0 if self.info.is_python else member.offset + 1,
        ), record

    def _patched(self, one: Listed, path: str, member: TarMember) -> bytes:
        data = self.archive.whole(member)
        if one.sha256 and hashlib.sha256(data).hexdigest() != one.sha256:
            raise self._damaged(one)
        placeholder = one.placeholder.encode()
        try:
            found = patched(data, placeholder, one.mode)
        except ValueError as error:
            raise unusable(self.info.package, [f"/{path}: {error}"]) from error
        if placeholder in found:
            raise InvalidInput(
                f"the package {self.info.package.name} {self.info.package.version} cannot be "
                "moved to its prefix",
                detail=f"/{path} still has the prefix it was built with.",
            )
        return found

    def _checked(self, one: Listed, member: TarMember) -> Iterator[bytes]:
        """Yield a file's content, which is compared with what the package lists on the way."""
        digest = hashlib.sha256()
        for chunk in self.archive.read(member):
            digest.update(chunk)
            yield chunk
        if one.sha256 and digest.hexdigest() != one.sha256:
            raise self._damaged(one)

    def _damaged(self, one: Listed) -> InvalidInput:
        package = self.info.package
        return InvalidInput(
            f"a file of {package.name} {package.version} is not what the package says",
            detail=f"/{one.path} has not the sha256 {one.sha256}.",
            hint="The package itself is wrong: take another build of it.",
        )


def _record(one: Listed, path: str, *, size: int) -> dict[str, Any]:
    record: dict[str, Any] = {"_path": path, "path_type": one.kind, "size_in_bytes": size}
    if one.sha256:
        record["sha256"] = one.sha256
    if one.placeholder:
        record["prefix_placeholder"] = one.placeholder
    if one.no_link:
        record["no_link"] = True
    return record


def _refuse_detours(info: PackageInfo, archive: Decoded) -> None:
    """Refuse files below a link of the package, and links that are to be changed like files."""
    members = archive.members
    listed = [one for one in info.listed if one.kind != "directory"]
    faults = [
        f"/{above} is a link where the package lists files below it"
        for above in parents(one.path for one in listed)
        if above in members and members[above].kind != "folder"
    ]
    faults += [
        f"/{one.path} is a link and is to be changed like a file"
        for one in listed
        if one.placeholder and one.path in members and members[one.path].kind == "soft link"
    ]
    if faults:
        raise unusable(info.package, faults)

"""Layers applied to a folder: whiteouts, hard links, and nothing outside of the folder.

A layer is what somebody else made. Names that lead upwards are refused; links on the way are
resolved inside the folder (`envsync.adapters.running.inside`); devices are left out, and set-id
bits are dropped, because the files belong to whoever unpacks them.
Source: https://github.com/opencontainers/image-spec/blob/main/layer.md#applying-changesets
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from envsync.adapters.running.inside import Inside
from envsync.errors import InvalidInput

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_RESERVED = ".wh..wh."
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TIME_MAX = 1 << 33
_ID_MAX = (1 << 32) - 2
_CHUNK = 1 << 20
_NO_FAULT = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM}
)
"""Errors that say something of this machine and nothing of the layer."""


class LayerFiles:
    """Applies layers to *root*, from the lowest; *owners* keeps the owners that they state."""

    def __init__(self, root: Path, *, owners: bool) -> None:
        self._inside = Inside(root)
        self._owners = owners
        self._modes: dict[tuple[str, ...], tuple[int, int]] = {}
        """Mode and time of folders, set at the end: a folder may be read-only to its owner."""
        self._at: tuple[tuple[str, ...], int] | None = None
        """The folder of the entry before, which is most often that of the next one too."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._forget()
            if error is None:
                self._finish()
        finally:
            self._inside.close()

    def apply(self, tar: Iterable[bytes], digest: str) -> None:
        """Apply one uncompressed layer; InvalidInput, with *digest*, when no image may hold it."""
        own: set[tuple[str, ...]] = set()
        name = ""
        try:
            stream = cast("IO[bytes]", _Stream(tar))
            with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as archive:
                for member in archive:
                    name = member.name
                    self._entry(archive, member, own)
        except _Refused as refused:
            raise _unusable(digest, f"{name!r} {refused}") from None
        except tarfile.TarError as error:
            raise _unusable(digest, f"It is not a tar archive: {error}.") from error
        except (ValueError, OverflowError, FileExistsError, NotADirectoryError) as error:
            raise _unusable(digest, f"{name!r} cannot be made: {error}") from error
        except OSError as error:
            if error.errno in _NO_FAULT:
                raise
            raise _unusable(digest, f"{name!r} cannot be made: {error.strerror}") from error

    def _entry(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, own: set[tuple[str, ...]]
    ) -> None:
        parts = _parts(member.name)
        if not parts:
            return  # the root itself
        name = parts[-1]
        folder = self._folder(parts[:-1])
        if name == _OPAQUE:
            self._hide(folder, parts[:-1], own)
        elif name.startswith(_RESERVED):
            return  # bookkeeping of an old storage driver
        elif name.startswith(_WHITEOUT):
            self._whiteout(folder, (*parts[:-1], name.removeprefix(_WHITEOUT)), own)
        else:
            self._make(archive, member, folder, parts)
            if member.issym() or member.islnk():
                self._forget()  # the way to a folder may lead through it from now on
            own.update(parts[:count] for count in range(1, len(parts) + 1))

    def _make(
        self,
        archive: tarfile.TarFile,
        member: tarfile.TarInfo,
        folder: int,
        parts: tuple[str, ...],
    ) -> None:
        name = parts[-1]
        if member.isdir():
            self._make_folder(member, folder, parts)
            return
        if member.ischr() or member.isblk():
            return
        if member.islnk():
            self._link(member, folder, parts)
            return
        self._remove(folder, name)
        if member.issym():
            if not member.linkname:
                raise _Refused("is a link without a target")
            os.symlink(member.linkname, name, dir_fd=folder)
        elif member.isfifo():
            os.mkfifo(name, _mode(member), dir_fd=folder)
        elif member.isreg():
            self._write(archive, member, folder)
            return
        else:
            raise _Refused("is of a kind that no layer has")
        self._own(member, folder, name)

    def _make_folder(self, member: tarfile.TarInfo, folder: int, parts: tuple[str, ...]) -> None:
        name = parts[-1]
        if not _is_folder(folder, name):
            self._remove(folder, name)
            os.mkdir(name, 0o700, dir_fd=folder)
        self._own(member, folder, name)
        self._modes[parts] = (_mode(member) | 0o700, _time(member))

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, folder: int) -> None:
        content = archive.extractfile(member)
        name = _parts(member.name)[-1]
        handle = os.open(name, _NEW, 0o600, dir_fd=folder)
        with os.fdopen(handle, "wb") as file:
            if content is not None:
                shutil.copyfileobj(content, file, _CHUNK)
            file.flush()
            if self._owners:
                os.chown(handle, *_owner(member))
            os.fchmod(handle, _mode(member) | 0o400)
            os.utime(handle, (_time(member), _time(member)))

    def _link(self, member: tarfile.TarInfo, folder: int, parts: tuple[str, ...]) -> None:
        target = _parts(member.linkname)
        if not target:
            raise _Refused("is a second name of the root")
        if target == parts:
            return
        try:
            with self._inside.folder(target[:-1]) as there:
                if _is_folder(there, target[-1]):
                    raise _Refused("is a second name of a folder")
                os.stat(target[-1], dir_fd=there, follow_symlinks=False)
                self._remove(folder, parts[-1])
                os.link(
                    target[-1],
                    parts[-1],
                    src_dir_fd=there,
                    dst_dir_fd=folder,
                    follow_symlinks=False,
                )
        except FileNotFoundError:
            raise _Refused(f"is a second name of {member.linkname!r}, which is not there") from None

    def _own(self, member: tarfile.TarInfo, folder: int, name: str) -> None:
        if self._owners:
            os.chown(name, *_owner(member), dir_fd=folder, follow_symlinks=False)
        if not member.isdir():
            time = _time(member)
            os.utime(name, (time, time), dir_fd=folder, follow_symlinks=False)

    def _whiteout(self, folder: int, hidden: tuple[str, ...], own: set[tuple[str, ...]]) -> None:
        if hidden[-1] in {"", ".", ".."}:
            raise _Refused("is a whiteout of no name")
        if hidden not in own:
            self._remove(folder, hidden[-1])
        elif _is_folder(folder, hidden[-1]):
            # The layer brings this folder itself; only what lower layers had in it goes.
            self._hide_below(folder, hidden, own)

    def _hide(self, folder: int, parts: tuple[str, ...], own: set[tuple[str, ...]]) -> None:
        """Remove from an open folder what lower layers put there."""
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            if (*parts, name) not in own:
                self._remove(folder, name)
            elif _is_folder(folder, name):
                self._hide_below(folder, (*parts, name), own)

    def _hide_below(self, folder: int, parts: tuple[str, ...], own: set[tuple[str, ...]]) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        below = os.open(parts[-1], flags, dir_fd=folder)
        try:
            self._hide(below, parts, own)
        finally:
            os.close(below)

    def _remove(self, folder: int, name: str) -> None:
        with suppress(FileNotFoundError):
            if _is_folder(folder, name):
                shutil.rmtree(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)

    def _folder(self, parts: tuple[str, ...]) -> int:
        if self._at is None or self._at[0] != parts:
            self._forget()
            self._at = parts, self._inside.open_folder(parts, create=True)
        return self._at[1]

    def _forget(self) -> None:
        if self._at is not None:
            os.close(self._at[1])
            self._at = None

    def _finish(self) -> None:
        """Set modes and times of folders, what is deepest first."""
        for parts, (mode, time) in sorted(self._modes.items(), key=lambda item: -len(item[0])):
            try:
                handle = self._inside.open_folder(parts)
            except OSError:
                continue  # removed or replaced by a later entry
            try:
                os.fchmod(handle, mode)
                os.utime(handle, (time, time))
            finally:
                os.close(handle)


class _Refused(Exception):
    """What is wrong with an entry."""


class _Stream:
    """A readable file over an iterator of chunks, as tarfile's stream mode needs it."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        found: list[bytes | memoryview] = []
        have = 0
        while have < size:
            if not self._rest:
                self._rest = memoryview(next(self._chunks, b""))
                if not self._rest:
                    break
            part, self._rest = self._rest[: size - have], self._rest[size - have :]
            found.append(part)
            have += len(part)
        return b"".join(found)


def _parts(path: str) -> tuple[str, ...]:
    """Return the names of a path; absolute paths, which some builders write, are below the root."""
    parts = tuple(part for part in path.split("/") if part not in {"", "."})
    if ".." in parts:
        raise _Refused("leads out of its folder")
    return parts


def _is_folder(folder: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _mode(member: tarfile.TarInfo) -> int:
    sticky = stat.S_ISVTX if member.isdir() else 0
    return member.mode & (0o777 | sticky)


def _time(member: tarfile.TarInfo) -> int:
    return min(max(int(member.mtime), 0), _TIME_MAX)


def _owner(member: tarfile.TarInfo) -> tuple[int, int]:
    if not (0 <= member.uid <= _ID_MAX and 0 <= member.gid <= _ID_MAX):
        raise _Refused("has an owner that cannot be")
    return member.uid, member.gid


def _unusable(digest: str, detail: str) -> InvalidInput:
    return InvalidInput(
        "a layer of the image cannot be unpacked", detail=f"In layer {digest}: {detail}"
    )

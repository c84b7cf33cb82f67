"""The working folder as a tree: regular files only, and nothing outside of it, whatever links say.

Every folder on the way is opened by itself without following links, so what was checked is what is
read even while somebody changes the folder. A file that is a link within the repository is read,
as it is from a commit (`envsync.adapters.git.commit_tree`).
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from envsync.errors import InvalidInput

_LINK_LIMIT = 16
_SIZE_LIMIT = 512 * 1024 * 1024
_NO_LINKS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK, errno.ENXIO}
_NO_NAME = {"", ".", ".."}


class WorkTree:
    """Files of the folder *root*; implements `envsync.ports.tree.Tree`. Safe for many threads."""

    def __init__(self, root: Path, *, size_limit: int = _SIZE_LIMIT) -> None:
        self._root = root
        self._size_limit = size_limit

    @property
    def label(self) -> str:
        """What the tree is, for messages."""
        return "the working folder"

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None when there is no such regular file.

        Raises InvalidInput for a link that leads out of the folder, and a file that is too large
        or may not be read.
        """
        start = path
        for _ in range(_LINK_LIMIT):
            parts = path.split("/")
            if _NO_NAME.intersection(parts) or ".git" in parts:
                return None
            try:
                with self._folder(parts[:-1]) as folder:
                    target = _link_target(parts[-1], folder)
                    if target is None:
                        return self._read_file(path, parts[-1], folder)
            except OSError as error:
                if error.errno in _NOTHING_THERE:
                    return None
                raise InvalidInput(
                    f"{path} cannot be read", detail=error.strerror or str(error)
                ) from error
            resolved = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            if target.startswith("/") or resolved.split("/")[0] == "..":
                raise InvalidInput(
                    f"{start} is a link that leaves the repository",
                    detail=f"It points to {target}.",
                    hint="Put the file itself there.",
                )
            path = resolved
        raise InvalidInput(f"{start} is a link that leads in a circle")

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the names directly in *folder*, folders with a trailing slash, sorted."""
        parts = [part for part in folder.split("/") if part not in {"", "."}]
        if ".." in parts or ".git" in parts:
            return ()
        try:
            with self._folder(parts) as handle, os.scandir(handle) as entries:
                return tuple(
                    sorted(
                        f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
                        for entry in entries
                        if entry.name != ".git"
                    )
                )
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return ()
            raise InvalidInput(
                f"{folder} cannot be listed", detail=error.strerror or str(error)
            ) from error

    @contextmanager
    def _folder(self, parts: Sequence[str]) -> Iterator[int]:
        """Open a folder below the root, no part of the way being a link."""
        handle = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                inner = os.open(part, _NO_LINKS | os.O_DIRECTORY, dir_fd=handle)
                os.close(handle)
                handle = inner
            yield handle
        finally:
            os.close(handle)

    def _read_file(self, path: str, name: str, folder: int) -> bytes | None:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
        handle = os.open(name, _NO_LINKS | os.O_NONBLOCK, dir_fd=folder)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                return None
            if status.st_size > self._size_limit:
                raise InvalidInput(
                    f"{path} has {status.st_size:,} bytes",
                    detail=f"At most {self._size_limit:,} are read.",
                )
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(self._size_limit)
        finally:
            os.close(handle)


def _link_target(name: str, folder: int) -> str | None:
    """Return what a link points to; None when *name* is no link."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise

"""Paths inside a folder that is the root of an image, resolved as the image would resolve them.

Links of the image lead where they would lead if the folder were ``/``, so never out of it. Every
step opens one name below an open folder without following links: what is checked is what is used.
Standard library only: the process that enters a container uses it too.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

_LINKS = 40
_DEPTH = 256
"""Folders below one another; what walks the tree later, to remove it for example, has a limit."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Inside:
    """The file system below *root*; close it, or use it as a context."""

    def __init__(self, root: Path | str) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the root."""
        os.close(self._root)

    def open_folder(self, parts: Sequence[str], *, create: bool = False) -> int:
        """Return a descriptor of a folder, which the caller closes; OSError when there is none.

        With *create* folders that are missing on the way appear, as 0755.
        """
        rest = deque(parts)
        here, depth, links = os.dup(self._root), 0, 0
        try:
            while rest:
                part = rest.popleft()
                if part in {"", "."} or (part == ".." and depth == 0):
                    continue
                target = None if part == ".." else _target(part, here)
                if target is None:
                    here = _step(here, part, create=create)
                    depth += -1 if part == ".." else 1
                    if depth > _DEPTH:
                        raise OSError(errno.ENAMETOOLONG, "too deep", "/".join(parts)[:100])
                    continue
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), "/".join(parts))
                if target.startswith("/"):
                    os.close(here)
                    here, depth = os.dup(self._root), 0
                rest.extendleft(reversed(target.split("/")))
        except BaseException:
            os.close(here)
            raise
        return here

    @contextmanager
    def folder(self, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """Give a descriptor of a folder until the block ends."""
        handle = self.open_folder(parts, create=create)
        try:
            yield handle
        finally:
            os.close(handle)

    def open_file(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o644) -> int:
        """Open a file, links at its end resolved too; OSError when that cannot be done."""
        for _ in range(_LINKS):
            folder, _, name = path.rstrip("/").rpartition("/")
            with self.folder(folder.split("/")) as handle:
                target = _target(name, handle)
                if target is None:
                    # O_NONBLOCK: a pipe in the image must not be waited for.
                    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
                    return os.open(name, flags, mode, dir_fd=handle)
            path = target if target.startswith("/") else f"{folder}/{target}"
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _step(here: int, part: str, *, create: bool) -> int:
    """Go from an open folder into one below or above it; the descriptor given is closed."""
    try:
        there = os.open(part, _FOLDER, dir_fd=here)
    except FileNotFoundError:
        if not create:
            raise
        os.mkdir(part, 0o755, dir_fd=here)
        there = os.open(part, _FOLDER, dir_fd=here)
    os.close(here)
    return there


def _target(name: str, folder: int) -> str | None:
    """Return what a link points to; None when *name* is no link, or is not there."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOENT}:
            return None
        raise

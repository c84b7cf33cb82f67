"""Files written aside, made durable, then renamed into place; what dead writers left is removed.

Every temporary file is locked by its writer for as long as the writer lives, whatever process or
thread it is in. So a file in the folder that can be locked has no writer, and is garbage.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from envsync.failpoints import reach

_READ_ONLY_FILE = 0o444


class Aside:
    """Writes below one folder; all of its users share the lock of that folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writing = folder / ".writing"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder's lock: one thread of one process at a time."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def write(self, target: Path, chunks: Iterable[bytes]) -> None:
        """Write a new file at *target*, or leave everything as it was; takes the lock for a moment.

        The file is read-only: hard links share it. Raises what *chunks* raises, and OSError.
        """
        with self.lock():
            handle, path = self._begin()
        self._finish(handle, path, target, chunks)

    def write_locked(self, target: Path, content: bytes) -> None:
        """Write a file at *target* as `write` does, for a caller that holds the lock."""
        handle, path = self._begin()
        self._finish(handle, path, target, [content])

    def _begin(self) -> tuple[int, Path]:
        # Under the lock, so that nobody takes the new file for garbage before it is locked.
        self._writing.mkdir(exist_ok=True)
        self._remove_garbage()
        path = self._writing / secrets.token_hex(8)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _READ_ONLY_FILE)
        fcntl.flock(handle, fcntl.LOCK_EX)
        return handle, path

    def _finish(self, handle: int, path: Path, target: Path, chunks: Iterable[bytes]) -> None:
        try:
            for chunk in chunks:
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
            reach("file-rename.before")
            path.replace(target)
            reach("file-rename.after")
        except BaseException:
            with suppress(OSError):
                path.unlink()
            raise
        finally:
            os.close(handle)
        sync_folder(target.parent)

    def _remove_garbage(self) -> None:
        for path in self._writing.iterdir():
            try:
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # its writer has just renamed it
            except PermissionError:
                continue  # another user's; theirs to remove
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Renamed into place between the listing and the lock: not garbage, and not here.
                path.unlink(missing_ok=True)
            except BlockingIOError:
                continue  # its writer is alive
            finally:
                os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

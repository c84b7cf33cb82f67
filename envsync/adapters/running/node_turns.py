"""Turns that the processes of one machine take, by locked files; one that dies gives it up."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from envsync.errors import Unavailable
from envsync.model.canonical import sha256_hex


class NodeTurns:
    """Implements `envsync.ports.engine.Turns` with a file for each key below *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def __call__(self, key: str, waiting: Callable[[], None]) -> Iterator[_Turn]:
        """Wait for the turn at *key*."""
        path = self._folder / sha256_hex(key.encode())
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(
                "the cache cannot be written", detail=f"{error.filename}: {error.strerror}"
            ) from error
        try:
            # How many failures there were before waiting tells which one was waited for.
            before = _read(handle)[1]
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield _Turn(handle, before)
        finally:
            os.close(handle)


def this_node() -> str:
    """Return what names this machine since it started: another start is another node to prepare."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}"


class _Turn:
    """Implements `envsync.ports.engine.Turn` for whoever holds the lock."""

    def __init__(self, handle: int, before: int) -> None:
        self._handle = handle
        self._done, self._failures, code = _read(handle)
        self._failed = code if self._failures > before else 0

    @property
    def done(self) -> bool:
        """Whether somebody did it already."""
        return self._done

    @property
    def failed(self) -> int:
        """The exit code with which somebody failed while this process waited."""
        return self._failed

    def end(self, code: int) -> None:
        """Say how it ended."""
        failures = self._failures + (code != 0)
        # One write of a few bytes: it is there or it is not, also when this process is killed.
        line = json.dumps([code == 0, failures, code]).ljust(64).encode()
        os.pwrite(self._handle, line, 0)
        os.fsync(self._handle)


def _read(handle: int) -> tuple[bool, int, int]:
    """Return whether it is done, the number of failures, and the last one's code."""
    try:
        done, failures, code = json.loads(os.pread(handle, 64, 0))
        return bool(done), int(failures), int(code)
    except (ValueError, TypeError):
        return False, 0, 0

"""A memory in a folder: a file for each document, its checksum before it.

Any number of processes may use one folder. Files appear whole, under names made of the key, and a
file that is not what its checksum says was never there. Everything may be deleted at any time.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import envsync
from envsync.model.canonical import sha256_hex

LIMIT = 20_000
"""Documents in a folder; the oldest go first."""
_CHECKSUM = 64
_ASIDE = "."


class MemoryFolder:
    """Documents below *folder*; implements `envsync.ports.memory.Memory`."""

    def __init__(self, folder: Path, *, maker: str, limit: int = LIMIT) -> None:
        """*maker* names what works the documents out: another one's are not recalled."""
        self._folder = folder
        self._maker = maker
        self._limit = limit

    def recall(self, keys: Iterable[str]) -> Mapping[str, bytes]:
        """Return the documents that are here and undamaged."""
        found = {}
        for key in keys:
            try:
                data = self._path(key).read_bytes()
            except OSError:
                continue
            document = data[_CHECKSUM:]
            if data[:_CHECKSUM] == _checksum(key, document):
                found[key] = document
        return found

    def remember(self, documents: Mapping[str, bytes]) -> None:
        """Write documents; a disk that is full or read-only makes work slower, not impossible."""
        if not documents:
            return
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            for key, document in documents.items():
                aside = self._folder / f"{_ASIDE}{secrets.token_hex(8)}"
                try:
                    aside.write_bytes(_checksum(key, document) + document)
                    aside.replace(self._path(key))
                except OSError:
                    aside.unlink(missing_ok=True)
                    raise
            self._prune()

    def _path(self, key: str) -> Path:
        return self._folder / sha256_hex(f"{self._maker}\n{key}".encode())

    def _prune(self) -> None:
        with os.scandir(self._folder) as entries:
            ages = [(entry.stat().st_mtime_ns, entry.path) for entry in entries]
        # A tenth more than needed, so that this does not happen at every write from now on.
        surplus = len(ages) - self._limit + self._limit // 10 if len(ages) > self._limit else 0
        for _, path in sorted(ages)[:surplus]:
            Path(path).unlink(missing_ok=True)


def this_program() -> str:
    """Return what changes whenever this installation of envsync does, also while it is edited."""
    root = str(Path(envsync.__file__).parent)
    found = [f"{envsync.__version__} {root}"]
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                elif entry.name.endswith(".py"):
                    state = entry.stat()
                    found.append(f"{entry.path} {state.st_size} {state.st_mtime_ns}")
    return sha256_hex("\n".join(sorted(found)).encode())


def _checksum(key: str, document: bytes) -> bytes:
    return sha256_hex(key.encode() + b"\n" + document).encode()

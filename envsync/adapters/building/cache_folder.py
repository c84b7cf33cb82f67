"""The cache folder as a whole: how large it is, keeping it within bounds, and whether it is sound.

Everything in it can be made or fetched again. What was not used for longest goes first; files that
another process has open stay readable for it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from envsync.adapters.building.build_cache import INVENTORIES, LAYERS, NOTE, SEGMENTS, read_note

ARCHIVES = "archives"
BOUNDED = (ARCHIVES, SEGMENTS, INVENTORIES, LAYERS)
"""What is kept within bounds: all that grows with the packages that were built."""

_ASIDE = ".part-"
_LEFT_AFTER = 24 * 3600
"""Seconds after which a file that is being written has nobody who writes it."""
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One folder of the cache."""

    name: str
    files: int
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What was removed."""

    files: int
    size: int
    """Bytes."""
    left: int
    """Bytes that the bounded part of the cache still has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a verification found; what was damaged is removed."""

    files: int
    damaged: tuple[str, ...]
    """Paths relative to the cache."""


@dataclass(slots=True, kw_only=True)
class _Item:
    """Files that are of use only together."""

    paths: list[Path]
    size: int
    used: float


class CacheFolder:
    """The cache below *folder*; *clock* gives seconds since 1970."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def parts(self) -> tuple[Part, ...]:
        """Return the folders of the cache, by name."""
        if not self._folder.is_dir():
            return ()
        found = []
        for folder in sorted(self._folder.iterdir()):
            if folder.is_dir() and not folder.is_symlink():
                sizes = [size for _, size, _ in _files(folder)]
                found.append(Part(name=folder.name, files=len(sizes), size=sum(sizes)))
        return tuple(found)

    def prune(self, limit: int) -> Removed:
        """Remove what was not used for longest until at most *limit* bytes are left."""
        items = sorted(self._items(), key=lambda item: item.used)
        total = sum(item.size for item in items)
        files = size = 0
        now = self._clock()
        for item in items:
            left_over = item.paths[0].name.startswith(_ASIDE)
            if left_over and now - item.used < _LEFT_AFTER:
                continue
            if total - size <= limit and not left_over:
                continue
            for path in item.paths:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            files += len(item.paths)
            size += item.size
        return Removed(files=files, size=size, left=total - size)

    def verify(self, seen: Callable[[int], None] = lambda _: None) -> Checked:
        """Compare everything that has a hash with it, and remove what differs.

        *seen* hears the bytes that were read.
        """
        damaged: list[str] = []
        files = 0
        for item in self._items():
            if item.paths[0].name.startswith(_ASIDE):
                continue
            files += len(item.paths)
            if not _is_sound(self._folder, item.paths):
                damaged += [path.relative_to(self._folder).as_posix() for path in item.paths]
                for path in item.paths:
                    path.unlink(missing_ok=True)
            seen(item.size)
        return Checked(files=files, damaged=tuple(sorted(damaged)))

    def _items(self) -> Iterator[_Item]:
        for name in BOUNDED:
            together: dict[Path, _Item] = {}
            for path, size, used in _files(self._folder / name):
                # A segment goes with its note, the note first: without it nobody believes it.
                note = name == SEGMENTS and path.suffix == NOTE
                key = path.with_suffix("") if note else path
                item = together.setdefault(key, _Item(paths=[], size=0, used=0.0))
                item.paths.insert(0 if note else len(item.paths), path)
                item.size += size
                item.used = max(item.used, used)
            yield from together.values()


def _files(folder: Path) -> Iterator[tuple[Path, int, float]]:
    for path in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError):  # removed by another process
            status = path.lstat()
            if path.is_file() and not path.is_symlink():
                yield path, status.st_size, status.st_mtime


def _is_sound(cache: Path, paths: list[Path]) -> bool:
    kind = paths[0].relative_to(cache).parts[0]
    if kind == ARCHIVES:
        return all(_sha256(path) == path.name.partition(".")[0] for path in paths)
    if kind in {INVENTORIES, LAYERS}:
        return all(read_note(path) is not None for path in paths)
    if len(paths) != 2:
        return False
    note = read_note(paths[0])
    return note is not None and note.get("sha256") == _sha256(paths[1])


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

"""Writing locks into the working folder: every byte aside and durable first, then the renames."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from envsync.adapters.files.aside import sync_folder
from envsync.errors import InvalidInput
from envsync.failpoints import reach
from envsync.model.config import LOCKS
from envsync.model.lock import IMAGE_FILE, LOCK_FILE
from envsync.ports.locks import LockFiles

_MODE = 0o644


class LockFolders:
    """Writes below ``locks/`` of *root*; implements `envsync.ports.locks.WriteLocks`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, locks: Mapping[str, LockFiles]) -> None:
        """Write the locks; files whose bytes are there already are left alone.

        ``conda-lock.yml`` is renamed before the ``image.yaml`` that names its hash: after a crash
        between the two, the pair does not agree, and everybody who reads it can tell.
        """
        try:
            self._inside(LOCKS).mkdir(parents=True, exist_ok=True)
            with _alone(self._root / LOCKS) as alone:
                self._write(locks, tidy=alone)
        except OSError as error:
            raise InvalidInput(
                "The locks cannot be written", detail=f"{error.filename}: {error.strerror}"
            ) from error

    def _write(self, locks: Mapping[str, LockFiles], *, tidy: bool) -> None:
        staged: list[tuple[Path, Path]] = []
        gone: list[Path] = []
        try:
            for name, files in sorted(locks.items()):
                folder = self._folder(name)
                if tidy:
                    _remove_left(folder)
                for file, content in ((LOCK_FILE, files.conda_lock), (IMAGE_FILE, files.image)):
                    target = folder / file
                    if content is None:
                        gone.append(target)
                    elif not _same(target, content):
                        staged.append((_aside(target, content), target))
            while staged:
                source, target = staged[0]
                reach("lock-write.before")
                source.replace(target)
                reach("lock-write.after")
                staged.pop(0)
            for target in gone:
                target.unlink(missing_ok=True)
            for name in locks:
                sync_folder(self._root / LOCKS / name)
        finally:
            for source, _ in staged:
                with suppress(OSError):
                    source.unlink()

    def _folder(self, name: str) -> Path:
        folder = self._inside(f"{LOCKS}/{name}")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _inside(self, path: str) -> Path:
        """Return a place below the root before anything is made there; links may not leave it."""
        place = self._root / path
        if not place.resolve().is_relative_to(self._root.resolve()):
            raise InvalidInput(
                "The locks cannot be written", detail=f"{path} leads out of the repository"
            )
        return place


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Keep other writers of *folder* out; False where the file system has no locks for folders."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            alone = True
        except OSError:
            alone = False
        yield alone
    finally:
        os.close(handle)


def _remove_left(folder: Path) -> None:
    """Remove what writers that were killed have left; nobody else may be writing."""
    for file in (LOCK_FILE, IMAGE_FILE):
        for path in folder.glob(f".{file}-*"):
            path.unlink(missing_ok=True)


def _same(target: Path, content: bytes) -> bool:
    try:
        return not target.is_symlink() and target.read_bytes() == content
    except OSError:
        return False


def _aside(target: Path, content: bytes) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), _MODE)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    return Path(name)

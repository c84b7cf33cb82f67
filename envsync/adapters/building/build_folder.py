"""The folder of one build: what is unpacked for it, and layers that somebody else made."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from envsync.errors import Unavailable
from envsync.oci.descriptor import LAYER_GZIP, Descriptor
from envsync.oci.gzip import cut, member
from envsync.ports.builder import Blob

_PREFIX = "build-"


class BuildFolder:
    """A workspace below *parent*; leaving its context removes everything, blobs included.

    What builds left that were killed is removed by the next one: a folder whose lock can be taken
    has no build.
    """

    def __init__(self, parent: Path, *, cores: int | None = None) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        # Under the lock of all, so that nobody takes the new folder for garbage meanwhile.
        with _locked(parent):
            _remove_garbage(parent)
            self._root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            self._lock = _lock(self._root)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._cores = cores or len(os.sched_getaffinity(0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
        os.close(self._lock)

    def staging(self, name: str) -> Path:
        """Return a new empty folder."""
        folder = self._root / "staging" / name
        folder.mkdir(parents=True)
        return folder

    def pack(
        self, archive: Iterator[bytes], written: Callable[[int], None]
    ) -> tuple[Descriptor, str, Blob]:
        """Compress the tar of a layer that somebody else made; see the port."""
        folder = self._root / "blobs"
        folder.mkdir(exist_ok=True)
        plain, packed = hashlib.sha256(), hashlib.sha256()
        window: deque[Future[bytes]] = deque()
        size = 0
        handle, name = tempfile.mkstemp(dir=folder)

        def take(data: bytes) -> int:
            out.write(data)
            packed.update(data)
            written(len(data))
            return len(data)

        try:
            with os.fdopen(handle, "wb") as out, ThreadPoolExecutor(self._cores, "pack") as pool:
                for piece in cut(archive):
                    window.append(pool.submit(member, piece))
                    plain.update(piece)
                    if len(window) > 2 * self._cores:
                        size += take(window.popleft().result())
                for future in window:
                    size += take(future.result())
        except OSError as error:
            raise self._explained(error, size) from error
        final = Path(name).replace(folder / packed.hexdigest())
        digest = f"sha256:{packed.hexdigest()}"
        descriptor = Descriptor(media_type=LAYER_GZIP, digest=digest, size=size)
        blob = Blob(descriptor=descriptor, open=lambda: _opened(final))
        return descriptor, f"sha256:{plain.hexdigest()}", blob

    def _explained(self, error: OSError, size: int) -> Exception:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            return error
        return Unavailable(
            "the disk is full",
            detail=f"A layer of {size} bytes so far did not fit into {self._root}.",
            hint="Free some space, or choose another cache folder.",
        )


def _lock(folder: Path) -> int:
    return os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = _lock(folder)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_garbage(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            handle = _lock(folder)
        except (FileNotFoundError, PermissionError):
            continue  # just removed by its build; another user's
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue  # its build is alive
        finally:
            os.close(handle)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        yield file

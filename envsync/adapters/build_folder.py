"""The folder of one build: layers are compressed on all cores and written as they come.

Memory stays flat whatever the size of a layer: each layer in work holds a window of pieces of
`envsync.oci.gzip.MEMBER` bytes. Compressing and hashing release the interpreter lock.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from envsync.errors import Unavailable
from envsync.oci.descriptor import LAYER_GZIP, Descriptor
from envsync.oci.gzip import cut, member
from envsync.oci.layer import Layer, WrittenLayer
from envsync.ports.builder import Blob

_READERS = 4
"""Layers in work at the same time: one reader's hashing keeps up with several compressors."""


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
        self._made: dict[str, tuple[WrittenLayer, Blob]] = {}
        """By layer key: platforms of one image share what is equal."""

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

    def write(
        self, layers: Sequence[Layer], written: Callable[[int], None]
    ) -> tuple[tuple[WrittenLayer, Blob], ...]:
        """Compress *layers* and return them in the same order; see the port."""
        (self._root / "blobs").mkdir(exist_ok=True)
        wanted = {layer.key: layer for layer in layers if layer.key not in self._made}
        # The largest first, so that no core is left alone with it at the end.
        order = sorted(wanted.values(), key=lambda layer: -layer.size)
        with (
            ThreadPoolExecutor(self._cores, "compress") as compressors,
            ThreadPoolExecutor(min(_READERS, self._cores), "layer") as readers,
        ):
            tasks = {
                layer.key: readers.submit(self._write, layer, compressors, written)
                for layer in order
            }
            try:
                self._made |= {key: task.result() for key, task in tasks.items()}
            except BaseException:
                readers.shutdown(cancel_futures=True)
                raise
        return tuple(self._made[layer.key] for layer in layers)

    def _write(
        self, layer: Layer, compressors: ThreadPoolExecutor, written: Callable[[int], None]
    ) -> tuple[WrittenLayer, Blob]:
        layer.check()
        name = self._root / "blobs" / f"{layer.key}.part"
        plain, packed = hashlib.sha256(), hashlib.sha256()
        sizes = [0] * (len(layer.segments) + 2)
        try:
            with name.open("wb") as out:
                for part, data in self._compressed(layer, compressors, plain.update):
                    out.write(data)
                    packed.update(data)
                    sizes[part] += len(data)
                    written(len(data))
        except OSError as error:
            raise self._explained(error, sum(sizes)) from error
        digest = f"sha256:{packed.hexdigest()}"
        descriptor = Descriptor(media_type=LAYER_GZIP, digest=digest, size=sum(sizes))
        final = self._root / "blobs" / packed.hexdigest()
        name.replace(final)
        done = WrittenLayer(
            layer=layer,
            descriptor=descriptor,
            diff_id=f"sha256:{plain.hexdigest()}",
            part_sizes=tuple(sizes),
        )
        return done, Blob(descriptor=descriptor, open=lambda: _opened(final))

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

    def _compressed(
        self,
        layer: Layer,
        compressors: ThreadPoolExecutor,
        hash_plain: Callable[[bytes], object],
    ) -> Iterator[tuple[int, bytes]]:
        window: deque[tuple[int, Future[bytes]]] = deque()
        for part, piece in layer.pieces():
            window.append((part, compressors.submit(member, piece)))
            hash_plain(piece)
            if len(window) > 2 * self._cores:
                number, future = window.popleft()
                yield number, future.result()
        for number, future in window:
            yield number, future.result()


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

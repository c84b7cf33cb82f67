"""Images unpacked into a cache, one folder for each, named by the digest of its manifest.

A folder appears by rename when it is whole; the bytes of every layer are verified before and after
they are decompressed. One process unpacks while others wait for it; one that dies leaves only what
the next one removes. Who uses an image holds a shared lock of it, also after it became another
program, so that whoever cleans the cache can tell.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from envsync.adapters.running.inside import Inside
from envsync.adapters.running.layer_files import LayerFiles
from envsync.errors import EnvsyncError, InvalidInput, NotAllowed, Unavailable
from envsync.oci.descriptor import Descriptor
from envsync.ports.builder import Blob
from envsync.ports.engine import LocatedImage

ROOT = "rootfs"
"""The image's root, below its folder."""
STAGE = "stage"
"""An empty folder beside it, where a container's own view of the root is mounted."""

_PLACES = ("proc", "sys", "dev", "tmp", "etc", "run", "work", "var/tmp")
"""Folders that something is mounted on; images that lack them get them."""
_FILES = ("etc/resolv.conf", "etc/hosts")
_ZSTD = b"\x28\xb5\x2f\xfd"
_PIECE = 1 << 20


class UnpackedImages:
    """The cache below *folder*; only its owner can look into it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, image: LocatedImage, told: Callable[[str], None]) -> tuple[Path, int]:
        """Return the folder of *image*, unpacked now if needed, and a descriptor that keeps it.

        Raises InvalidInput for layers that no image may have, Unavailable and NotAllowed when they
        cannot be fetched or written.
        """
        name = image.manifest.digest.removeprefix("sha256:")
        target = self._folder / name
        lock = -1
        try:
            # Set-id bits are dropped, but what is not for others' eyes must stay so too.
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _opened(self._folder / f"{name}.lock")
            fcntl.flock(lock, fcntl.LOCK_SH)
            if not target.exists():
                self._make(image, target, told)
            os.utime(target)
        except BaseException as error:
            if lock >= 0:
                os.close(lock)
            if isinstance(error, OSError):
                raise _explained(error, target) from error
            raise
        return target, lock

    def _make(self, image: LocatedImage, target: Path, told: Callable[[str], None]) -> None:
        making = _opened(self._folder / f"{target.name}.making")
        try:
            _wait_for(making, told)
            if not target.exists():
                self._unpack(image, target, told)
        finally:
            os.close(making)

    def _unpack(self, image: LocatedImage, target: Path, told: Callable[[str], None]) -> None:
        if len(image.layers) != len(image.settings.diff_ids):
            raise InvalidInput(
                "the image contradicts itself",
                detail=f"{len(image.layers)} layers have {len(image.settings.diff_ids)} diff ids.",
            )
        total = sum(layer.descriptor.size for layer in image.layers)
        told(f"unpacking {len(image.layers)} layers, {total / 1e6:,.1f} MB")
        aside = target.with_name(f".making-{target.name}")
        _remove(aside)
        try:
            (aside / STAGE).mkdir(parents=True)
            root = aside / ROOT
            root.mkdir(mode=0o755)
            root.chmod(0o755)
            with LayerFiles(root, owners=_may_give_away()) as files:
                for layer, diff_id in zip(image.layers, image.settings.diff_ids, strict=True):
                    _apply(files, layer, diff_id)
            _add_places(root)
            _make_durable(aside)
            aside.rename(target)
        except BaseException:
            _remove(aside)
            raise


def _opened(lock: Path) -> int:
    return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _wait_for(lock: int, told: Callable[[str], None]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        told("waiting for another process that unpacks it")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _apply(files: LayerFiles, layer: Blob, diff_id: str) -> None:
    digest = hashlib.sha256()
    with layer.open() as packed:
        plain = _hashed(_plain(_chunks(packed), layer.descriptor), digest.update)
        files.apply(plain, layer.descriptor.digest)
        # To the end, past the archive's own: only there the digests can be verified.
        for _ in plain:
            pass
    if (found := f"sha256:{digest.hexdigest()}") != diff_id:
        raise Unavailable(
            "a layer of the image is damaged",
            detail=f"{layer.descriptor.digest} holds {found}, and the config says {diff_id}.",
        )


def _chunks(source: BinaryIO | Iterator[bytes]) -> Iterator[bytes]:
    read = getattr(source, "read", None)
    return iter(lambda: bytes(read(_PIECE)), b"") if read else iter(source)


def _hashed(chunks: Iterable[bytes], update: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        update(chunk)
        yield chunk


def _plain(chunks: Iterator[bytes], layer: Descriptor) -> Iterator[bytes]:
    """Decompress a layer by what it is, not by what it is called: gzip members, or plain tar."""
    first = next(chunks, b"")
    if first.startswith(_ZSTD):
        raise InvalidInput(
            "a layer of the image is compressed with zstd, which only an engine can unpack here",
            detail=layer.digest,
            hint="Use --engine docker, with Docker 23 or newer.",
        )
    if not first.startswith(b"\x1f\x8b"):
        yield first
        yield from chunks
        return
    decoder = zlib.decompressobj(wbits=31)
    pending = first
    try:
        while pending:
            if decoder.eof:
                decoder = zlib.decompressobj(wbits=31)
            if plain := decoder.decompress(pending, _PIECE):
                yield plain
            pending = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
            pending = pending or next(chunks, b"")
    except zlib.error as error:
        raise Unavailable(
            "a layer of the image is damaged", detail=f"{layer.digest}: {error}"
        ) from error
    if not decoder.eof:
        raise Unavailable("a layer of the image is damaged", detail=f"{layer.digest} ends early.")


def _may_give_away() -> bool:
    """Tell whether this process may make files another user's (CAP_CHOWN, bit 0)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    effective = next((line for line in status.splitlines() if line.startswith("CapEff:")), ":0")
    return os.geteuid() == 0 and int(effective.partition(":")[2], 16) & 1 == 1


def _add_places(root: Path) -> None:
    """Make the places that a container needs, for its root may be read-only later."""
    with Inside(root) as inside:
        for place in _PLACES:
            try:
                os.close(inside.open_folder(place.split("/"), create=True))
            except OSError:
                continue  # something else stands there, and then nothing is mounted on it
        for file in _FILES:
            try:
                os.close(inside.open_file(file, os.O_WRONLY | os.O_CREAT))
            except OSError:
                continue


def _make_durable(folder: Path) -> None:
    """Write everything of the folder's file system to the disk, before a rename says it is there.

    Source: https://man7.org/linux/man-pages/man2/syncfs.2.html
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        ctypes.CDLL(None).syncfs(handle)
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _explained(error: OSError, where: Path) -> EnvsyncError:
    detail = f"{error.filename or where}: {error.strerror or error}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Unavailable(
            "no space left for the unpacked image",
            detail=f"{detail}. What was being written has been removed.",
            hint="Free some space, or choose another folder with ENVSYNC_CACHE_DIR.",
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return NotAllowed("the cache cannot be written", detail=detail)
    return Unavailable("the image cannot be unpacked", detail=detail)

"""What builds keep on this machine: segments, inventories of packages, what layers came to.

Everything is written aside and renamed, so that processes can share the folder; a segment is there
when its note is, which is written last. Notes carry their own hash: one that was damaged is as good
as not there. `envsync.adapters.building.cache_folder` bounds and verifies the folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from envsync.adapters.building.conda_archive import write_all
from envsync.errors import Unavailable
from envsync.model.canonical import sha256_hex
from envsync.model.definition import PackageIdentity
from envsync.oci.codec import Codec
from envsync.oci.descriptor import Descriptor
from envsync.oci.inventory import Inventory
from envsync.oci.layer import Packed, WrittenLayer
from envsync.ports.builder import StoredSegment

SEGMENTS, INVENTORIES, LAYERS = "segments", "inventories", "layers"
NOTE = ".json"


class BuildCacheFolder:
    """A `envsync.ports.builder.BuildCache` below *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def inventory(self, package: PackageIdentity, key: str) -> Inventory | None:
        """Return the inventory kept under a segment's key."""
        document = read_note(self._path(INVENTORIES, key))
        if document is None:
            return None
        try:
            return Inventory.parse(package, document)
        except (KeyError, TypeError, ValueError):
            return None

    def keep_inventory(self, key: str, inventory: Inventory) -> None:
        """Keep an inventory."""
        self._note(self._path(INVENTORIES, key), inventory.document())

    def layer(self, key: str, codec: Codec) -> WrittenLayer | None:
        """Return what is known of the layer with this key."""
        document = read_note(self._path(LAYERS, key))
        if document is None:
            return None
        try:
            found = WrittenLayer.parse(Descriptor.parse(document), codec)
        except ValueError:
            return None
        return found if found is not None and found.key == key else None

    def keep_layer(self, layer: WrittenLayer) -> None:
        """Keep what is known of a layer."""
        self._note(self._path(LAYERS, layer.key), layer.annotated().document())

    def segment(self, key: str) -> StoredSegment | None:
        """Return the segment with this key; it counts as used now."""
        path = self._path(SEGMENTS, key)
        document = read_note(path.with_name(path.name + NOTE))
        if document is None:
            return None
        try:
            packed = Packed(
                size=document["size"],
                head_size=document["head_size"],
                head_sha256=document["head_sha256"],
            )
            # When it was used last decides what is removed first when the cache is full.
            os.utime(path)
            if path.stat().st_size != packed.size:
                return None
        except (KeyError, OSError):
            return None
        return StoredSegment(packed=packed, sha256=document["sha256"], open=lambda: _opened(path))

    @contextmanager
    def writing(self, key: str) -> Iterator[_Writer]:
        """Write a segment; see the port."""
        path = self._path(SEGMENTS, key)
        with _disk(self._folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        aside = Path(name)
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                writer = _Writer(file, self._folder)
                yield writer
            with _disk(self._folder):
                aside.replace(path)
            self._note(path.with_name(path.name + NOTE), writer.note())
        finally:
            aside.unlink(missing_ok=True)

    def forget(self, key: str) -> None:
        """Remove a segment that turned out to be damaged."""
        path = self._path(SEGMENTS, key)
        for file in (path.with_name(path.name + NOTE), path):
            with suppress(OSError):
                file.unlink(missing_ok=True)

    def _path(self, kind: str, key: str) -> Path:
        return self._folder / kind / key[:2] / key

    def _note(self, path: Path, document: Mapping[str, Any]) -> None:
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        with _disk(self._folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
            aside = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(sha256_hex(text).encode() + b"\n" + text)
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)


class _Writer:
    """Writes a segment's bytes and says what they came to."""

    def __init__(self, file: BinaryIO, folder: Path) -> None:
        self._file = file
        self._folder = folder
        self._all = hashlib.sha256()
        self._head = hashlib.sha256()
        self._size = 0
        self._head_size = 0

    def write(self, data: bytes, *, head: bool) -> None:
        """Append bytes."""
        with _disk(self._folder):
            write_all(self._file, data)
        self._all.update(data)
        self._size += len(data)
        if head:
            self._head.update(data)
            self._head_size += len(data)

    def note(self) -> dict[str, Any]:
        """Return what is kept beside the bytes."""
        return {
            "size": self._size,
            "sha256": self._all.hexdigest(),
            "head_size": self._head_size,
            "head_sha256": self._head.hexdigest(),
        }


def read_note(path: Path) -> dict[str, Any] | None:
    """Return a note; None when it is not there or damaged."""
    try:
        digest, _, text = path.read_bytes().partition(b"\n")
        document = json.loads(text) if sha256_hex(text).encode() == digest else None
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        yield file


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise Unavailable(
            "the disk is full" if full else f"the cache folder {folder} cannot be written",
            detail=f"A package's layer did not fit into {folder}." if full else str(error),
            hint="Free some space, or choose another cache folder:\n    export ENVSYNC_CACHE_DIR=…",
        ) from error

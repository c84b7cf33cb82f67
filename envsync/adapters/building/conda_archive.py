"""Archives of conda packages, decoded as a stream, without unpacking them into files.

A ``.conda`` file is a zip of two zstd-compressed archives, the package's description and its files;
a ``.tar.bz2`` has both in one. What is decoded is held in memory, and beyond a limit in a file
without a name, so that members can be read in any order.
Source: https://docs.conda.io/projects/conda/en/stable/user-guide/concepts/packages.html
"""

from __future__ import annotations

import bz2
import errno
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import zstandard

from envsync.adapters.building.tar_index import BrokenTar, TarIndex, TarMember
from envsync.errors import Unavailable

_CHUNK = 1 << 20
_MEMORY = 32 << 20
"""Bytes of one package that are held in memory."""
_ANY_RATIO = 1 << 30
_RATIO = 200
_WINDOW = 1 << 27
"""Bytes that a decoder may look back: what the strongest compression of packages uses."""
_INFO_MAX = 256 << 20

BROKEN = (
    *(zipfile.BadZipFile, zstandard.ZstdError, BrokenTar, EOFError, KeyError, ValueError),
    *(NotImplementedError, RuntimeError, OSError),
)
"""What a damaged or hostile archive makes its readers raise."""


class Decoded:
    """An archive's members and their contents, as long as its context lasts."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self._size = 0
        self.members: dict[str, TarMember] = {}

    def add(self, chunks: Iterator[bytes], limit: int) -> None:
        """Take an uncompressed archive of at most *limit* bytes; its members join the others."""
        index = TarIndex()
        base = self._size
        for chunk in chunks:
            if self._size + len(chunk) > limit:
                raise BrokenTar(f"it would unpack to more than {limit} bytes")
            index.feed(chunk)
            self._keep(chunk)
        index.finish()
        for member in index.members.values():
            member.offset += base
        self.members |= index.members

    def read(self, member: TarMember) -> Iterator[bytes]:
        """Yield the content of a file in chunks."""
        position, end = member.offset, member.offset + member.size
        while position < end:
            amount = min(_CHUNK, end - position)
            if self._file is None:
                data = bytes(memoryview(self._memory)[position : position + amount])
            else:
                data = os.pread(self._file.fileno(), amount, position)
            if not data:
                raise BrokenTar("it ends in the middle of a member")
            yield data
            position += len(data)

    def whole(self, member: TarMember) -> bytes:
        """Return the content of a file."""
        return b"".join(self.read(member))

    def close(self) -> None:
        """Give memory and disk back."""
        if self._file is not None:
            self._file.close()
        self._memory = bytearray()

    def _keep(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._file is not None:
            write_all(self._file, chunk)
            return
        self._memory += chunk
        if len(self._memory) > _MEMORY:
            # No buffer: what is read by position must be there.
            self._file = tempfile.TemporaryFile(dir=self._scratch, buffering=0)  # noqa: SIM115
            write_all(self._file, self._memory)
            self._memory = bytearray()


def read_description(path: Path) -> Mapping[str, bytes] | None:
    """Return the files below ``info/`` of a ``.conda`` archive, by their whole names.

    None for an archive whose description cannot be read without decoding all of it. Raises one of
    `BROKEN`.
    """
    if path.suffix != ".conda":
        return None
    decoded = Decoded(path.parent)
    try:
        with zipfile.ZipFile(path) as archive:
            decoded.add(_part(archive, "info-"), min(_INFO_MAX, _limit(path)))
        return described(decoded)
    finally:
        decoded.close()


def described(decoded: Decoded) -> Mapping[str, bytes]:
    """Return the files below ``info/`` that installers read."""
    return {
        name: decoded.whole(member)
        for name, member in decoded.members.items()
        if name in _READ and member.kind == "file"
    }


_READ = frozenset(
    f"info/{name}"
    for name in ("index.json", "paths.json", "files", "has_prefix", "no_link", "link.json")
)


@contextmanager
def decode(path: Path, scratch: Path) -> Iterator[Decoded]:
    """Decode an archive; what does not fit into memory goes to a file in *scratch*.

    Raises one of `BROKEN`, or Unavailable when the disk is full.
    """
    decoded = Decoded(scratch)
    try:
        try:
            _fill(decoded, path)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise Unavailable(
                "the disk is full",
                detail=f"There was no room to unpack {path.name}.",
                hint="Free some space, or choose another cache folder.",
            ) from error
        yield decoded
    finally:
        decoded.close()


def _fill(decoded: Decoded, path: Path) -> None:
    limit = _limit(path)
    if path.suffix == ".conda":
        with zipfile.ZipFile(path) as archive:
            decoded.add(_part(archive, "info-"), limit)
            decoded.add(_part(archive, "pkg-"), limit)
        return
    with bz2.open(path) as stream:
        decoded.add(iter(lambda: stream.read(_CHUNK), b""), limit)


def _limit(path: Path) -> int:
    return max(_ANY_RATIO, path.stat().st_size * _RATIO)


def _part(archive: zipfile.ZipFile, prefix: str) -> Iterator[bytes]:
    names = [n for n in archive.namelist() if n.startswith(prefix) and n.endswith(".tar.zst")]
    if len(names) != 1:
        raise BrokenTar(f"it has {len(names)} parts {prefix}*.tar.zst, and one is expected")
    decoder = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    with (
        archive.open(names[0]) as packed,
        decoder.stream_reader(packed, read_size=_CHUNK, read_across_frames=True) as stream,
    ):
        while chunk := stream.read(_CHUNK):
            yield chunk


def write_all(file: BinaryIO, data: bytes | bytearray) -> None:
    """Write all of *data* to a file without a buffer."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]

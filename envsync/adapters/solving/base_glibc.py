"""Which C library a base image has, read from its layers as far as needed.

The version is in the library itself (glibc 2.34 and newer keep it at ``libc.so.6``) or in the name
that the link ``libc.so.6`` leads to (``libc-2.31.so``). Answers are kept by manifest digest.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from envsync.errors import InvalidInput, Unavailable
from envsync.oci.descriptor import Descriptor, RawManifest
from envsync.ports.registry import RegistryReader

_LIBC = re.compile(r"(?:.*/)?libc\.so\.6")
_VERSIONED = re.compile(r"(?:.*/)?libc-(2\.\d+)\.so")
_MUSL = re.compile(r"(?:.*/)?ld-musl-[\w-]+\.so\.1")
_BANNER = re.compile(rb"GNU C Library[^\0\n]{0,100}release version (2\.\d+)")
_LIBRARY_MAX = 16 << 20
_LAYER_MAX = 4 << 30
_NONE = ""


class BaseGlibc:
    """Finds the glibc of base images; *cache* is a folder for what was found."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def find(self, registry: RegistryReader, repository: str, manifest: RawManifest) -> str:
        """Return the glibc version in an image, such as 2.36; '' when it has none (musl).

        Layers are read from the bottom until one has a C library. Raises Unavailable or NotAllowed
        when a layer cannot be read, InvalidInput when its format is not known.
        """
        kept = self._cache / f"{manifest.digest.removeprefix('sha256:')}.json"
        try:
            return str(json.loads(kept.read_text(encoding="utf-8"))["glibc"])
        except (OSError, ValueError, KeyError, TypeError):
            # Not there, or not whole: find it again.
            pass
        found = self._search(registry, repository, manifest)
        self._keep(kept, found)
        return found

    def _search(self, registry: RegistryReader, repository: str, manifest: RawManifest) -> str:
        try:
            layers = manifest.listed("layers")
        except ValueError as error:
            raise Unavailable(
                "The base image's manifest makes no sense", detail=str(error)
            ) from error
        for layer in layers:
            with registry.blob(repository, layer) as chunks:
                found = _in_layer(_Chunks(_plain(chunks, layer)))
                # To the end, for only there the digest is verified.
                for _ in chunks:
                    pass
            if found is not None:
                return found
        return _NONE

    def _keep(self, path: Path, version: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"glibc": version}, file)
        Path(aside).replace(path)


class _Chunks:
    """An iterator of bytes as the file that tarfile reads."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest += chunk
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def _plain(chunks: Iterator[bytes], layer: Descriptor) -> Iterator[bytes]:
    """Decompress a layer: gzip members one after another, or a plain tar."""
    first = next(chunks, b"")
    if first.startswith(b"\x28\xb5\x2f\xfd"):
        raise InvalidInput(
            "The base image has zstd layers, which cannot be searched for its C library",
            detail=layer.digest,
            hint="Say which glibc it has:\nenvsync:\n  virtual_packages:\n    __glibc: '2.36'",
        )
    total = 0
    for piece in _gunzip(first, chunks) if first.startswith(b"\x1f\x8b") else _all(first, chunks):
        total += len(piece)
        if total > _LAYER_MAX:
            raise InvalidInput("A layer of the base image is too large", detail=layer.digest)
        yield piece


def _all(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _gunzip(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=31)
    for chunk in _all(first, rest):
        pending = chunk
        while pending:
            if decoder.eof:
                decoder = zlib.decompressobj(wbits=31)
            try:
                plain = decoder.decompress(pending, 1 << 20)
            except zlib.error as error:
                raise Unavailable(
                    "A layer of the base image is damaged", detail=str(error)
                ) from error
            if plain:
                yield plain
            pending = decoder.unused_data if decoder.eof else decoder.unconsumed_tail


def _in_layer(source: _Chunks) -> str | None:
    """Return the version in one layer, '' for musl, None when it has no C library."""
    musl = False
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", source), mode="r|") as archive:
            for member in archive:
                if found := _version(archive, member):
                    return found
                musl = musl or _MUSL.fullmatch(member.name) is not None
    except tarfile.TarError as error:
        raise Unavailable("A layer of the base image is damaged", detail=str(error)) from error
    return _NONE if musl else None


def _version(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    if named := _VERSIONED.fullmatch(member.name):
        return named.group(1)
    if not _LIBC.fullmatch(member.name):
        return ""
    if member.issym() or member.islnk():
        target = _VERSIONED.fullmatch(member.linkname)
        return target.group(1) if target else ""
    file = archive.extractfile(member)
    banner = _BANNER.search(file.read(_LIBRARY_MAX)) if file else None
    return banner.group(1).decode() if banner else ""

"""Gzip members, framed by ourselves around libdeflate's output.

The header is ten constant bytes. The compressor's bytes are part of the image format: libdeflate
gives the same bytes on every CPU, the system's zlib does not, so the wheel that brings it is pinned
exactly in pyproject.toml, and golden tests pin its output.
Source: https://www.rfc-editor.org/rfc/rfc1952
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import deflate

MEMBER = 1 << 20
"""Bytes of uncompressed stream per member. Cutting at 1 MiB costs 0.2 % of size against 4 MiB and
leaves enough members to keep all cores busy with a single large package."""

LEVEL = 3
"""libdeflate's level; docs/decisions/0001-compressor.md has the measurement."""

# Magic, method deflate, no flags, no time, no extra flags, operating system unknown.
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def member(data: bytes) -> bytes:
    """Return *data* (at most 4 GiB) as one complete gzip member. Releases the interpreter lock."""
    return b"".join(
        (
            _HEADER,
            deflate.deflate_compress(data, LEVEL),
            struct.pack("<II", deflate.crc32(data), len(data)),
        )
    )


def cut(stream: Iterable[bytes], size: int = MEMBER) -> Iterator[bytes]:
    """Yield the bytes of *stream* in pieces of exactly *size*, the last one shorter."""
    parts: list[bytes] = []
    have = 0
    for chunk in stream:
        view = memoryview(chunk)
        while have + len(view) >= size:
            take = size - have
            parts.append(bytes(view[:take]))
            yield b"".join(parts)
            parts, have, view = [], 0, view[take:]
        if view:
            parts.append(bytes(view))
            have += len(view)
    if parts:
        yield b"".join(parts)

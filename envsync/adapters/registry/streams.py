"""Bytes on their way to and from registries: counted, hashed, and refused when they differ."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from envsync.errors import Unavailable
from envsync.oci.descriptor import Descriptor

CHUNK = 1 << 18
"""Bytes that are read at a time: large enough to be cheap, small enough for many threads."""

Content = Callable[[], AbstractContextManager[BinaryIO | Iterator[bytes]]]
"""How to read something to upload, from its start, as often as needed."""


class Differs(Unavailable):
    """Bytes are not what their descriptor says."""


def read_chunks(source: BinaryIO) -> Iterator[bytes]:
    """Yield a file's bytes in chunks."""
    while chunk := source.read(CHUNK):
        yield chunk


def verified(chunks: Iterable[bytes], descriptor: Descriptor, origin: str) -> Iterator[bytes]:
    """Yield *chunks*; Differs when they are not what *descriptor* says.

    A stream that is too long ends before its surplus is given on; a wrong digest shows at the end.
    """
    digest = hashlib.sha256()
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > descriptor.size:
            raise _differs(descriptor, origin, f"it has more than {descriptor.size} bytes")
        digest.update(chunk)
        yield chunk
    if size < descriptor.size:
        raise _differs(descriptor, origin, f"it has {size} of {descriptor.size} bytes")
    if (found := f"sha256:{digest.hexdigest()}") != descriptor.digest:
        raise _differs(descriptor, origin, f"its bytes have the digest {found}")


def outgoing(
    content: BinaryIO | Iterator[bytes],
    descriptor: Descriptor,
    sent: Callable[[int], None] | None = None,
) -> Iterator[bytes]:
    """Yield what to upload, verified; *sent* hears the size of each chunk that was taken."""
    # Open files are iterators too, over lines.
    read = getattr(content, "read", None)
    chunks = iter(lambda: read(CHUNK), b"") if read else content
    for chunk in verified(chunks, descriptor, "what was to be uploaded"):
        yield chunk
        if sent is not None:
            sent(len(chunk))


def _differs(descriptor: Descriptor, origin: str, how: str) -> Differs:
    return Differs(
        f"{descriptor.digest} is damaged",
        detail=f"In {origin} {how}.",
        hint="Try again; if it stays so, the stored bytes are damaged and must be replaced.",
    )

"""zstd frames, one a piece. Like libdeflate, the library is pinned exactly: its bytes are part of
the image format. libzstd gives the same bytes on every processor.
Source: https://www.rfc-editor.org/rfc/rfc8878
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import zstandard

LEVEL = 3

_LOCAL = threading.local()


def member(data: bytes) -> bytes:
    """Return *data* as one complete frame with its size. Releases the interpreter lock."""
    compressor = getattr(_LOCAL, "compressor", None)
    if compressor is None:
        # A compressor is a piece of memory that only one thread at a time may use.
        compressor = _LOCAL.compressor = zstandard.ZstdCompressor(level=LEVEL, threads=0)
    packed: bytes = compressor.compress(data)
    return packed


def expand(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the content of concatenated frames; ValueError when broken."""
    decoder = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)
    try:
        for chunk in chunks:
            if data := decoder.decompress(chunk):
                yield data
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if decoder.unused_data:
        raise ValueError("more follows the last frame")

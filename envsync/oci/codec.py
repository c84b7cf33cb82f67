"""Codecs: how layers are compressed. Their bytes are part of the image format.

gzip is read by every engine. zstd makes layers smaller and is unpacked faster, and Docker before 23
cannot read it, so that a registry's users choose it.
Source: https://github.com/opencontainers/image-spec/blob/main/layer.md#zstd-media-types
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from envsync.model.config import Compression
from envsync.oci import gzip, zstd
from envsync.oci.descriptor import LAYER_GZIP, LAYER_ZSTD
from envsync.oci.overlay import gunzip


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """A way to compress pieces each for itself, such that what comes out can be concatenated."""

    name: Compression
    media_type: str
    """Of layers."""
    member: Callable[[bytes], bytes]
    """Compresses one piece; releases the interpreter lock."""
    expand: Callable[[Iterator[bytes]], Iterator[bytes]]
    """Yields the content of concatenated members; ValueError when they are broken."""

    @property
    def mark(self) -> Mapping[str, str]:
        """What keys say of the codec: nothing for the one that is not chosen."""
        return {} if self.name == "gzip" else {"codec": self.name}


GZIP = Codec(name="gzip", media_type=LAYER_GZIP, member=gzip.member, expand=gunzip)
ZSTD = Codec(name="zstd", media_type=LAYER_ZSTD, member=zstd.member, expand=zstd.expand)
CODECS: Mapping[Compression, Codec] = {"gzip": GZIP, "zstd": ZSTD}

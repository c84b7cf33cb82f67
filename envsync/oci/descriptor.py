"""Descriptors, raw manifests and media types of the OCI image specification.

Source: https://github.com/opencontainers/image-spec/blob/main/descriptor.md
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envsync.model.canonical import Json
from envsync.model.json_text import read_json

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

INDEXES = frozenset({INDEX, DOCKER_LIST})
MANIFESTS = frozenset({MANIFEST, DOCKER_MANIFEST})

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Tell whether *text* is a ``sha256:…`` digest, the only algorithm envsync reads."""
    return _DIGEST.fullmatch(text) is not None


def digest_of(data: bytes) -> str:
    """Return the ``sha256:…`` digest of *data*."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a manifest says of a piece of content: its type, digest and size in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)
    """``{"os": …, "architecture": …}`` for the children of an index."""

    def document(self) -> dict[str, Json]:
        """Return the descriptor as it stands in a manifest."""
        document: dict[str, Json] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.platform:
            document["platform"] = dict(self.platform)
        return document

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Descriptor:
        """Read a descriptor; ValueError when it is not one."""
        try:
            descriptor = cls(
                media_type=str(document.get("mediaType", "")),
                digest=str(document["digest"]),
                size=document["size"],
                annotations={str(k): str(v) for k, v in document.get("annotations", {}).items()},
                platform={
                    str(k): str(v)
                    for k, v in document.get("platform", {}).items()
                    if isinstance(v, str)
                },
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a descriptor: {error!r}") from error
        if not is_digest(descriptor.digest):
            raise ValueError(f"not a descriptor: digest {descriptor.digest!r}")
        if type(descriptor.size) is not int or not 0 <= descriptor.size < 1 << 63:
            raise ValueError(f"not a descriptor: size {str(descriptor.size)[:30]}")
        return descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class RawManifest:
    """A manifest or index as the bytes that its digest was taken over; never re-serialised."""

    media_type: str
    body: bytes

    @property
    def digest(self) -> str:
        """The ``sha256:…`` digest of the bytes."""
        return digest_of(self.body)

    @property
    def descriptor(self) -> Descriptor:
        """The manifest as a descriptor."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.body))

    def document(self) -> dict[str, Any]:
        """Return the parsed JSON; ValueError when it is not a JSON object."""
        document = read_json(self.body)
        if not isinstance(document, dict):
            raise ValueError("a manifest must be a JSON object")
        return document

    def listed(self, key: str) -> tuple[Descriptor, ...]:
        """Return the descriptors under *key*, such as its layers; ValueError when it is no list."""
        entries = self.document().get(key, [])
        if not isinstance(entries, list):
            raise ValueError(f"the {key} of a manifest must be a list")
        return tuple(map(Descriptor.parse, entries))

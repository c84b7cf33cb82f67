"""Tiny images made by hand, to be put into registries."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import BinaryIO

from envsync.oci.descriptor import (
    CONFIG,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    RawManifest,
    digest_of,
)
from envsync.ports.registry import RegistryWriter


def content(data: bytes) -> Callable[[], AbstractContextManager[BinaryIO | Iterator[bytes]]]:
    """Return what `put_blob` reads from."""
    return lambda: nullcontext(io.BytesIO(data))


def blob(data: bytes, media_type: str = LAYER_GZIP) -> Descriptor:
    """Describe bytes."""
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of one file, its blobs in memory."""

    manifest: RawManifest
    layer: bytes
    config: bytes

    def put(self, registry: RegistryWriter, repository: str, *references: str) -> None:
        """Put what a registry does not have of the image into it."""
        for data, kind in ((self.layer, LAYER_GZIP), (self.config, CONFIG)):
            if not registry.has_blob(repository, digest_of(data)):
                registry.put_blob(repository, blob(data, kind), content(data))
        for reference in references or (self.manifest.digest,):
            registry.put_manifest(repository, reference, self.manifest)


def image(text: str, architecture: str = "amd64") -> Image:
    """Make an image whose only file, ``hello``, holds a text."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        member = tarfile.TarInfo("hello")
        member.size = len(text.encode())
        archive.addfile(member, io.BytesIO(text.encode()))
    layer = gzip.compress(raw.getvalue(), mtime=0)
    document = {
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(raw.getvalue())]},
    }
    config = json.dumps(document).encode()
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob(config, CONFIG).document(),
        "layers": [blob(layer).document()],
    }
    manifest = RawManifest(media_type=MANIFEST, body=json.dumps(body).encode())
    return Image(manifest=manifest, layer=layer, config=config)


def index(*images: tuple[Image, str]) -> RawManifest:
    """Make an index of images and their architectures."""
    children = [
        {**child.manifest.descriptor.document(), "platform": {"os": "linux", "architecture": arch}}
        for child, arch in images
    ]
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": children}
    return RawManifest(media_type=INDEX, body=json.dumps(body).encode())

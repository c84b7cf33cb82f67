"""Manifests and indexes, written once as canonical JSON and never serialised again.

Sources: https://github.com/opencontainers/image-spec/blob/main/manifest.md and image-index.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envsync.errors import InvalidInput
from envsync.model.canonical import Json, canonical_json
from envsync.oci.descriptor import (
    CONFIG,
    DOCKER_LAYER_GZIP,
    INDEX,
    LAYER_GZIP,
    LAYER_ZSTD,
    MANIFEST,
    Descriptor,
    RawManifest,
    digest_of,
)

LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"

_LAYER_TYPES = {
    LAYER_TAR: LAYER_TAR,
    LAYER_GZIP: LAYER_GZIP,
    LAYER_ZSTD: LAYER_ZSTD,
    "application/vnd.docker.image.rootfs.diff.tar": LAYER_TAR,
    DOCKER_LAYER_GZIP: LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": LAYER_ZSTD,
}
"""Media type of a base's layer to what it is in our manifest; the bytes stay the same."""


def adopted_layer(descriptor: Descriptor) -> Descriptor:
    """Return a base image's layer as it stands in our manifest, with OCI's media type.

    Raises InvalidInput for layers that may not be copied (foreign, non-distributable) and for
    unknown ones.
    """
    media_type = _LAYER_TYPES.get(descriptor.media_type)
    if media_type is None:
        kind = descriptor.media_type or "no media type"
        foreign = "foreign" in kind or "nondistributable" in kind
        raise InvalidInput(
            "the base image has a layer that cannot be used",
            detail=f"Layer {descriptor.digest} is {kind}"
            + (", which its publisher does not allow to be copied to other registries."
               if foreign else ", which is not a layer format that envsync knows."),
            hint="Choose another base image.",
        )  # fmt: skip
    return Descriptor(media_type=media_type, digest=descriptor.digest, size=descriptor.size)


def render_manifest(
    config: bytes, layers: Sequence[Descriptor], annotations: Mapping[str, str]
) -> RawManifest:
    """Return the manifest of one platform's image."""
    document: dict[str, Json] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config_descriptor(config).document(),
        "layers": [layer.document() for layer in layers],
        "annotations": dict(annotations),
    }
    return RawManifest(media_type=MANIFEST, body=canonical_json(document))


def config_descriptor(config: bytes) -> Descriptor:
    """Return the descriptor of a config."""
    return Descriptor(media_type=CONFIG, digest=digest_of(config), size=len(config))


def render_index(
    manifests: Sequence[tuple[Mapping[str, str], RawManifest]], annotations: Mapping[str, str]
) -> RawManifest:
    """Return the index of (platform, manifest) pairs, in the order given."""
    document: dict[str, Json] = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            Descriptor(
                media_type=manifest.media_type,
                digest=manifest.digest,
                size=len(manifest.body),
                platform=platform,
            ).document()
            for platform, manifest in manifests
        ],
        "annotations": dict(annotations),
    }
    return RawManifest(media_type=INDEX, body=canonical_json(document))

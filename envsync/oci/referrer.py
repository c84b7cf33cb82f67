"""Artifacts that refer to an image, and the list that a registry without an API for it keeps.

Source: https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidelines-for-artifact-usage
and https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from envsync.model.canonical import Json, canonical_json
from envsync.oci.descriptor import INDEX, MANIFEST, Descriptor, RawManifest, digest_of

_NOTHING = b"{}"
EMPTY = Descriptor(
    media_type="application/vnd.oci.empty.v1+json", digest=digest_of(_NOTHING), size=len(_NOTHING)
)
"""The config of an artifact that has none."""


@dataclass(frozen=True, kw_only=True)
class Referrer:
    """One document that refers to an image: a pure function of its fields."""

    subject: Descriptor
    """The manifest or index that it is about."""
    media_type: str
    """Of the document, and the type of the artifact."""
    document: bytes
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def blobs(self) -> Sequence[tuple[Descriptor, bytes]]:
        """What has to be in the repository before the manifest."""
        return ((EMPTY, _NOTHING), (self._layer, self.document))

    @cached_property
    def manifest(self) -> RawManifest:
        """The artifact's manifest."""
        subject = self.subject
        document: dict[str, Json] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": self.media_type,
            "config": EMPTY.document(),
            "layers": [self._layer.document()],
            "subject": {
                "mediaType": subject.media_type,
                "digest": subject.digest,
                "size": subject.size,
            },
        }
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return RawManifest(media_type=MANIFEST, body=canonical_json(document))

    def entry(self) -> dict[str, Json]:
        """Return what a list of referrers says of it."""
        found = {**self.manifest.descriptor.document(), "artifactType": self.media_type}
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        return found

    @cached_property
    def _layer(self) -> Descriptor:
        return Descriptor(
            media_type=self.media_type,
            digest=digest_of(self.document),
            size=len(self.document),
        )


def referrers_tag(digest: str) -> str:
    """Return the tag of the list of what refers to *digest*."""
    return digest.replace(":", "-", 1)


def listed(index: RawManifest | None) -> tuple[str, ...]:
    """Return the digests that a list of referrers names; ValueError when it is no such list."""
    return tuple(Descriptor.parse(entry).digest for entry in _entries(index))


def with_referrers(index: RawManifest | None, referrers: Sequence[Referrer]) -> RawManifest:
    """Return the list with *referrers* in it; what others put there stays as it is.

    Raises ValueError when *index* is no such list.
    """
    entries = _entries(index)
    known = {Descriptor.parse(entry).digest for entry in entries}
    fresh = [one.entry() for one in referrers if one.manifest.digest not in known]
    if index is not None and not fresh:
        return index
    document: Json = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [*entries, *fresh],
    }
    return RawManifest(media_type=INDEX, body=canonical_json(document))


def _entries(index: RawManifest | None) -> list[dict[str, Any]]:
    if index is None:
        return []
    entries = index.document().get("manifests")
    if index.media_type != INDEX or not isinstance(entries, list):
        raise ValueError("it is no image index")
    return entries

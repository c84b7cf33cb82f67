"""Prior images: what the registry holds already, told by the manifests of earlier versions.

Annotations of their layers say what decides a layer's bytes, so an equal layer is neither built nor
uploaded, and what is known of its packages needs no package. A manifest is believed when its digest
is the one that was asked for, and asked for are digests that git has recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from envsync.errors import EnvsyncError
from envsync.model.canonical import sha256_hex
from envsync.model.definition import PackageIdentity
from envsync.model.reading import Present
from envsync.oci.codec import Codec
from envsync.oci.descriptor import INDEXES, Descriptor, RawManifest
from envsync.oci.layer import Member, WrittenLayer
from envsync.operations.parallel import threads
from envsync.ports.registry import RegistryReader

_AT_ONCE = 8
_HEAD_MAX = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSegment:
    """Where a segment stands in a registry."""

    repository: str
    layer: WrittenLayer
    number: int
    """Of the member in the layer."""

    @property
    def member(self) -> Member:
        """What the layer's annotation says of it."""
        return self.layer.members[self.number]


@dataclass(slots=True, kw_only=True)
class Prior:
    """What is known to be in one registry."""

    registry: RegistryReader | None = None
    codec: Codec
    layers: dict[str, WrittenLayer] = field(default_factory=dict)
    """By key."""
    segments: dict[str, PriorSegment] = field(default_factory=dict)
    """By key."""
    packages: dict[PackageIdentity, list[PriorSegment]] = field(default_factory=dict)
    holders: dict[str, list[str]] = field(default_factory=dict)
    """Digest to the repositories whose manifests name it."""

    def add(self, repository: str, manifest: RawManifest) -> None:
        """Take in what a manifest of *repository* says."""
        try:
            document = manifest.document()
            found = [Descriptor.parse(layer) for layer in document["layers"]]
            config = Descriptor.parse(document["config"])
        except (KeyError, TypeError, ValueError):
            return
        for descriptor in (config, *found):
            holders = self.holders.setdefault(descriptor.digest, [])
            if repository not in holders:
                holders.append(repository)
        for descriptor in found:
            layer = WrittenLayer.parse(descriptor, self.codec)
            if layer is None or layer.key in self.layers:
                continue
            self.layers[layer.key] = layer
            for number, member in enumerate(layer.members):
                here = PriorSegment(repository=repository, layer=layer, number=number)
                self.segments.setdefault(member.key, here)
                if member.package is not None:
                    self.packages.setdefault(member.package, []).append(here)

    def head(self, segment: PriorSegment) -> bytes | None:
        """Return the compressed bytes of a segment's head; None when they cannot be had."""
        packed = segment.member.packed
        if self.registry is None or not 0 < packed.head_size <= _HEAD_MAX:
            return None
        try:
            data = self.registry.blob_part(
                segment.repository,
                segment.layer.descriptor,
                segment.layer.offset(segment.number, self.codec),
                packed.head_size,
            )
        except EnvsyncError:
            return None
        return data if sha256_hex(data) == packed.head_sha256 else None


def read_prior(
    registry: RegistryReader,
    images: Iterable[tuple[str, str]],
    codec: Codec,
    enough: Callable[[Prior], bool] = lambda _: False,
) -> Prior:
    """Read what *images*, pairs of repository and digest, hold; those named first count first.

    They are read until *enough* says so. What cannot be read is not known, and costs only work.
    """
    prior = Prior(registry=registry, codec=codec)
    waiting = list(dict.fromkeys(images))
    while waiting and not enough(prior):
        batch, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
        with threads(_AT_ONCE) as pool:
            for found in pool.map(lambda image: _manifests(registry, *image), batch):
                for repository, manifest in found:
                    prior.add(repository, manifest)
    return prior


def _manifests(
    registry: RegistryReader, repository: str, digest: str
) -> Sequence[tuple[str, RawManifest]]:
    top = registry.manifest(repository, digest)
    if not isinstance(top, Present) or top.value.digest != digest:
        return ()
    if top.value.media_type not in INDEXES:
        return ((repository, top.value),)
    found = []
    try:
        children = [Descriptor.parse(child) for child in top.value.document()["manifests"]]
    except (KeyError, TypeError, ValueError):
        return ()
    for child in children:
        reading = registry.manifest(repository, child.digest)
        if isinstance(reading, Present):
            found.append((repository, reading.value))
    return found

"""Locate: from a version, a digest or an image to the one platform's image that can be run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from envsync.errors import InvalidInput
from envsync.model.names import IMAGE_PLATFORMS
from envsync.model.reading import Present, Reading, Unknown
from envsync.model.record import Record
from envsync.model.reference import parse_image_reference
from envsync.oci.descriptor import INDEXES, Descriptor, RawManifest, is_digest
from envsync.oci.run_config import parse_run_config
from envsync.operations.look import Past
from envsync.operations.observe import Registries
from envsync.ports.builder import Blob
from envsync.ports.engine import LocatedImage
from envsync.ports.registry import RegistryReader

_MAX_CONFIG = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an image stands: a registry, a repository in it, and a tag or digest."""

    registry: RegistryReader
    repository: str
    reference: str
    remote: bool
    """Whether a container engine could pull from there."""

    def __str__(self) -> str:
        mark = "@" if is_digest(self.reference) else ":"
        return f"{self.registry.name}/{self.repository}{mark}{self.reference}"


def place_of(past: Past, registries: Registries, record: Record, *, remote: bool) -> Place:
    """Return where a version's image stands: in our registry, or where its spec says.

    *remote* tells whether our registry is one that an engine can pull from.
    """
    repository = registries.repository(record.name)
    own = Place(
        registry=registries.registry,
        repository=repository,
        reference=record.digest,
        remote=remote,
    )
    if record.digest != record.base_digest:
        return own
    # It is an image as it is; whether it was copied depends on the settings of that time.
    if isinstance(own.registry.head(repository, record.digest), Present):
        return own
    _, lock = past.read(record)
    return place_at(registries.source, lock.image.location, record.digest)


def place_at(source: Callable[[str], RegistryReader], image: str, digest: str) -> Place:
    """Return where *digest* of the image that a spec names stands; *source* opens its registry."""
    reference = parse_image_reference(image)
    return Place(
        registry=source(reference.registry),
        repository=reference.repository,
        reference=digest,
        remote=True,
    )


def locate(place: Place, platform: str) -> LocatedImage:
    """Read the image at *place* for *platform*: manifest and config now, layers when needed.

    Raises InvalidInput when it is not there or not for the platform, NotAllowed or Unavailable when
    its registry does not say.
    """
    top = read_manifest(place)
    manifest = top
    if top.media_type in INDEXES:
        digest = _child(place, _children(place, top), platform)
        manifest = read_manifest(replace(place, reference=digest))
    try:
        document = manifest.document()
        config = Descriptor.parse(document["config"])
        layers = [Descriptor.parse(layer) for layer in document["layers"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput("the image cannot be run", detail=f"{place}: {error!r}") from error
    if config.size > _MAX_CONFIG:
        raise InvalidInput("the image cannot be run", detail=f"{place}: its config is too large")
    with place.registry.blob(place.repository, config) as chunks:
        body = b"".join(chunks)
    settings = parse_run_config(body, str(place))
    if settings.platform != platform:
        raise _other_platform(place, [settings.platform], platform)
    pull = f"{place.registry.name}/{place.repository}@{manifest.digest}" if place.remote else ""
    return LocatedImage(
        manifest=manifest,
        config=body,
        settings=settings,
        layers=tuple(_layer(place, layer) for layer in layers),
        pull=pull,
    )


def read_manifest(place: Place) -> RawManifest:
    """Read the manifest or index at *place*, or raise what it means that it cannot be read."""
    return _must(place.registry.manifest(place.repository, place.reference), place)


def _must(reading: Reading[RawManifest], place: Place) -> RawManifest:
    if isinstance(reading, Present):
        return reading.value
    if isinstance(reading, Unknown):
        raise reading.error("the image cannot be read", where=str(place))
    raise InvalidInput(
        "the image is not there",
        detail=f"{place} does not exist.",
        hint="What git records is published again by:\n    envsync apply",
    )


def _children(place: Place, index: RawManifest) -> list[Descriptor]:
    try:
        return [Descriptor.parse(item) for item in index.document()["manifests"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput("the image cannot be run", detail=f"{place}: {error!r}") from error


def _child(place: Place, children: Iterable[Descriptor], platform: str) -> str:
    offered: dict[str, str] = {}
    for child in children:
        system = (child.platform.get("os", ""), child.platform.get("architecture", ""))
        name = next((p for p, s in IMAGE_PLATFORMS.items() if s == system), "/".join(system))
        offered.setdefault(name, child.digest)
    if platform not in offered:
        raise _other_platform(place, sorted(offered), platform)
    return offered[platform]


def _other_platform(place: Place, offered: list[str], platform: str) -> InvalidInput:
    return InvalidInput(
        f"the image is not for {platform}", detail=f"{place} is for {', '.join(offered)}."
    )


def _layer(place: Place, descriptor: Descriptor) -> Blob:
    def read() -> AbstractContextManager[Iterator[bytes]]:
        return place.registry.blob(place.repository, descriptor)

    return Blob(
        descriptor=descriptor,
        open=read,
        registry=place.registry.name,
        repository=place.repository,
    )

"""Base images: from a tag to the digests it means now, and what the image offers to packages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from envsync.errors import InvalidInput, Unavailable
from envsync.model.lock import BasePlatform
from envsync.model.names import IMAGE_PLATFORMS
from envsync.model.reading import Absent, Present, Reading
from envsync.model.reference import ImageReference, parse_image_reference
from envsync.model.spec import SCRATCH
from envsync.oci.descriptor import INDEXES, Descriptor, RawManifest
from envsync.ports.bases import FindGlibc, OpenRegistry
from envsync.ports.registry import RegistryReader

_PLATFORMS = {**IMAGE_PLATFORMS, "win-64": ("windows", "amd64")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a base image means: its digest, and per platform a digest and a glibc."""

    digest: str = ""
    """Of what the reference names, manifest or index; '' for scratch."""
    platforms: Mapping[str, BasePlatform] = field(default_factory=dict)
    source: str = ""
    """Where it is, as an image reference, when it was asked for as an environment."""


def resolve_base(
    image: str,
    platforms: Collection[str],
    *,
    open_registry: OpenRegistry,
    find_glibc: FindGlibc | None,
    digest: str = "",
    known: Mapping[str, BasePlatform] | None = None,
) -> Base:
    """Resolve the base *image* for those of *platforms* that images exist for.

    *digest* asks for what the tag meant earlier instead of now; it must have the platforms that are
    *known* of it. Without *find_glibc* no layer is read. Raises InvalidInput when there is no such
    image or it lacks a platform, NotAllowed or Unavailable when the registry does not say.
    """
    if image == SCRATCH:
        return Base()
    reference = parse_image_reference(image)
    if digest:
        reference = replace(reference, tag="", digest=digest)
    registry = open_registry(reference)
    top = _manifest(registry, reference, reference.reference)
    children = _children(top)
    found = {}
    listed = {top.digest} if children is None else {child.digest for child in children}
    for platform, base in (known or {}).items():
        if base.digest not in listed:
            raise InvalidInput(
                "The lock's base image is not that of its platforms",
                detail=f"{image}: {top.digest} does not have {base.digest} for {platform}",
                hint="Somebody changed the lock by hand. Lock the base anew:\n"
                "    envsync lock --upgrade",
            )
    for platform in platforms:
        if platform not in _PLATFORMS:
            continue
        manifest = _child(registry, reference, top, children, platform)
        wanted = find_glibc if platform in IMAGE_PLATFORMS else None
        found[platform] = BasePlatform(
            digest=manifest.digest,
            glibc=wanted(registry, reference.repository, manifest) if wanted else "",
        )
    return Base(digest=top.digest, platforms=found)


def _manifest(registry: RegistryReader, image: ImageReference, reference: str) -> RawManifest:
    reading: Reading[RawManifest] = registry.manifest(image.repository, reference)
    if isinstance(reading, Present):
        return reading.value
    if isinstance(reading, Absent):
        raise InvalidInput(
            "There is no such base image",
            detail=f"{image.registry} has no {image.repository} {reference}",
        )
    raise reading.error("The base image cannot be read", where=str(image))


def _children(top: RawManifest) -> list[Descriptor] | None:
    """Return what an index lists; None for the manifest of a single image."""
    if top.media_type not in INDEXES:
        return None
    try:
        return list(top.listed("manifests"))
    except ValueError as error:
        raise Unavailable("The base image's index makes no sense", detail=str(error)) from error


def _child(
    registry: RegistryReader,
    image: ImageReference,
    top: RawManifest,
    children: list[Descriptor] | None,
    platform: str,
) -> RawManifest:
    if children is None:
        return _single(registry, image, top, platform)
    system, architecture = _PLATFORMS[platform]
    for child in children:
        named = child.platform.get("os"), child.platform.get("architecture")
        if named == (system, architecture):
            return _manifest(registry, image, child.digest)
    offered = sorted(
        f"{c.platform.get('os')}/{c.platform.get('architecture')}"
        for c in children
        if c.platform.get("os") not in {None, "unknown"}
    )
    raise InvalidInput(
        "The base image does not exist for a platform",
        detail=f"{image} has no {system}/{architecture} for {platform}; it has "
        + ", ".join(dict.fromkeys(offered)),
        hint="Take the platform out of `platforms:`, or choose another base image.",
    )


def _single(
    registry: RegistryReader, image: ImageReference, manifest: RawManifest, platform: str
) -> RawManifest:
    """Check that an image without index is for *platform*, which only its config says."""
    try:
        config = Descriptor.parse(manifest.document()["config"])
    except (ValueError, KeyError) as error:
        raise Unavailable("The base image's manifest makes no sense", detail=str(error)) from error
    with registry.blob(image.repository, config) as chunks:
        body = b"".join(chunks)
    document = RawManifest(media_type=config.media_type, body=body).document()
    found = str(document.get("os")), str(document.get("architecture"))
    if found != _PLATFORMS[platform]:
        raise InvalidInput(
            "The base image does not exist for a platform",
            detail=f"{image} is an image for {'/'.join(found)} only, and the environment is also "
            f"for {platform}",
            hint="Take the platform out of `platforms:`, or choose another base image.",
        )
    return manifest

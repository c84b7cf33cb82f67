"""Building an image from a definition: a pure function of it, without a container engine."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace

from envsync.errors import LockStale
from envsync.model.canonical import hash_json
from envsync.model.definition import (
    FORMAT,
    Definition,
    PackageIdentity,
    PlatformDefinition,
)
from envsync.model.grouping import group, package_layers
from envsync.model.lock import Lock
from envsync.model.names import IMAGE_PLATFORMS
from envsync.model.reference import parse_image_reference
from envsync.oci.activation import (
    ENTRY_POINT,
    SCRIPT,
    SETUP,
    has_scripts,
    package_variables,
    setup_file,
)
from envsync.oci.config import BaseConfig, Settings, marks, parse_base_config, render_config
from envsync.oci.descriptor import RawManifest
from envsync.oci.entry import Entry, file_of, sort_key
from envsync.oci.hiding import HIDING
from envsync.oci.image import config_descriptor, render_index, render_manifest
from envsync.oci.installed import history
from envsync.oci.layer import Layer
from envsync.oci.ownership import HISTORY, resolve
from envsync.oci.segment import Segment
from envsync.operations.base_layers import read_base
from envsync.ports.builder import BaseImage, Blob, BuiltImage, PackageStore, Workspace
from envsync.ports.progress import Progress
from envsync.ports.registry import RegistryReader


@dataclass(frozen=True, slots=True, kw_only=True)
class _Platform:
    """The finished image of one platform."""

    platform: str
    manifest: RawManifest
    blobs: tuple[Blob, ...]


def build(
    definition: Definition,
    lock: Lock,
    store: PackageStore,
    base_reader: RegistryReader | None,
    workspace: Workspace,
    progress: Progress,
    name: str = "",
) -> BuiltImage:
    """Build the image of a ``conda`` definition from its lock.

    *base_reader* reads the registry of the lock's base image; None when that is scratch. *name* is
    the environment's, for *progress* only. Blobs can be read until *workspace* is closed.
    """
    if definition.kind != "conda":
        raise ValueError(f"a {definition.kind} definition is not built from packages")
    platforms = [
        _build_platform(definition, platform, lock, store, base_reader, workspace, progress, name)
        for platform in sorted(definition.platforms, key=_oci_platform)
    ]
    blobs = {blob.descriptor.digest: blob for one in platforms for blob in one.blobs}
    top = platforms[0].manifest
    children: tuple[RawManifest, ...] = ()
    if len(platforms) > 1:
        children = tuple(one.manifest for one in platforms)
        listed = [(_oci_document(one.platform), one.manifest) for one in platforms]
        top = render_index(listed, marks(_settings(definition)))
    progress.done(name, f"built {top.digest}")
    return BuiltImage(
        definition=definition, top=top, children=children, blobs=tuple(blobs.values())
    )


def _oci_document(platform: str) -> dict[str, str]:
    os_name, architecture = IMAGE_PLATFORMS[platform]
    return {"os": os_name, "architecture": architecture}


def _oci_platform(platform: PlatformDefinition) -> tuple[str, str]:
    return IMAGE_PLATFORMS[platform.platform]


def _build_platform(
    definition: Definition,
    platform: PlatformDefinition,
    lock: Lock,
    store: PackageStore,
    base_reader: RegistryReader | None,
    workspace: Workspace,
    progress: Progress,
    name: str,
) -> _Platform:
    packages = lock.packages.get(platform.platform, ())
    if tuple(sorted(map(PackageIdentity.of, packages))) != tuple(sorted(platform.packages)):
        raise LockStale(
            "the lock is not the one of the definition",
            detail=f"Its packages for {platform.platform} are others.",
        )
    base = _base(platform, lock, base_reader)
    base_config = (
        parse_base_config(base.config, platform.platform, len(base.layers))
        if base
        else BaseConfig()
    )
    base_blobs = base.layers if base else ()
    # Before any work: too many layers are refused early.
    hidden = [HIDING] if base_config.has_environment else []
    count = package_layers(len(base_blobs) + len(hidden))
    progress.step(name, f"linking {len(packages)} packages for {platform.platform}")
    staged = store.stage(packages, platform.platform, workspace.staging(platform.platform))
    segments = resolve(staged.packages, staged.python)
    entries = [entry for segment in segments for entry in segment.entries]
    scripts = base is not None and has_scripts(entries)
    layers = [
        *hidden,
        *(Layer(segments=part.packages) for part in group(segments, count)),
        Layer(segments=(_environment(platform, scripts, definition.setup),)),
    ]
    progress.step(name, f"compressing {len(layers)} layers for {platform.platform}")
    written = workspace.write(layers, _counter(progress, name))
    settings = _settings(
        replace(definition, platforms=(platform,)),
        platform=platform.platform,
        base_digest=platform.base_digest,
        variables={**package_variables(entries), **definition.environment_variables},
        entry_point=ENTRY_POINT if scripts else "",
        python=any(package.name == "python" for package in packages),
    )
    config = render_config(base_config, settings, [layer for layer, _ in written])
    manifest = render_manifest(
        config,
        [*(b.descriptor for b in base_blobs), *(layer.annotated() for layer, _ in written)],
        marks(settings),
    )
    return _Platform(
        platform=platform.platform,
        manifest=manifest,
        blobs=(*base_blobs, *(blob for _, blob in written), _config_blob(config)),
    )


def _base(
    platform: PlatformDefinition, lock: Lock, reader: RegistryReader | None
) -> BaseImage | None:
    if not platform.base_digest:
        return None
    if reader is None:
        raise ValueError("a base image needs a reader of its registry")
    repository = parse_image_reference(lock.image.location).repository
    return read_base(reader, repository, platform.base_digest)


def _environment(platform: PlatformDefinition, scripts: bool, setup: str) -> Segment:
    """Return the top layer's segment: what belongs to the environment and to no package."""
    entries: list[Entry] = [file_of(HISTORY, history(platform.packages))]
    if scripts:
        entries.insert(0, file_of(ENTRY_POINT.removeprefix("/"), SCRIPT, executable=True))
    if setup:
        entries.append(file_of(SETUP.removeprefix("/"), setup_file(setup), executable=True))
    described = [package.document() for package in sorted(platform.packages)]
    return Segment(
        key=hash_json(
            {
                "format": FORMAT,
                "packages": described,
                "scripts": scripts,
                **({"setup": setup} if setup else {}),
            }
        ),
        package=None,
        archive_size=0,
        entries=tuple(sorted(entries, key=lambda entry: sort_key(entry.path))),
    )


def _settings(
    definition: Definition,
    *,
    platform: str = "",
    base_digest: str = "",
    variables: Mapping[str, str] | None = None,
    entry_point: str = "",
    python: bool = False,
) -> Settings:
    return Settings(
        platform=platform,
        definition_hash=definition.hash,
        base_digest=base_digest,
        variables=variables or {},
        user=definition.user,
        entry_point=entry_point,
        inference_config=definition.inference_config,
        python=python,
        setup=bool(definition.setup),
    )


def _counter(progress: Progress, name: str) -> Callable[[int], None]:
    return lambda amount: progress.bytes(name, amount)


def _config_blob(config: bytes) -> Blob:
    return Blob(descriptor=config_descriptor(config), open=lambda: nullcontext(io.BytesIO(config)))

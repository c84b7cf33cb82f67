"""Building an image from a definition: a pure function of it, without a container engine.

What the registry has and what this machine made before is used as it is, which changes nothing of
the image: layers are known by what decides their bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from envsync.errors import LockStale
from envsync.model.canonical import hash_json
from envsync.model.definition import (
    FORMAT,
    Definition,
    PackageIdentity,
    PlatformDefinition,
)
from envsync.model.grouping import group, package_layers
from envsync.model.lock import Lock, LockedPackage
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
from envsync.oci.codec import CODECS, Codec
from envsync.oci.config import BaseConfig, Settings, marks, parse_base_config, render_config
from envsync.oci.descriptor import RawManifest
from envsync.oci.entry import File, file_of, sort_key
from envsync.oci.hiding import HIDING, hiding_segment
from envsync.oci.image import config_descriptor, render_index, render_manifest
from envsync.oci.installed import history
from envsync.oci.inventory import Inventory, Python
from envsync.oci.layer import Layer
from envsync.oci.ownership import HISTORY, Owned, resolve
from envsync.oci.segment import Contents, Segment
from envsync.operations.base_layers import read_base
from envsync.operations.describe import Describer
from envsync.operations.make_layers import Bench, LayerMaker
from envsync.operations.press import Source
from envsync.operations.prior import Prior
from envsync.ports.builder import BaseImage, Blob, BuiltImage, Workspace
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
    bench: Bench,
    base_reader: RegistryReader | None,
    workspace: Workspace,
    progress: Progress,
    name: str = "",
    *,
    prior: Prior | None = None,
    ready: Callable[[Blob], object] = lambda _: None,
) -> BuiltImage:
    """Build the image of a ``conda`` definition from its lock.

    *base_reader* reads the registry of the lock's base image; None when that is scratch. *name* is
    the environment's, for *progress* only. *prior* is what the registry has already. *ready* is
    told of each blob as soon as it can be read, from any thread. Blobs can be read until
    *workspace* is closed.
    """
    if definition.kind != "conda":
        raise ValueError(f"a {definition.kind} definition is not built from packages")
    codec = CODECS[definition.compression]
    known = prior if prior is not None and prior.codec is codec else Prior(codec=codec)
    platforms = [
        _Build(
            definition=definition,
            platform=platform,
            lock=lock,
            bench=bench,
            base_reader=base_reader,
            scratch=workspace.staging(platform.platform),
            progress=progress,
            name=name,
            prior=known,
            codec=codec,
            ready=ready,
        ).run()
        for platform in sorted(definition.platforms, key=_oci_platform)
    ]
    blobs = {blob.descriptor.digest: blob for one in platforms for blob in one.blobs}
    top = platforms[0].manifest
    children: tuple[RawManifest, ...] = ()
    if len(platforms) > 1:
        children = tuple(one.manifest for one in platforms)
        listed = [(_oci_document(one.platform), one.manifest) for one in platforms]
        top = render_index(listed, marks(_settings(definition)))
    progress.step(name, f"built {top.digest}")
    return BuiltImage(
        definition=definition, top=top, children=children, blobs=tuple(blobs.values())
    )


def _oci_document(platform: str) -> dict[str, str]:
    os_name, architecture = IMAGE_PLATFORMS[platform]
    return {"os": os_name, "architecture": architecture}


def _oci_platform(platform: PlatformDefinition) -> tuple[str, str]:
    return IMAGE_PLATFORMS[platform.platform]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Build:
    """The build of one platform."""

    definition: Definition
    platform: PlatformDefinition
    lock: Lock
    bench: Bench
    base_reader: RegistryReader | None
    scratch: Path
    progress: Progress
    name: str
    prior: Prior
    codec: Codec
    ready: Callable[[Blob], object]

    def run(self) -> _Platform:
        """Build it."""
        packages = self._packages()
        base = self._base()
        base_config = (
            parse_base_config(base.config, self.platform.platform, len(base.layers))
            if base
            else BaseConfig()
        )
        base_blobs = base.layers if base else ()
        # Before any work: too many layers are refused early.
        hidden = 1 if base_config.has_environment else 0
        count = package_layers(len(base_blobs) + hidden)
        for blob in base_blobs:
            self.ready(blob)
        self.progress.step(self.name, f"reading {len(packages)} packages for {self._where}")
        inventories, python = self._describer().describe(packages)
        self.bench.store.check(inventories)
        owned = self._resolve(inventories, python)
        paths = [path for one in owned for path in one.segment.paths]
        scripts = base is not None and has_scripts(paths)
        top = self._environment(scripts)
        groups = [
            Layer(segments=tuple(one.segment for one in part.packages), codec=self.codec)
            for part in group(owned, count)
        ]
        layers = [
            *([Layer(segments=(hiding_segment(self.codec),), codec=self.codec)] * hidden),
            *groups,
            Layer(segments=(top[0],), codec=self.codec),
        ]
        written = LayerMaker(
            bench=self.bench,
            prior=self.prior,
            codec=self.codec,
            packages=packages,
            source=self._source(packages, python, *top),
            ready=self.ready,
            progress=self.progress,
            name=self.name,
            where=self._where,
        ).make(layers)
        variables = package_variables({k: v for one in owned for k, v in one.variables.items()})
        settings = _settings(
            replace(self.definition, platforms=(self.platform,)),
            platform=self._where,
            base_digest=self.platform.base_digest,
            variables={**variables, **self.definition.environment_variables},
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
            platform=self._where,
            manifest=manifest,
            blobs=(*base_blobs, *(blob for _, blob in written), _config_blob(config)),
        )

    @property
    def _where(self) -> str:
        return self.platform.platform

    def _packages(self) -> tuple[LockedPackage, ...]:
        packages = self.lock.packages.get(self._where, ())
        if tuple(sorted(map(PackageIdentity.of, packages))) != tuple(
            sorted(self.platform.packages)
        ):
            raise LockStale(
                "the lock is not the one of the definition",
                detail=f"Its packages for {self._where} are others.",
            )
        return packages

    def _base(self) -> BaseImage | None:
        if not self.platform.base_digest:
            return None
        if self.base_reader is None:
            raise ValueError("a base image needs a reader of its registry")
        repository = parse_image_reference(self.lock.image.location).repository
        return read_base(self.base_reader, repository, self.platform.base_digest)

    def _describer(self) -> Describer:
        return Describer(
            store=self.bench.store,
            press=self.bench.press,
            prior=self.prior,
            codec=self.codec,
            platform=self._where,
            scratch=self.scratch,
            built=lambda _: None,
        )

    def _resolve(
        self, inventories: Sequence[Inventory], python: Python | None
    ) -> tuple[Owned, ...]:
        conda = [one for one in inventories if one.package.manager == "conda"]
        wheels = [one for one in inventories if one.package.manager == "pip"]
        placed = sum(len(one.paths) for one in conda)
        # Where no path is there twice the order of packages decides nothing.
        if len({path for one in conda for path in one.paths}) < placed:
            conda = list(self.bench.store.order(conda))
        wheels.sort(key=lambda one: one.package.name)
        return resolve([*conda, *wheels], python, self.codec)

    def _environment(self, scripts: bool) -> tuple[Segment, Contents]:
        """Return the top layer's segment: what belongs to the environment and to no package."""
        setup = self.definition.setup
        packages = self.platform.packages
        entries: list[File] = [file_of(HISTORY, history(packages))]
        if scripts:
            entries.append(file_of(ENTRY_POINT.removeprefix("/"), SCRIPT, executable=True))
        if setup:
            entries.append(file_of(SETUP.removeprefix("/"), setup_file(setup), executable=True))
        body = tuple(sorted(entries, key=lambda entry: sort_key(entry.path)))
        segment = Segment(
            key=hash_json(
                {
                    "format": FORMAT,
                    **self.codec.mark,
                    "packages": [package.document() for package in sorted(packages)],
                    "scripts": scripts,
                    **({"setup": setup} if setup else {}),
                }
            ),
            package=None,
            archive_size=0,
            paths=tuple(entry.path for entry in body),
        )
        return segment, Contents(head=(), body=body)

    def _source(
        self,
        packages: Sequence[LockedPackage],
        python: Python | None,
        top: Segment,
        top_contents: Contents,
    ) -> Source:
        locked = {PackageIdentity.of(package): package for package in packages}

        @contextmanager
        def opened(segment: Segment) -> Iterator[Contents]:
            if segment.package is None:
                yield top_contents if segment.key == top.key else HIDING
                return
            package = locked[segment.package]
            excluded = frozenset(segment.excluded)
            self.bench.store.fetch([package])
            with self.bench.store.open(package, python, self._where, excluded, self.scratch) as (
                _,
                contents,
            ):
                yield contents

        return opened


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


def _config_blob(config: bytes) -> Blob:
    return Blob(descriptor=config_descriptor(config), open=lambda: nullcontext(io.BytesIO(config)))

"""The definition: everything that decides the bytes of an image; its hash is the identity.

What does not move the bytes is not in it: the environment's name, version and description, the
wording of the spec, the mirror a package was fetched from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from envsync.model.canonical import Json, hash_json, sha256_hex
from envsync.model.config import Compression
from envsync.model.lock import Lock, LockedPackage, Manager
from envsync.model.names import IMAGE_PLATFORMS, content_tag
from envsync.model.record import Record
from envsync.model.spec import CondaFile, InferenceConfig, Kind, Spec

FORMAT = 2
"""Number of the image format (tar, compression, grouping, config); golden tests pin it."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PackageIdentity:
    """What identifies a package's bytes in an image, whatever mirror it came from."""

    manager: Manager
    name: str
    version: str
    build: str
    subdir: str
    sha256: str

    @classmethod
    def of(cls, package: LockedPackage) -> PackageIdentity:
        """Return the identity of a locked package."""
        return cls(
            manager=package.manager,
            name=package.name,
            version=package.version,
            build=package.build,
            subdir=package.subdir,
            sha256=package.sha256,
        )

    def document(self) -> Json:
        """Return the identity as it is hashed."""
        return {
            "manager": self.manager,
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "subdir": self.subdir,
            "sha256": self.sha256,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformDefinition:
    """What decides the image of one platform."""

    platform: str
    base_digest: str
    """``sha256:…`` of the base's manifest for this platform; '' for scratch."""
    packages: tuple[PackageIdentity, ...] = ()

    def document(self) -> Json:
        """Return the platform's part of the definition as it is hashed."""
        return {
            "base": self.base_digest,
            "packages": [package.document() for package in sorted(self.packages)],
        }


Mode = Literal["file", "executable", "link"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ContextFile:
    """One file of a build context, after the ignore files."""

    path: str
    """Relative to the context."""
    mode: Mode
    sha256: str
    """Of its bytes; for a link, of where it leads."""

    def document(self) -> Json:
        """Return the file as it is hashed."""
        return [self.path, self.mode, self.sha256]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildDefinition:
    """What decides an image that an engine builds from a Dockerfile, as far as git can say it."""

    files: tuple[ContextFile, ...]
    dockerfile_path: str
    dockerfile_sha256: str
    """Of the Dockerfile itself, which counts although an ignore file may leave it out."""
    bases: Mapping[str, str] = field(default_factory=dict)
    """Image as the Dockerfile names it, its variables filled in, to the digest that is used."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Names only: what a secret says never decides what is built."""

    def document(self) -> Json:
        """Return the build as it is hashed."""
        return {
            "files": [file.document() for file in sorted(self.files)],
            "dockerfile_path": self.dockerfile_path,
            "dockerfile": self.dockerfile_sha256,
            "bases": dict(self.bases),
            "arguments": dict(self.arguments),
            "secrets": sorted(self.secrets),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """Everything that decides the bytes of an image."""

    kind: Kind
    format: int = FORMAT
    platforms: tuple[PlatformDefinition, ...] = ()
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    image_digest: str = ""
    """For ``image`` environments: the digest of the image itself, which is used as it is."""
    build: BuildDefinition | None = None
    """For ``build`` environments, which stand on one platform and have no packages of their own."""
    inference_config: InferenceConfig | None = None
    """For ``conda`` environments: what a web service of the image is reached and watched by."""
    setup: str = ""
    """For ``conda`` environments: the script that prepares a node, which is put into the image."""
    interpreter_path: str = ""
    """Of the Python that an image brings by itself."""
    compression: Compression = "gzip"
    """For ``conda`` environments: how layers are compressed."""

    def document(self) -> Json:
        """Return what the definition hash is taken over."""
        document: dict[str, Json] = {
            "kind": self.kind,
            "format": self.format,
            "platforms": {p.platform: p.document() for p in self.platforms},
            "environment_variables": dict(self.environment_variables),
            "user": self.user,
            "image_digest": self.image_digest,
        }
        if self.build is not None:
            document["build"] = self.build.document()
        # Only where there are any, so that what never had them keeps its hash.
        if self.inference_config is not None:
            document["inference_config"] = _routes(self.inference_config)
        if self.setup:
            document["setup"] = self.setup
        if self.interpreter_path:
            document["interpreter_path"] = self.interpreter_path
        if self.compression != "gzip":
            document["compression"] = self.compression
        return document

    @property
    def hash(self) -> str:
        """The definition hash: 64 hexadecimal digits."""
        return hash_json(self.document())

    @property
    def content_tag(self) -> str:
        """The registry tag that says: this definition is completely published."""
        return content_tag(self.hash)


def _routes(config: InferenceConfig) -> Json:
    return {
        name: {"port": route.port, "path": route.path}
        for name, route in (
            ("liveness_route", config.liveness_route),
            ("readiness_route", config.readiness_route),
            ("scoring_route", config.scoring_route),
        )
    }


def definition_of(
    spec: Spec,
    lock: Lock,
    files: tuple[ContextFile, ...] = (),
    compression: Compression = "gzip",
) -> Definition:
    """Return the definition of an environment; *files* are those of its build context.

    *compression* is the repository's setting, which counts where layers are made.

    Platforms that no image can be made for (osx, win) stay in the lock and do not count.
    The lock must cover the spec's platforms; checking that is `envsync.planning.freshness`.
    """
    if spec.kind == "image":
        return Definition(
            kind="image",
            image_digest=lock.image.digest,
            interpreter_path=spec.settings.interpreter_path,
        )
    if spec.build is not None:
        return Definition(
            kind="build",
            platforms=tuple(
                PlatformDefinition(platform=platform, base_digest="")
                for platform in sorted(lock.image.bases)
            ),
            build=BuildDefinition(
                files=files,
                dockerfile_path=spec.build.dockerfile_path,
                dockerfile_sha256=sha256_hex(spec.build.dockerfile.encode()),
                bases={
                    image: digest
                    for locked in lock.image.bases.values()
                    for image, digest in locked.items()
                },
                arguments=spec.settings.build_arguments,
                secrets=spec.settings.build_secrets,
            ),
            interpreter_path=spec.settings.interpreter_path,
        )
    conda = spec.conda or CondaFile()
    return Definition(
        kind="conda",
        platforms=tuple(
            PlatformDefinition(
                platform=platform,
                base_digest=base.digest if (base := lock.image.platforms.get(platform)) else "",
                packages=tuple(sorted(map(PackageIdentity.of, lock.packages[platform]))),
            )
            for platform in lock.platforms
            if platform in IMAGE_PLATFORMS
        ),
        environment_variables={
            **conda.variables,
            **spec.settings.environment_variables,
        },
        user=spec.settings.user,
        inference_config=spec.inference_config,
        setup=spec.settings.setup,
        compression=compression,
    )


def as_recorded(definition: Definition, record: Record) -> Definition:
    """Return the definition of a record's spec and lock with the settings of its time.

    The image format's number and the compression are not in the commit's spec; the record has the
    one, and its hash tells the other.
    """
    found = replace(definition, format=record.format)
    other = replace(found, compression="zstd")
    return other if other.hash == record.definition else found

"""The definition: everything that decides the bytes of an image; its hash is the identity.

What does not move the bytes is not in it: the environment's name, version and description, the
wording of the spec, the mirror a package was fetched from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envsync.model.canonical import Json, hash_json
from envsync.model.lock import Lock, LockedPackage, Manager
from envsync.model.names import IMAGE_PLATFORMS, content_tag
from envsync.model.spec import CondaFile, Kind, Spec

FORMAT = 1
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

    def document(self) -> Json:
        """Return what the definition hash is taken over."""
        return {
            "kind": self.kind,
            "format": self.format,
            "platforms": {p.platform: p.document() for p in self.platforms},
            "environment_variables": dict(self.environment_variables),
            "user": self.user,
            "image_digest": self.image_digest,
        }

    @property
    def hash(self) -> str:
        """The definition hash: 64 hexadecimal digits."""
        return hash_json(self.document())

    @property
    def content_tag(self) -> str:
        """The registry tag that says: this definition is completely published."""
        return content_tag(self.hash)


def definition_of(spec: Spec, lock: Lock) -> Definition:
    """Return the definition of an ``image`` or ``image + conda`` environment.

    Platforms that no image can be made for (osx, win) stay in the lock and do not count.
    The lock must cover the spec's platforms; checking that is `envsync.planning.freshness`.
    """
    if spec.kind == "image":
        return Definition(
            kind="image",
            image_digest=lock.image.digest,
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
    )

"""The lock: exact packages per platform (conda-lock v1) and the base image's digests, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Manager = Literal["conda", "pip"]

LOCK_FILE = "conda-lock.yml"
IMAGE_FILE = "image.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """One package of one platform: where to get it and what its bytes must hash to."""

    manager: Manager
    name: str
    version: str
    platform: str
    """The platform this entry is for, such as linux-64; noarch packages stand once per platform."""
    url: str
    sha256: str
    """64 hexadecimal digits; a lock without it is refused when it is read."""
    md5: str = ""
    build: str = ""
    """Conda build string; empty for wheels."""
    depends: Mapping[str, str] = field(default_factory=dict)
    """Name to version constraint, as conda-lock writes them; virtual packages included."""

    @property
    def file_name(self) -> str:
        """The last part of the URL: ``numpy-2.1.0-py311h1_0.conda``."""
        return self.url.rsplit("/", 1)[-1].split("#", 1)[0].split("?", 1)[0]

    @property
    def subdir(self) -> str:
        """The channel's subdir the package comes from, ``noarch`` or a platform; '' for wheels."""
        return self.url.rsplit("/", 2)[-2] if self.manager == "conda" else ""

    @property
    def channel(self) -> str:
        """The channel's URL; '' for wheels."""
        return self.url.rsplit("/", 2)[0] if self.manager == "conda" else ""

    @property
    def origin(self) -> str:
        """Who offers it: the channel; of a wheel scheme and host, ``file:`` on a disk."""
        if self.manager == "conda":
            return self.channel
        return "file:" if self.url.startswith("file:") else "/".join(self.url.split("/", 3)[:3])


@dataclass(frozen=True, slots=True, kw_only=True)
class BasePlatform:
    """The base image on one platform."""

    digest: str
    """Of the platform's image manifest, ``sha256:…``."""
    glibc: str = ""
    """Version of the C library found in the base, such as 2.36; '' when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLock:
    """``locks/<name>/image.yaml``: what the base image's tag meant when it was locked."""

    request: str
    """Request hash of the spec that was locked: a fast path, and how equal requests are found."""
    image: str
    """The base as written in the spec."""
    source: str = ""
    """Where that is, as an image reference, when `image` names an environment; '' otherwise."""
    digest: str = ""
    """Of what the tag pointed at, manifest or index; '' for scratch."""
    platforms: Mapping[str, BasePlatform] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Archive size in bytes by package file name, for the estimate of bytes to push."""
    licenses: Mapping[str, str] = field(default_factory=dict)
    """By package file name what the channel says of the licence, where it says anything."""
    released: Mapping[str, str] = field(default_factory=dict)
    """By package file name the day of its release, such as 2025-03-31, where the index says it."""
    chosen: str = ""
    """The day on which everything was last chosen anew; only where the policy limits a lock's age,
    for without it a lock says nothing of clocks."""
    conda_lock: str = ""
    """SHA-256 of the conda-lock.yml that this file was written with; '' when there is none."""
    virtual_packages: Mapping[str, str] = field(default_factory=dict)
    """Those of the spec when it was locked."""
    bases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """For a Dockerfile: platform, then image as it is named there, to the digest of its manifest.
    A platform without images stands here too: everything in it may come from the context."""

    @property
    def location(self) -> str:
        """The image reference under which `digest` can be had."""
        return self.source or self.image


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """Everything that ``envsync lock`` wrote for one environment."""

    image: ImageLock
    packages: Mapping[str, tuple[LockedPackage, ...]] = field(default_factory=dict)
    """By platform, sorted by manager and name; empty for ``image`` environments."""
    channels: tuple[str, ...] = ()
    sha256: str = ""
    """Of the bytes of conda-lock.yml followed by those of image.yaml."""
    conda_lock: str = ""
    """SHA-256 of the bytes of conda-lock.yml as they are; differs from `ImageLock.conda_lock` after
    an interrupted write, a merge of two locks, or an edit."""

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms that are locked, sorted."""
        return tuple(sorted(self.packages or self.image.platforms or self.image.bases))

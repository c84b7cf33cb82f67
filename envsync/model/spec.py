"""The spec: what people write in ``environments/<name>/environment.yaml``, as values.

Reading YAML into these values, with faults and positions, is `envsync.model.spec_reader`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SCRATCH = "scratch"
"""``image: scratch`` means that there is no base image."""

Kind = Literal["image", "conda", "build"]
OsType = Literal["linux", "windows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaFile:
    """A conda environment file, or the same inline: packages in the order they were written."""

    channels: tuple[str, ...] = ()
    """As written, without ``nodefaults``; empty means the repository's default channels."""
    nodefaults: bool = False
    dependencies: tuple[str, ...] = ()
    """Conda match specs, as written."""
    pip: tuple[str, ...] = ()
    """Lines of the ``pip:`` section, as written; ``-r`` files stand here with their lines."""
    pip_constraints: tuple[str, ...] = ()
    """Lines of ``-c`` files: they limit versions and ask for nothing."""
    wheels: Mapping[str, str] = field(default_factory=dict)
    """Wheels of the repository: the path as it stands in ``pip`` to the SHA-256 of the file.

    The path is relative to the folder of the file that has the ``pip:`` section, as for pip.
    """
    variables: Mapping[str, str] = field(default_factory=dict)
    """``variables:`` of the conda file: set in the image, as conda sets them on activation."""
    path: str | None = None
    """Repository-relative path of the file; None when it stands inline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """A Docker build context, a folder relative to the repository or a URL, and its Dockerfile."""

    path: str
    dockerfile_path: str = "Dockerfile"
    dockerfile: str = ""
    """The Dockerfile's text; '' where the context is a URL, and before the file is read."""

    @property
    def remote(self) -> bool:
        """Whether the context is a URL, and not a folder of the repository."""
        return "://" in self.path or self.path.startswith("git@")

    @property
    def file(self) -> str:
        """Repository-relative path of the Dockerfile."""
        return posixpath.normpath(posixpath.join(self.path, self.dockerfile_path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A port and a path of a web service."""

    port: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceConfig:
    """How a web service made from the image is reached and watched."""

    liveness_route: Route
    readiness_route: Route
    scoring_route: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """envsync's own settings of one environment, under the key ``envsync:``."""

    platforms: tuple[str, ...] = ()
    """Empty means the repository's platforms."""
    virtual_packages: Mapping[str, str] = field(default_factory=dict)
    """What the machines that run the image provide, such as ``__cuda: "12.4"``."""
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    """``USER`` of the image; empty keeps the base image's."""
    build_arguments: Mapping[str, str] = field(default_factory=dict)
    """Values of the Dockerfile's ``ARG``; they stand in the image's history, so no secrets."""
    build_secrets: tuple[str, ...] = ()
    """Variables of the machine that builds, which ``RUN --mount=type=secret`` may read."""
    build_timeout: int = 3600
    """Seconds after which building from a Dockerfile is stopped."""
    setup: str = ""
    """A script that prepares a node, which ``envsync run`` runs before the command; the image has
    it. '' for none."""
    interpreter_path: str = ""
    """Absolute path of the Python that an image brings by itself; '' where that is not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One environment as its people wrote it."""

    name: str
    path: str
    """Repository-relative path of the environment YAML."""
    version: str | None = None
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    conda: CondaFile | None = None
    build: BuildContext | None = None
    os_type: OsType = "linux"
    inference_config: InferenceConfig | None = None
    settings: Settings = field(default_factory=Settings)

    @property
    def kind(self) -> Kind:
        """Which of the three kinds of environment this is (contract of Azure ML)."""
        if self.build is not None:
            return "build"
        return "image" if self.conda is None else "conda"

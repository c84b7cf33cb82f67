"""An environment as programs see it: what is wanted, and the version that was made of it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envsync.client.conda_dependencies import CondaDependencies
from envsync.model.lock import LockedPackage
from envsync.model.spec import BuildContext, InferenceConfig, OsType, Settings

CondaSource = CondaDependencies | Mapping[str, Any] | str | os.PathLike[str]
"""A conda file: as a value, as its keys and values, or where it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A version that exists: where to pull it, and what it was made from."""

    version: str
    image: str
    """What to write after ``docker pull``; ``oci:`` and a folder without a registry."""
    digest: str
    """``sha256:…`` of the image's manifest or index."""
    commit: str
    created: datetime.datetime
    definition_hash: str
    platforms: tuple[str, ...]
    packages: Mapping[str, tuple[LockedPackage, ...]] = field(default_factory=dict)
    """By platform; empty where envsync installs nothing."""
    archived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One environment, with the nouns of Azure ML's SDK.

    Exactly one of *image* and *build* is given; *conda_file* needs *image*. What is wrong is told
    when it is given to a client, by `envsync.InvalidInput`.
    """

    name: str
    image: str | None = None
    """The image, or the base image of the conda file; ``scratch`` is none."""
    conda_file: CondaSource | None = None
    build: BuildContext | None = None
    """A folder relative to the repository, or a URL."""
    version: str | None = None
    """None lets envsync count: 1, 2, 3 …."""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    os_type: OsType = "linux"
    inference_config: InferenceConfig | None = None
    settings: Settings = field(default_factory=Settings)
    """What stands under ``envsync:``: platforms, variables, user."""
    made: Made | None = field(default=None, compare=False)
    """The version that this was read from; None for what is only wanted."""

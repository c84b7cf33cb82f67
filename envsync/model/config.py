"""``envsync.yaml``: the settings of a whole repository, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from envsync.model.policy import Policy
from envsync.model.reconcile import Reconcile

Compression = Literal["gzip", "zstd"]

CONFIG_FILE = "envsync.yaml"
ENVIRONMENTS = "environments"
LOCKS = "locks"
LIFECYCLE = "lifecycle"
"""The folder of `envsync.model.lifecycle`'s files.

It is none of ``environments/<name>/``, which can be a build context as a whole: then a flag would
change the image.
"""
WATCHED = (ENVIRONMENTS, LOCKS, LIFECYCLE, CONFIG_FILE)
"""What of a working folder decides a plan once it is committed."""
LAYOUT = ".envsync/registry"
"""Where the embedded registry stands when ``registry:`` is not configured."""


LAYOUT_HOST = "layout.invalid"
"""How references call the registry in `LAYOUT`; no host can have this name (RFC 2606)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of a repository; every one has a default that works on one laptop."""

    registry: str = ""
    """``host[:port]/namespace``; empty means the OCI layout in `LAYOUT`."""
    platforms: tuple[str, ...] = ("linux-64",)
    channels: tuple[str, ...] = ("conda-forge",)
    """Channels of a conda file that names none."""
    remote: str = "origin"
    """The git remote that keeps the records; without such a remote the local repository does."""
    copy_images: bool = False
    """Whether environments that are only an ``image`` are copied into the registry."""
    allow_link_scripts: tuple[str, ...] = ()
    """Packages whose post-link script may be left out without refusing the build."""
    referrers: bool = True
    """Whether provenance and bills of materials are attached to images in the registry."""
    compression: Compression = "gzip"
    """How layers are compressed; Docker before 23 cannot read zstd."""
    registries: Mapping[str, str] = field(default_factory=dict)
    """Azure ML's names of registries, as in ``azureml://registries/<name>/…``, to where their
    environments stand: ``host[:port]/namespace``."""
    reconcile: Reconcile = field(default_factory=Reconcile)
    """What happens without anybody asking."""
    policy: Policy = field(default_factory=Policy)
    """What environments may be made of."""

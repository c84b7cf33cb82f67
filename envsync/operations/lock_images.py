"""The images that a Dockerfile names: from tags to the digests that they mean now."""

from __future__ import annotations

from collections.abc import Mapping

from envsync.model.dockerfile import Use, uses
from envsync.model.document import Faults
from envsync.model.spec import Spec
from envsync.operations.base_images import resolve_base
from envsync.ports.bases import OpenRegistry


def locked_images(
    spec: Spec,
    platforms: tuple[str, ...],
    known: Mapping[str, Mapping[str, str]],
    open_registry: OpenRegistry,
) -> dict[str, dict[str, str]]:
    """Return by platform the digests of the images that the Dockerfile of *spec* names.

    A tag that has moved is no reason to take another image: what is *known* stays. Raises
    InvalidInput, NotAllowed or Unavailable as `envsync.operations.base_images.resolve_base` does.
    """
    if spec.build is None:
        return {}
    build = spec.build
    found = uses(build.dockerfile, spec.settings.build_arguments, build.file, Faults())
    return {
        platform: {
            use.key: known.get(platform, {}).get(use.key) or _digest(use, platform, open_registry)
            for use in found
        }
        for platform in platforms
    }


def _digest(use: Use, platform: str, open_registry: OpenRegistry) -> str:
    wanted = use.platform or platform
    base = resolve_base(use.image, (wanted,), open_registry=open_registry, find_glibc=None)
    return base.platforms[wanted].digest

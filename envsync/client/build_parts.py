"""What building from packages is done with: caches and all cores."""

from __future__ import annotations

import os

from envsync.adapters.building.build_cache import BuildCacheFolder
from envsync.adapters.building.build_folder import BuildFolder
from envsync.adapters.building.cache_folder import CacheFolder
from envsync.adapters.building.package_store import ArchiveStore
from envsync.client.cache_settings import cache_limit, package_folders
from envsync.client.parts import Parts
from envsync.model.config import Config
from envsync.operations.carry_out import Plant
from envsync.operations.make_layers import Bench
from envsync.operations.press import Press
from envsync.operations.publish import Uploads
from envsync.ports.progress import Progress
from envsync.ports.registry import RegistryWriter


def plant(
    parts: Parts,
    config: Config,
    registry: RegistryWriter,
    progress: Progress,
    uploads: Uploads,
    *,
    verify_layers: bool = False,
) -> Plant:
    """Return what jobs are carried out with in this process, publishing to *registry*.

    With *verify_layers* nothing that was made before is used.
    """
    cache = parts.cache_folder()
    made = cache
    if verify_layers:
        # A folder of a build: what a killed one leaves goes with the next.
        made = parts.closing.enter_context(BuildFolder(cache / "build")).staging("verify")
    press = Press(BuildCacheFolder(made), len(os.sched_getaffinity(0)))

    def close() -> None:
        press.close()
        if press.made:
            CacheFolder(cache).prune(cache_limit(parts.environ))

    parts.closing.callback(close)
    store = ArchiveStore(
        cache,
        allow_link_scripts=config.allow_link_scripts,
        others=package_folders(parts.environ),
        wire=lambda: parts.hosts().wire,
    )
    return Plant(
        registry=registry,
        source=parts.source,
        bench=Bench(store=store, press=press),
        workspace=lambda: BuildFolder(cache / "build"),
        uploads=uploads,
        progress=progress,
        verify_layers=verify_layers,
    )

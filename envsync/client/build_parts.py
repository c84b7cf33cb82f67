"""What building is done with: packages, caches and all cores; for Dockerfiles an engine."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from envsync.adapters.build_cache import BuildCacheFolder
from envsync.adapters.build_folder import BuildFolder
from envsync.adapters.build_logs import BuildLogFolder
from envsync.adapters.cache_folder import CacheFolder
from envsync.adapters.package_store import ArchiveStore
from envsync.client.cache_settings import cache_limit
from envsync.client.parts import Parts
from envsync.model.config import Config
from envsync.operations.build import Bench
from envsync.operations.build_dockerfile import BuildSite
from envsync.operations.build_job import Plant
from envsync.operations.press import Press
from envsync.operations.publish import Uploads
from envsync.ports.dockerfiles import DockerfileEngine
from envsync.ports.progress import Progress
from envsync.ports.registry import RegistryWriter


def plant(
    parts: Parts,
    config: Config,
    registry: RegistryWriter,
    progress: Progress,
    *,
    verify_layers: bool = False,
) -> Plant:
    """Return what jobs are carried out with in this process, publishing to *registry*.

    With *verify_layers* nothing that was made before is used.
    """
    cache = parts.cache_folder()
    made = cache
    if verify_layers:
        made = Path(parts.closing.enter_context(TemporaryDirectory(dir=cache, prefix="verify-")))
    press = Press(BuildCacheFolder(made), len(os.sched_getaffinity(0)))

    def close() -> None:
        press.close()
        if press.made:
            CacheFolder(cache).prune(cache_limit(parts.environ))

    parts.closing.callback(close)
    store = ArchiveStore(cache, allow_link_scripts=config.allow_link_scripts)
    return Plant(
        registry=registry,
        source=parts.source,
        bench=Bench(store=store, press=press),
        workspace=lambda: BuildFolder(cache / "build"),
        uploads=Uploads(registry),
        progress=progress,
        verify_layers=verify_layers,
    )


def build_logs(parts: Parts) -> BuildLogFolder:
    """Return the logs of earlier builds."""
    return BuildLogFolder(parts.cache / "logs")


def build_site(parts: Parts) -> BuildSite:
    """Return what builds; the engine's library is loaded when the first Dockerfile is built."""

    def connect() -> DockerfileEngine:
        from envsync.adapters.docker_build import DockerBuilder

        return DockerBuilder(
            parts.environ,
            parts.hosts().login,
            network=parts.environ.get("ENVSYNC_BUILD_NETWORK", ""),
        )

    return BuildSite(
        connect=connect,
        logs=build_logs(parts),
        secret=parts.environ.get,
        source=parts.source,
    )

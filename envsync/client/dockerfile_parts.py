"""What building from Dockerfiles is done with: an engine, connected when it is needed."""

from __future__ import annotations

from envsync.adapters.building.build_logs import BuildLogFolder
from envsync.client.parts import Parts
from envsync.operations.build_dockerfile import BuildSite
from envsync.ports.dockerfiles import DockerfileEngine


def build_logs(parts: Parts) -> BuildLogFolder:
    """Return the logs of earlier builds."""
    return BuildLogFolder(parts.cache / "logs")


def build_site(parts: Parts) -> BuildSite:
    """Return what builds; the engine's library is loaded when the first Dockerfile is built."""

    def connect() -> DockerfileEngine:
        from envsync.adapters.engine.docker_build import DockerBuilder

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

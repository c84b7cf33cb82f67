"""The connection to a Docker engine, for whoever builds with it or runs on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import docker
from docker.errors import DockerException
from docker.utils import kwargs_from_env

from envsync.errors import Unavailable

ANSWER_SECONDS = 10
"""Time in which an engine that lives says so."""

_PLATFORMS = {"amd64": "linux-64", "x86_64": "linux-64", "arm64": "linux-aarch64"}


class Connection:
    """The API of the engine that DOCKER_HOST names, or of the one at its usual socket."""

    def __init__(self, environ: Mapping[str, str], *, purpose: str, hint: str) -> None:
        """Connect; Unavailable, with *purpose* and *hint* for people, when no engine answers."""
        try:
            settings = kwargs_from_env(environment=dict(environ))
            self.api: Any = docker.APIClient(timeout=ANSWER_SECONDS, version="auto", **settings)
            self.version: Mapping[str, Any] = self.api.version()
        except (DockerException, OSError) as error:
            where = environ.get("DOCKER_HOST") or "its usual socket"
            detail = f"None answers at {where}: {first_line(error)}"
            raise Unavailable(purpose, detail=detail, hint=hint) from error

    @property
    def platform(self) -> str:
        """The engine's, which may be another machine's."""
        machine = str(self.version.get("Arch", ""))
        return _PLATFORMS.get(machine, f"linux/{machine}")


def first_line(said: object) -> str:
    """Return what an engine or its client said, without the history that may follow it."""
    return str(said).strip().partition("\n")[0]

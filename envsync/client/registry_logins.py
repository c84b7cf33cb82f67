"""Logins to registries from environment variables, for machines where nobody can log in by hand.

``ENVSYNC_REGISTRY_<HOST>_USERNAME`` and ``…_PASSWORD`` are the login for one registry, where
``<HOST>`` is its host and port in capitals, ``__`` for ``-`` and ``_`` for every other character:
``ENVSYNC_REGISTRY_GHCR_IO_PASSWORD``. ``ENVSYNC_AUTH_FILE`` names a file of the form of docker's
``config.json``. They come before docker's own configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from envsync.adapters.registry.docker_config import Credentials, CredentialSource, DockerConfig
from envsync.errors import InvalidInput
from envsync.model.reference import DOCKER_HUB, request_host

_PREFIX = "ENVSYNC_REGISTRY_"
FILE = "ENVSYNC_AUTH_FILE"


class VariableLogins:
    """Logins that *environ* has.

    Implements `envsync.adapters.registry.docker_config.CredentialSource`.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def credentials(self, registry: str) -> Credentials | None:
        """Return the login for *registry*; InvalidInput when there is a half of one."""
        hub = request_host(registry) == request_host(DOCKER_HUB)
        name = f"{_PREFIX}{variable_part(DOCKER_HUB if hub else registry)}"
        username = self._environ.get(f"{name}_USERNAME", "")
        password = self._environ.get(f"{name}_PASSWORD", "")
        if not username and not password:
            return None
        if not username or not password:
            missing = "USERNAME" if password else "PASSWORD"
            raise InvalidInput(
                f"the login for {registry} is half there",
                detail=f"{name}_{missing} is not set.",
            )
        return Credentials(username=username, password=password)


def variable_part(registry: str) -> str:
    """Return how a registry is called in the names of variables: ``GHCR_IO``.

    ``a-b.io`` and ``a.b.io`` may belong to different people, so their names differ: otherwise who
    names the one in a base image would be given the login of the other.
    """
    return re.sub(r"[^A-Z0-9_]", "_", registry.upper().replace("-", "__"))


def logins(environ: Mapping[str, str]) -> tuple[CredentialSource, ...]:
    """Return the sources of logins that *environ* names, the first one first."""
    file = environ.get(FILE)
    if not file:
        return (VariableLogins(environ),)
    if not Path(file).is_file():
        raise InvalidInput(f"{FILE} names a file that is not there", detail=file)
    return (VariableLogins(environ), DockerConfig(file=Path(file)))

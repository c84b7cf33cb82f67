"""Opening registries: a folder or a host, connections and logins made once for each host.

How a host is asked: over https. Loopback is asked over plain http, unless an authority is
configured for it, because a certificate for loopback is always private. Hosts listed as insecure
are asked over plain http. Nothing is tried out: a fallback could be forced by an attacker.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import envsync
from envsync.adapters.http.addresses import Resolve, is_loopback, resolve
from envsync.adapters.http.retries import Clock
from envsync.adapters.http.trust import DOCKER_CERTIFICATES, Trust
from envsync.adapters.http.wire import Origin, Pace, Proxies, Timeouts, Wire, split_url
from envsync.adapters.registry.docker_config import Credentials, CredentialSource, DockerConfig
from envsync.adapters.registry.http_registry_writer import HttpRegistry
from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.adapters.registry.registry_auth import Authenticator, Redactor
from envsync.adapters.registry.registry_host import RegistryHost
from envsync.errors import InvalidInput
from envsync.model.reference import DOCKER_HUB, RegistryLocation, request_host
from envsync.ports.registry import RegistryWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """How registries are reached; the defaults read nothing of the user's."""

    docker_config: Path | None = None
    """Docker's configuration folder, such as ``~/.docker``: ``config.json`` and ``certs.d/``."""
    logins: Mapping[str, Credentials] = field(default_factory=dict)
    """Logins by registry that come before the docker configuration's."""
    sources: Sequence[CredentialSource] = ()
    """Asked for logins after those, and before the docker configuration."""
    authorities: Mapping[str, Path] = field(default_factory=dict)
    """PEM file with private authorities by ``host[:port]``, or ``*`` for all."""
    system_certificates: Path = DOCKER_CERTIFICATES
    insecure: frozenset[str] = frozenset()
    """``host[:port]`` of registries that are asked over plain http."""
    proxies: Proxies = field(default_factory=Proxies)
    timeouts: Timeouts = field(default_factory=Timeouts)
    clock: Clock = field(default_factory=Clock)
    resolve: Resolve = resolve


class Registries:
    """The registries of a process; closing it closes their connections."""

    def __init__(self, settings: RegistrySettings) -> None:
        """Read the docker configuration; InvalidInput when it is broken."""
        self._settings = settings
        self._config = DockerConfig(
            settings.docker_config, logins=settings.logins, before=settings.sources
        )
        own = [settings.docker_config / "certs.d"] if settings.docker_config else []
        self._trust = Trust(
            folders=[*own, settings.system_certificates], authorities=settings.authorities
        )
        self._wire = Wire(
            trust=self._trust,
            timeouts=settings.timeouts,
            proxies=settings.proxies,
            pace=Pace(monotonic=settings.clock.monotonic),
            resolve=settings.resolve,
        )
        self._opened: dict[str, HttpRegistry] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._wire.close()

    def at(self, host: str) -> HttpRegistry:
        """Return the registry at ``host[:port]``, the same object each time."""
        host = DOCKER_HUB if request_host(host) == request_host(DOCKER_HUB) else host
        with self._lock:
            if host not in self._opened:
                self._opened[host] = self._open(host)
            return self._opened[host]

    @property
    def wire(self) -> Wire:
        """What requests are sent over, for who asks for other things than images."""
        return self._wire

    def login(self, host: str) -> Credentials | None:
        """Return the login for ``host[:port]``, for who asks that registry in another way."""
        return self._config.credentials(host)

    def _open(self, host: str) -> HttpRegistry:
        settings = self._settings
        origin = self._origin(host)
        redactor = Redactor()
        auth = Authenticator(
            registry=host,
            origin=origin,
            wire=self._wire,
            source=self._config,
            clock=settings.clock,
            redactor=redactor,
        )
        return HttpRegistry(
            RegistryHost(
                name=host,
                origin=origin,
                wire=self._wire,
                auth=auth,
                clock=settings.clock,
                redactor=redactor,
                deadline=settings.timeouts.deadline,
                agent=f"envsync/{envsync.__version__}",
            )
        )

    def _origin(self, host: str) -> Origin:
        try:
            secure, target = split_url(f"https://{request_host(host)}/")
            plain, _ = split_url(f"http://{request_host(host)}/")
        except ValueError:
            target = ""
        if target != "/":
            raise InvalidInput(
                f"{host!r} is not a registry's host", hint="Write host or host:port."
            )
        if host in self._settings.insecure:
            return plain
        if is_loopback(plain.host) and not self._trust.authorities(host):
            return plain
        return secure


def open_registry(where: RegistryLocation | Path | str, registries: Registries) -> RegistryWriter:
    """Return the registry at a location, at a host, or in a folder of OCI layouts."""
    if isinstance(where, Path):
        return LayoutRegistry(where)
    return registries.at(where if isinstance(where, str) else where.host)

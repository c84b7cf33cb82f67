"""How registries are reached, as this machine's environment says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from envsync.adapters.http.retries import Clock
from envsync.adapters.http.wire import Proxies
from envsync.adapters.registry.registries import RegistrySettings
from envsync.client.registry_logins import logins


def registry_settings(
    environ: Mapping[str, str], sleep: Callable[[float], None]
) -> RegistrySettings:
    """Return the settings: logins, docker's configuration, proxies, and a private authority."""
    home = environ.get("HOME")
    folder = environ.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    authority = environ.get("ENVSYNC_CA_FILE")
    proxies = {
        scheme: url
        for scheme in ("http", "https")
        if (url := environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY"))
    }
    bypass = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return RegistrySettings(
        clock=Clock(sleep=sleep),
        docker_config=Path(folder) if folder else None,
        sources=logins(environ),
        authorities={"*": Path(authority)} if authority else {},
        proxies=Proxies(urls=proxies, bypass=bypass),
    )

"""TLS as docker users configure it: system authorities, and ``certs.d/<host[:port]>/``.

Source: https://docs.docker.com/engine/security/certificates/
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from envsync.errors import InvalidInput

DOCKER_CERTIFICATES = Path("/etc/docker/certs.d")


class Trust:
    """Which certificates are believed for which ``host[:port]``."""

    def __init__(
        self,
        *,
        folders: Sequence[Path] = (DOCKER_CERTIFICATES,),
        authorities: Mapping[str, Path] | None = None,
    ) -> None:
        """Look in ``<folder>/<host[:port]>/``; *authorities* names a file for a host, or ``*``."""
        self._folders = tuple(folders)
        self._authorities = dict(authorities or {})
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def authorities(self, host: str) -> tuple[Path, ...]:
        """Return the files with private authorities for *host*."""
        explicit = [self._authorities[key] for key in (host, "*") if key in self._authorities]
        return (*explicit, *self._files(host, "*.crt"))

    def context(self, host: str) -> ssl.SSLContext:
        """Return the TLS settings for *host*, made once; InvalidInput for a bad file."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = self._make(host)
            return self._contexts[host]

    def _make(self, host: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        path = Path()
        try:
            for path in self.authorities(host):
                context.load_verify_locations(cafile=path)
            for path in self._files(host, "*.cert"):
                context.load_cert_chain(path, path.with_suffix(".key"))
        except OSError as error:
            raise InvalidInput(
                f"cannot read the certificate {path}",
                detail=str(error),
                hint="It must be a PEM file that you may read.",
            ) from error
        return context

    def _files(self, host: str, pattern: str) -> tuple[Path, ...]:
        names = (host,) if ":" in host else (host, f"{host}:443")
        places = [folder / name for folder in self._folders for name in names]
        return tuple(path for place in places for path in sorted(place.glob(pattern)))

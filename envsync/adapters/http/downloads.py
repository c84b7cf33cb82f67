"""Files over HTTP that a lock names: no login, no metadata address, redirects followed.

What comes is compared with the lock's sha256 by whoever asked for it.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urljoin

from envsync.adapters.http.retries import Again
from envsync.adapters.http.trust import Trust
from envsync.adapters.http.wire import Proxies, Timeouts, Wire, split_url
from envsync.errors import EnvsyncError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_MAX = 10
# Transparent compression would hide the bytes that hashes are about.
_HEADERS = (("User-Agent", "envsync"), ("Accept", "*/*"), ("Accept-Encoding", "identity"))


def plain_wire() -> Wire:
    """Return a wire that nobody has configured: the system's authorities, no proxy."""
    return Wire(trust=Trust(), timeouts=Timeouts(), proxies=Proxies())


class Downloads:
    """Fetches files; from any thread."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def fetch(self, url: str, path: Path) -> None:
        """Write what is at *url* into a file; OSError when it cannot be had."""
        try:
            self._fetch(url, path)
        except Again as error:
            raise OSError(error.reason) from error
        except EnvsyncError as error:
            raise OSError(f"{error.summary}: {error.detail}") from error

    def _fetch(self, url: str, path: Path) -> None:
        for _ in range(_REDIRECTS_MAX):
            try:
                origin, target = split_url(url)
            except ValueError as error:
                raise OSError(f"it is at {error}") from error
            with self._wire.send("GET", origin, target, _HEADERS) as answer:
                if answer.status in _REDIRECTS:
                    url = urljoin(url, answer.headers.get("location", ""))
                    continue
                if answer.status != 200:
                    raise OSError(f"{origin.netloc} answered {answer.status}")
                with path.open("wb") as out:
                    for chunk in answer.chunks():
                        out.write(chunk)
                return
        raise OSError("it redirects in circles")

"""Connections to one origin, kept open for the next request of whichever thread.

httpcore's own pool looks at every idle connection's socket for every request, which after a run
with many threads costs more than the request. Here the connection used last is used next, and only
that one is looked at.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable
from functools import partial

import httpcore

from envsync.adapters.http.head_exchange import Head, HeadConnection

IDLE_SECONDS = 30.0
IDLE_MAX = 64
"""Idle connections to one origin that are kept."""


Exchange = tuple[httpcore.Response | Head, Callable[[], None]]
"""A response, and what to call after closing it."""


class Direct:
    """Sends without a proxy."""

    def __init__(
        self,
        origin: httpcore.Origin,
        ssl_context: ssl.SSLContext | None,
        backend: httpcore.NetworkBackend,
    ) -> None:
        self._origin = origin
        self._ssl_context = ssl_context
        self._backend = backend
        self._idle: list[httpcore.HTTPConnection] = []
        self._idle_heads: list[HeadConnection] = []
        self._lock = threading.Lock()

    def send(self, request: httpcore.Request) -> Exchange:
        """Send over the connection that was used last, or a new one."""
        connection = self._take()
        try:
            response = connection.handle_request(request)
        except BaseException:
            connection.close()
            raise
        return response, partial(self._give_back, connection)

    def head(
        self, target: str, headers: Iterable[tuple[str, str]], *, connect: float, read: float
    ) -> Exchange:
        """Send a HEAD; *connect* and *read* are seconds. Its connections are for HEADs only."""
        connection = self._take_head()
        if connection is None:
            connection = HeadConnection.open(
                self._origin, self._ssl_context, self._backend, connect
            )
        try:
            head = connection.send(target, headers, read)
        except BaseException:
            connection.close()
            raise
        if head.lasts:
            with self._lock:
                if len(self._idle_heads) < IDLE_MAX:
                    self._idle_heads.append(connection)
                    return head, _nothing
        connection.close()
        return head, _nothing

    def _take_head(self) -> HeadConnection | None:
        while True:
            with self._lock:
                if not self._idle_heads:
                    return None
                connection = self._idle_heads.pop()
            if connection.is_usable(IDLE_SECONDS):
                return connection
            connection.close()

    def _give_back(self, connection: httpcore.HTTPConnection) -> None:
        """Keep a connection whose response was closed, if it can be used again."""
        if connection.is_idle() and not connection.is_closed():
            with self._lock:
                if len(self._idle) < IDLE_MAX:
                    self._idle.append(connection)
                    return
        connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
            heads, self._idle_heads = self._idle_heads, []
        for connection in idle:
            connection.close()
        for head in heads:
            head.close()

    def _take(self) -> httpcore.HTTPConnection:
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection = self._idle.pop()
            if not connection.has_expired():
                return connection
            connection.close()
        return httpcore.HTTPConnection(
            origin=self._origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=self._backend,
        )


class Proxied:
    """Sends through a proxy."""

    def __init__(
        self,
        proxy: httpcore.Proxy,
        ssl_context: ssl.SSLContext | None,
        backend: httpcore.NetworkBackend,
    ) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context,
            proxy=proxy,
            max_connections=IDLE_MAX,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=backend,
        )

    def send(self, request: httpcore.Request) -> Exchange:
        """Send through the proxy; the pool takes the connection back by itself."""
        return self._pool.handle_request(request), _nothing

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def _nothing() -> None:
    """What is closed already, or watched by the pool of a proxy, is not given back."""

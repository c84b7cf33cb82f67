"""HTTP/1.1 exchanges: connections kept and shared by threads, time-outs, errors in plain words.

httpcore, the layer below httpx, is used directly: it lets us look at an address between DNS and
connecting, follows no redirect and reads no environment variable; and a HEAD costs half the CPU
time that it costs with a full client. Without a proxy a HEAD costs half of that again
(`envsync.adapters.http.head_exchange`).
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import NoReturn, Self
from urllib.parse import SplitResult, urlsplit

import httpcore

from envsync.adapters.http.addresses import (
    NEVER,
    AddressRefused,
    CheckedBackend,
    Resolve,
    is_loopback,
    is_refused_host,
    resolve,
)
from envsync.adapters.http.connections import Direct, Exchange, Proxied
from envsync.adapters.http.retries import Again
from envsync.adapters.http.trust import Trust
from envsync.errors import Unavailable

# At DEBUG it logs the headers of answers, and an address in one of them may be a secret.
logging.getLogger("httpcore").setLevel(logging.WARNING)

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds."""

    connect: float = 10.0
    read: float = 30.0
    """Between two pieces of an answer."""
    write: float = 60.0
    """Between two pieces of an upload."""
    commit: float = 300.0
    """For the answer to an upload: the registry may copy it to slow storage first."""
    deadline: float = 180.0
    """After the first try of an operation, no other starts later than this."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what credentials are bound to."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"

    @property
    def netloc(self) -> str:
        """``host[:port]`` as a Host header says it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def split_url(url: str) -> tuple[Origin, str]:
    """Split an absolute URL into its origin and the rest; ValueError when it cannot be used."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError("not an http(s) address")
    if any(not "!" <= character <= "~" for character in url):
        raise ValueError("an address with characters that do not belong there")
    port = parts.port or _PORTS[parts.scheme]
    rest = SplitResult("", "", parts.path or "/", parts.query, "").geturl()
    return Origin(parts.scheme, parts.hostname, port), rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A body that brings fewer than ``least`` bytes in ``window`` seconds is given up."""

    window: float = 60.0
    least: int = 60 << 10
    monotonic: Callable[[], float] = time.monotonic


class Answer:
    """An answer whose body is still to be read; closing gives the connection back."""

    def __init__(self, exchange: Exchange, origin: Origin, pace: Pace) -> None:
        self._response, self._release = exchange
        response = self._response
        self._pace = pace
        self._drained = False
        self._closed = False
        self.origin = origin
        """Who answered, after redirects."""
        self.redirected = False
        """Whether it answers another question than the one that was asked."""
        self.status = response.status
        self.headers: dict[str, str] = {}
        """Names in lower case."""
        for raw_name, raw_value in response.headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            known = self.headers.get(name)
            self.headers[name] = value if known is None else f"{known}, {value}"

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
        """Give the connection back, or drop it when the body was not read to its end."""
        if not self._closed:
            self._closed = True
            self._response.close()
            self._release()

    def drain(self) -> Self:
        """Read a body that is known to be empty, so that the connection can be used again."""
        self._response.read()
        self._drained = True
        return self

    @property
    def media_type(self) -> str:
        """``Content-Type`` without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def read(self, limit: int) -> bytes:
        """Read the whole body; Again when it has more than *limit* bytes or breaks off."""
        body = bytearray()
        for chunk in self.chunks():
            body += chunk
            if len(body) > limit:
                raise Again(f"{self.origin.netloc} answered with more than {limit} bytes")
        return bytes(body)

    def chunks(self) -> Iterator[bytes]:
        """Yield the body; Again when it breaks off or drips."""
        if self._drained:
            return
        since, received = self._pace.monotonic(), 0
        chunks = self._response.iter_stream()
        while True:
            try:
                chunk = next(chunks, None)
            except _FAILURES as error:
                _fail(self.origin, error)
            if chunk is None:
                return
            yield chunk
            received += len(chunk)
            if (now := self._pace.monotonic()) - since > self._pace.window:
                if received < self._pace.least:
                    raise Again(f"{self.origin.netloc} answers too slowly")
                since, received = now, 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """Proxies by scheme of the target, and the hosts that need none, as ``no_proxy`` lists them."""

    urls: Mapping[str, str] = field(default_factory=dict)
    bypass: str = ""

    def url(self, origin: Origin) -> str | None:
        """Return the proxy to *origin*; loopback never has one."""
        url = self.urls.get(origin.scheme)
        if url is None or is_loopback(origin.host):
            return None
        # It brings a whole HTTP client along, which only machines behind a proxy have to load.
        from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

        return None if proxy_bypass_environment(origin.host, {"no": self.bypass}) else url


class Wire:
    """Sends requests; one for a whole process, used by all threads."""

    def __init__(
        self,
        *,
        trust: Trust,
        timeouts: Timeouts,
        proxies: Proxies,
        resolve: Resolve = resolve,
        pace: Pace | None = None,
    ) -> None:
        self._trust = trust
        self._timeouts = timeouts
        self._proxies = proxies
        self._backend = CheckedBackend(resolve)
        self._pace = pace or Pace()
        self._senders: dict[Origin, Direct | Proxied] = {}
        self._lock = threading.Lock()
        self._quick = self._extensions(timeouts.read)
        self._patient = self._extensions(timeouts.commit)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for sender in self._senders.values():
                sender.close()
            self._senders.clear()

    def send(
        self,
        method: str,
        origin: Origin,
        target: str,
        headers: Iterable[tuple[str, str]],
        body: bytes | Iterable[bytes] | None = None,
        *,
        patient: bool = False,
    ) -> Answer:
        """Send a request and return its answer, whatever it says.

        Raises Again when there was none, and Unavailable when there cannot be one. What *body*
        raises goes through.
        """
        fields = (("Host", origin.netloc), *headers)
        try:
            sender = self._sender(origin)
            if method == "HEAD" and body is None and isinstance(sender, Direct):
                limits = self._timeouts
                read = limits.commit if patient else limits.read
                exchange = sender.head(target, fields, connect=limits.connect, read=read)
            else:
                extensions = self._patient if patient else self._quick
                exchange = sender.send(_request(method, origin, target, fields, body, extensions))
            answer = Answer(exchange, origin, self._pace)
            if method == "HEAD" or answer.headers.get("content-length") == "0":
                answer.drain()
        except _FAILURES as error:
            _fail(origin, error)
        return answer

    def _sender(self, origin: Origin) -> Direct | Proxied:
        sender = self._senders.get(origin)
        if sender is not None:
            return sender
        with self._lock:
            return self._senders.setdefault(origin, self._open(origin))

    def _open(self, origin: Origin) -> Direct | Proxied:
        context = self._trust.context(origin.netloc) if origin.scheme == "https" else None
        url = self._proxies.url(origin)
        if url:
            if is_refused_host(origin.host):  # the proxy would connect, unseen by us
                _fail(origin, AddressRefused(f"{origin.host} is asked for by its address"))
            return Proxied(_proxy(url), context, self._backend)
        place = httpcore.Origin(origin.scheme.encode(), origin.host.encode(), origin.port)
        return Direct(place, context, self._backend)

    def _extensions(self, read: float) -> dict[str, dict[str, float]]:
        limits = {"connect": self._timeouts.connect, "write": self._timeouts.write, "read": read}
        return {"timeout": limits}


def _request(
    method: str,
    origin: Origin,
    target: str,
    fields: Iterable[tuple[str, str]],
    body: bytes | Iterable[bytes] | None,
    extensions: Mapping[str, Mapping[str, float]],
) -> httpcore.Request:
    return httpcore.Request(
        method,
        httpcore.URL(
            scheme=origin.scheme.encode(),
            host=origin.host.encode(),
            port=origin.port,
            target=target.encode(),
        ),
        headers=list(fields),
        content=body,
        extensions=dict(extensions),
    )


_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"})

_FAILURES = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    AddressRefused,
)


def _proxy(url: str) -> httpcore.Proxy:
    parts = urlsplit(url if "//" in url else f"http://{url}")
    login = (parts.username, parts.password or "") if parts.username else None
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return httpcore.Proxy(bare.geturl(), auth=login)


def _fail(origin: Origin, error: Exception) -> NoReturn:
    """Raise what a failure means, without any text that the other side wrote."""
    host = origin.netloc
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    if isinstance(error, AddressRefused):
        raise Unavailable(
            f"{host} is at an address that is never asked", detail=f"{error}: {NEVER}."
        ) from error
    if isinstance(cause, ssl.SSLCertVerificationError):
        raise Unavailable(
            f"the certificate of {host} is not trusted",
            detail=f"{cause.verify_message}.",
            hint=f"Put your authority's certificate into ~/.docker/certs.d/{host}/ca.crt",
        ) from error
    if isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
        raise Unavailable(
            f"{host} does not speak TLS",
            detail="envsync asked it over https.",
            hint="If it is a plain http registry, list it as insecure.",
        ) from error
    if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
        raise Unavailable(
            f"there is no host {origin.host}",
            detail="Its name could not be resolved.",
            hint="Check the spelling, and the network.",
        ) from error
    connecting = isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout)
    raise Again(_words(host, error, cause), connecting=connecting) from error


def _words(host: str, error: Exception, cause: Exception) -> str:
    if isinstance(error, httpcore.ConnectTimeout):
        return f"{host} could not be reached in time"
    if isinstance(error, httpcore.ConnectError | httpcore.ProxyError):
        return f"{host} could not be reached: {_reason(cause)}"
    if isinstance(error, httpcore.TimeoutException):
        return f"{host} did not answer in time"
    if isinstance(error, httpcore.ProtocolError):
        return f"{host} broke off, or answered something that is not HTTP"
    return f"the connection to {host} broke: {_reason(cause)}"


def _reason(cause: Exception) -> str:
    strerror = getattr(cause, "strerror", None)
    return str(strerror or type(cause).__name__).lower()

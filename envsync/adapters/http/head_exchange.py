"""HEAD requests over one connection: nothing is sent but a head, and nothing comes back but one.

A plan is two of them for every environment. An answer without a body needs no state machine and
no stream that is to be given back, and costs a fraction of what it costs with them. Connecting, TLS
and the look at an address stay httpcore's and ours, and failures are raised as httpcore raises
them; every other method is httpcore's (`envsync.adapters.http.connections`).

Source: https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import httpcore

HEAD_MAX = 100 << 10
"""Bytes of an answer's head, as many as httpcore takes."""

_READ = 16 << 10
_VISIBLE = re.compile(r"[!-~]+")
_PRINTABLE = re.compile(r"[ -~]*")
_END = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(rb"\r?\n")
_FOLDED = re.compile(rb"\r?\n[ \t]+")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\0\r\n]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r\n]*?)[ \t]*")

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """An answer that is all here.

    It has what `envsync.adapters.http.wire.Answer` asks of a response.
    """

    status: int
    headers: Fields
    lasts: bool
    """Whether the connection can be used again."""

    def read(self) -> bytes:
        """Return the body, which there is none of."""
        return b""

    def iter_stream(self) -> Iterator[bytes]:
        """Yield the body, which there is none of."""
        return iter(())

    def close(self) -> None:
        """Do nothing: the connection was given back when the head was complete."""


class HeadConnection:
    """A connection to one origin; used by one thread at a time."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)
        self._used = time.monotonic()

    @classmethod
    def open(
        cls,
        origin: httpcore.Origin,
        ssl_context: ssl.SSLContext | None,
        backend: httpcore.NetworkBackend,
        timeout: float,
    ) -> HeadConnection:
        """Connect as httpcore does, within *timeout* seconds; raises what it raises."""
        host = origin.host.decode("ascii")
        stream = backend.connect_tcp(host, origin.port, timeout=timeout)
        if origin.scheme == b"https":
            context = ssl_context or httpcore.default_ssl_context()
            context.set_alpn_protocols(["http/1.1"])
            stream = stream.start_tls(context, server_hostname=host, timeout=timeout)
        return cls(stream.get_extra_info("socket"))

    def is_usable(self, idle_seconds: float) -> bool:
        """Tell whether it can be asked again: it is not old, not closed, and says nothing."""
        return time.monotonic() - self._used < idle_seconds and not self._poll.poll(0)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def send(self, target: str, headers: Iterable[tuple[str, str]], timeout: float) -> Head:
        """Ask, and return the answer; *timeout* in seconds is between two pieces of it."""
        request = head_request(target, headers)
        try:
            self._socket.settimeout(timeout)
            self._socket.sendall(request)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(error) from error
        except OSError as error:
            raise httpcore.WriteError(error) from error
        received = b""
        while True:
            while (end := _END.search(received)) is None:
                if len(received) > HEAD_MAX:
                    raise httpcore.RemoteProtocolError("a head without end")
                received += self._receive()
            status, headers_found, lasts = parse_head(received[: end.start()])
            received = received[end.end() :]
            if status == 101:
                raise httpcore.RemoteProtocolError("a switch of protocols that nobody asked for")
            if status >= 200:
                break
        self._used = time.monotonic()
        # What is more than a head was said to nobody's question.
        return Head(status=status, headers=headers_found, lasts=lasts and not received)

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv(_READ)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(error) from error
        except OSError as error:
            raise httpcore.ReadError(error) from error
        if not data:
            raise httpcore.RemoteProtocolError("closed before the answer was complete")
        return data


def head_request(target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the bytes of a request; LocalProtocolError when a part could end its line early."""
    fields = [f"{name}: {value}" for name, value in headers]
    if not _VISIBLE.fullmatch(target) or not all(map(_PRINTABLE.fullmatch, fields)):
        raise httpcore.LocalProtocolError("a request with characters that do not belong there")
    return "\r\n".join((f"HEAD {target} HTTP/1.1", *fields, "\r\n")).encode("ascii")


def parse_head(head: bytes) -> tuple[int, Fields, bool]:
    """Read a head without its empty line: status, fields, and whether the connection stays open.

    Raises RemoteProtocolError for what is not HTTP/1.
    """
    if b"\n " in head or b"\n\t" in head:
        head = _FOLDED.sub(b" ", head)
    first, *lines = _LINE.split(head)
    status = _STATUS.fullmatch(first)
    fields = [_FIELD.fullmatch(line) for line in lines]
    if status is None or None in fields:
        raise httpcore.RemoteProtocolError("not an answer in HTTP/1")
    found = tuple((field[1], field[2]) for field in fields if field is not None)
    said = [value.lower() for name, value in found if name.lower() == b"connection"]
    closes = any(b"close" in (word.strip() for word in value.split(b",")) for value in said)
    return int(status[2]), found, status[1] == b"1" and not closes

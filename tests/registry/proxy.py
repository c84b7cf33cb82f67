"""A web server between us and a real registry that misbehaves when told to."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DROP = 0
"""Status of a reply that is no reply: the connection is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, and the ways in which it comes badly."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int = 0
    """Bytes that are missing at the end of the body that its length promises."""
    raw: bytes = b""
    """Sent in the place of everything else: not HTTP."""
    hold: float = 0
    """Seconds before it begins."""
    drip: float = 0
    """Seconds between one byte of the body and the next."""

    def having(self, **headers: str) -> Reply:
        """Return the reply with other headers; ``_`` stands for ``-``, '' takes one away."""
        changed = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        merged = {**{k.lower(): v for k, v in self.headers.items()}, **changed}
        return replace(self, headers={k: v for k, v in merged.items() if v})


def errors(status: int, code: str, message: str = "") -> Reply:
    """Return an answer as registries complain."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Reply(status=status, headers={"content-type": "application/json"}, body=body)


Answer = Callable[[Asked, Callable[[], Reply]], Reply | None]
"""Gets the request and a way to ask the registry; None leaves it to the next rule."""


@dataclass(slots=True)
class Proxy:
    """A running proxy."""

    upstream: str
    host: str = ""
    asked: list[Asked] = field(default_factory=list)
    _rules: list[Answer] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def rule(self, answer: Answer) -> None:
        """Let a function answer before any other rule."""
        self._rules.insert(0, answer)

    def forget(self) -> None:
        """Go back to asking the registry, with nothing asked so far."""
        self._rules.clear()
        self.asked.clear()

    def on(self, method: str, part: str, reply: Reply | Answer, *, times: int = 1 << 30) -> None:
        """Answer requests whose path contains a text, so many times."""
        left = [times]

        def answer(asked: Asked, ask: Callable[[], Reply]) -> Reply | None:
            with self._lock:
                if asked.method != method or part not in asked.path or not left[0]:
                    return None
                left[0] -= 1
            return reply if isinstance(reply, Reply) else reply(asked, ask)

        self.rule(answer)

    def requests(self, method: str = "", part: str = "") -> list[Asked]:
        """Return what was asked."""
        return [a for a in self.asked if method in ("", a.method) and part in a.path]

    def answer(self, asked: Asked) -> Reply:
        """Decide on a request."""
        self.asked.append(asked)

        def ask() -> Reply:
            return self._ask(asked)

        for rule in self._rules:
            reply = rule(asked, ask)
            if reply is not None:
                return reply
        return ask()

    def _ask(self, asked: Asked) -> Reply:
        connection = http.client.HTTPConnection(self.upstream, timeout=30)
        kept = {k: v for k, v in asked.headers.items() if k not in {"connection", "authorization"}}
        connection.request(asked.method, asked.path, asked.body or None, kept)
        response = connection.getresponse()
        reply = Reply(
            status=response.status,
            headers={k.lower(): v for k, v in response.getheaders()},
            body=response.read(),
        )
        connection.close()
        return reply


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.proxy.answer(
            Asked(method=self.command, path=self.path, headers=headers, body=body)
        )
        if reply.hold:
            time.sleep(reply.hold)
        if reply.status == DROP or reply.raw:
            self.wfile.write(reply.raw)
            self.close_connection = True
            return
        self.send_response_only(reply.status)
        sent = {k: v for k, v in reply.headers.items() if k != "transfer-encoding"}
        if "content-length" not in sent and self.command != "HEAD":
            sent["content-length"] = str(len(reply.body))
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._body(reply)
        if reply.cut:
            self.close_connection = True

    def _body(self, reply: Reply) -> None:
        sent = reply.body[: len(reply.body) - reply.cut]
        if not reply.drip:
            self.wfile.write(sent)
            return
        for place in range(len(sent)):
            self.wfile.write(sent[place : place + 1])
            time.sleep(reply.drip)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing when a client goes away."""


@contextmanager
def proxied(upstream: str) -> Iterator[Proxy]:
    """Run a proxy in front of ``host:port`` until the block ends."""
    proxy = Proxy(upstream)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    with _Server(("127.0.0.1", 0), handler) as server:
        proxy.host = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()

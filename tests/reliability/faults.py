"""Everything that envsync asks a registry for, and every way in which an answer can be bad."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from envsync.adapters.http.retries import Clock
from envsync.adapters.http.wire import Timeouts
from envsync.adapters.registry.registries import RegistrySettings
from tests.registry.proxy import DROP, Asked, Proxy, Reply, errors

Bad = Callable[[Asked, Callable[[], Reply]], Reply]
"""Gets the request and a way to ask the real registry."""

OPERATIONS: Mapping[str, tuple[str, str]] = {
    "head content tag": ("HEAD", r"/manifests/def-"),
    "head version tag": ("HEAD", r"/manifests/\d+$"),
    "read back": ("GET", r"/manifests/def-"),
    "get manifest": ("GET", r"/manifests/sha256:"),
    "head blob": ("HEAD", r"/blobs/sha256:"),
    "mount": ("POST", r"/blobs/uploads/\?mount="),
    "begin upload": ("POST", r"/blobs/uploads/$"),
    "upload": ("PUT", r"/blobs/uploads/"),
    "put child": ("PUT", r"/manifests/sha256:"),
    "put content tag": ("PUT", r"/manifests/def-"),
    "put latest": ("PUT", r"/manifests/latest$"),
    "put version tag": ("PUT", r"/manifests/\d+$"),
}
"""What is asked for, as method and a regular expression for the path."""

OTHER = "sha256:" + "0" * 64


def _page(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    html = b"<html><body>Please log in</body></html>"
    return Reply(status=200, headers={"content-type": "text/html"}, body=html)


def _before(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    return Reply(status=DROP)


def _after(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    ask()
    return Reply(status=DROP)


def _held(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    return replace(ask(), hold=LIMIT * 2)


def _short(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    """A body that breaks off; what has none promises one."""
    reply = ask()
    cut = max(1, len(reply.body) // 2)
    body = reply.body or b"?"
    return replace(reply.having(content_length=str(len(body))), body=body, cut=cut)


def _digest(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    """The header of another image, and bytes of another where there are any."""
    reply = ask().having(docker_content_digest=OTHER)
    return replace(reply, body=b" " + reply.body[1:])


def _slow(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    return replace(ask(), hold=LIMIT / 4, drip=LIMIT / 40)


def _circle(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    return Reply(status=307, headers={"location": asked.path})


def _garbage(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    return Reply(status=200, raw=b"\x00\xff\x16\x03 this is not HTTP\r\n\r\n")


def _status(status: int, code: str = "", **headers: str) -> Bad:
    def bad(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        return (errors(status, code) if code else Reply(status=status)).having(**headers)

    return bad


FAULTS: Mapping[str, Bad] = {
    "500": _status(500),
    "503": _status(503, "UNAVAILABLE", retry_after="2"),
    "429": _status(429, "TOOMANYREQUESTS"),
    "404": _status(404, content_type="text/plain"),
    "401": _status(401, "UNAUTHORIZED"),
    "403": _status(403, "DENIED"),
    "reset before": _before,
    "reset after": _after,
    "time-out": _held,
    "truncated": _short,
    "html": _page,
    "wrong digest": _digest,
    "slow drip": _slow,
    "redirects": _circle,
    "garbage": _garbage,
}

LIMIT = 0.4
"""Seconds of silence after which an answer is given up here; elsewhere it is 30 or more."""


@dataclass(slots=True, kw_only=True)
class Skipping:
    """A clock that goes faster than time, and on which nobody sleeps."""

    speed: float = 1.0
    _skipped: float = field(default=0.0)

    def clock(self) -> Clock:
        """Return it as envsync takes it."""

        def sleep(seconds: float) -> None:
            self._skipped += seconds
            time.sleep(0.001)

        return Clock(
            monotonic=lambda: time.monotonic() * self.speed + self._skipped,
            sleep=sleep,
            random=lambda: 0.5,
        )


def impatient(monkeypatch: pytest.MonkeyPatch, *, speed: float = 1.0) -> None:
    """Let commands of this process give silent answers up soon, and never really wait."""
    limits = Timeouts(connect=2, read=LIMIT, write=2, commit=LIMIT)

    def settings(**given: object) -> RegistrySettings:
        fast = {**given, "timeouts": limits, "clock": Skipping(speed=speed).clock()}
        return RegistrySettings(**fast)  # type: ignore[arg-type]

    monkeypatch.setattr("envsync.client.registry_settings.RegistrySettings", settings)


@contextmanager
def broken(proxy: Proxy, operation: str, fault: str, *, times: int) -> Iterator[list[str]]:
    """Answer an operation badly, so many times; gives the paths of those requests."""
    method, pattern = OPERATIONS[operation]
    matches = functools.partial(re.search, pattern)
    hit: list[str] = []

    def answer(asked: Asked, ask: Callable[[], Reply]) -> Reply | None:
        if asked.method != method or not matches(asked.path) or len(hit) >= times:
            return None
        hit.append(asked.path)
        return FAULTS[fault](asked, ask)

    proxy.rule(answer)
    try:
        yield hit
    finally:
        proxy.forget()

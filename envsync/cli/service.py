"""`envsync reconcile` as a service: ticks at their pace, told as logs, metrics and health."""

from __future__ import annotations

import datetime
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    make_wsgi_app,
    write_to_textfile,
)

from envsync.cli.output import printable
from envsync.errors import Conflict, EnvsyncError, InvalidInput, NotAllowed, Unavailable
from envsync.operations.reconcile import Tick
from envsync.operations.refresh import Refreshed
from envsync.planning.pace import Breaker, Pace

_JITTER = 0.1
_FOR_PEOPLE = frozenset({InvalidInput.exit_code, Conflict.exit_code})
"""Of errors that nothing mends but another commit."""


class Log:
    """Events on standard error: a line of words, or a JSON object with stable names."""

    def __init__(self, *, as_json: bool) -> None:
        """Write JSON, or words."""
        self._json = as_json

    def __call__(self, event: str, **values: Any) -> None:
        """Write one event; whoever listened may be gone."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        if self._json:
            line = json.dumps({"time": now, "event": event, **values}, ensure_ascii=False)
        else:
            told = " ".join(f"{key}={value}" for key, value in values.items() if value != "")
            line = printable(f"{now} {event} {told}".rstrip())
        with suppress(OSError, ValueError):
            sys.stderr.write(line.replace("\n", " ") + "\n")
            sys.stderr.flush()


class Metrics:
    """What is measured, by the names that docs/reconcile.md has."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self._ticks = Counter(
            "envsync_reconcile_ticks", "Ticks by how they ended.", ["result"],
            registry=self.registry,
        )  # fmt: skip
        self._environments = Gauge(
            "envsync_environments", "Environments by how the last tick left them.", ["state"],
            registry=self.registry,
        )  # fmt: skip
        self._failing = Gauge(
            "envsync_environment_failing", "1 for each environment that failed in the last tick.",
            ["name", "exit_code"], registry=self.registry,
        )  # fmt: skip
        self._versions = Counter(
            "envsync_versions_published", "Versions that ticks made, brought back or tagged.",
            registry=self.registry,
        )  # fmt: skip
        self._locks = Counter(
            "envsync_locks_pushed", "Locks that ticks pushed.", registry=self.registry
        )
        self._success = Gauge(
            "envsync_reconcile_last_success_timestamp_seconds",
            "When a tick last ended without an error.", registry=self.registry,
        )  # fmt: skip
        self._seconds = Gauge(
            "envsync_reconcile_duration_seconds", "How long the last tick took.",
            registry=self.registry,
        )  # fmt: skip
        self._open = Gauge(
            "envsync_reconcile_resting", "1 while git and the registry are left alone.",
            registry=self.registry,
        )  # fmt: skip

    def ticked(self, tick: Tick, seconds: float) -> None:
        """Take in a tick that came to its end."""
        results = tick.outcome.results
        self._ticks.labels("failed" if tick.exit_code else "ok").inc()
        self._seconds.set(seconds)
        self._failing.clear()
        for result in results:
            if result.error is not None:
                self._failing.labels(result.name, str(result.error.exit_code)).set(1)
        for state in ("done", "unchanged", "failed"):
            count = sum(result.state == state for result in results)
            self._environments.labels(state).set(count)
        self._environments.labels("resting").set(len(tick.resting))
        self._versions.inc(sum(result.state == "done" for result in results))
        self._locks.inc(len(tick.locked))
        if not tick.exit_code:
            self._success.set_to_current_time()

    def broke(self, seconds: float) -> None:
        """Take in a tick that could not be done at all."""
        self._ticks.labels("error").inc()
        self._seconds.set(seconds)

    def rests(self, resting: bool) -> None:
        """Take in whether git and the registry are left alone."""
        self._open.set(int(resting))

    def write(self, path: Path) -> None:
        """Write all of them, aside and renamed, as a textfile collector reads them."""
        write_to_textfile(str(path), self.registry)


@dataclass(slots=True, kw_only=True)
class Health:
    """Whether the service lives and is of use."""

    interval: float
    clock: Callable[[], float]
    _last: float | None = None
    _well: bool = False

    def ended(self, *, well: bool) -> None:
        """Take in that a tick ended."""
        self._last, self._well = self.clock(), well

    @property
    def alive(self) -> bool:
        """False when no tick ended for much longer than the interval: it hangs."""
        return self._last is None or self.clock() - self._last < 10 * self.interval + 3600

    @property
    def ready(self) -> bool:
        """True when git and the registry answered in the last tick."""
        return self._well


@contextmanager
def listening(address: str, metrics: Metrics, health: Health) -> Iterator[None]:
    """Answer ``/healthz``, ``/readyz`` and ``/metrics`` at host:port while the block runs."""
    host, _, port = address.rpartition(":")
    shown = make_wsgi_app(metrics.registry)

    def app(environ: Mapping[str, Any], start: Any) -> Any:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return shown(environ, start)
        states = {"/healthz": health.alive, "/readyz": health.ready}
        if path not in states:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"There is /healthz, /readyz and /metrics.\n"]
        good = states[path]
        start("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"ok\n" if good else b"not ok\n"]

    try:
        server = make_server(host.strip("[]"), int(port), app, handler_class=_Quiet)
    except OSError as error:
        raise Unavailable(f"nothing can listen at {address}", detail=str(error)) from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing: a scrape is no event."""


@dataclass(slots=True, kw_only=True)
class Service:
    """Ticks, one after another."""

    tick: Callable[[Callable[[str], frozenset[str]]], tuple[Tick, tuple[Refreshed, ...]]]
    interval: float
    log: Log
    metrics: Metrics
    health: Health
    sleep: Callable[[float], None]
    chance: Callable[[float, float], float]
    """Returns a number between two."""
    clock: Callable[[], float] = time.monotonic
    metrics_file: Path | None = None
    _pace: Pace = field(init=False)
    _breaker: Breaker = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing that failed."""
        self._pace = Pace(interval=self.interval)
        self._breaker = Breaker(interval=self.interval)

    def run(self) -> None:
        """Tick until the process is told to stop."""
        self.log("service.started", interval=self.interval)
        while True:
            if self._breaker.open(self.clock()):
                self.metrics.rests(True)
            else:
                self.once()
            self.sleep(self.interval * self.chance(1 - _JITTER, 1 + _JITTER))

    def once(self) -> int:
        """Do one tick, tell it, and return the exit code that it would have."""
        began = self.clock()
        try:
            tick, refreshed = self.tick(lambda commit: self._pace.resting(commit, self.clock()))
        except EnvsyncError as error:
            self._broke(error, began)
            code = error.exit_code
        else:
            self._ticked(tick, refreshed, began)
            code = tick.exit_code
        if self.metrics_file is not None:
            try:
                self.metrics.write(self.metrics_file)
            except OSError as error:
                self.log("metrics.failed", file=str(self.metrics_file), error=str(error))
        return code

    def _broke(self, error: EnvsyncError, began: float) -> None:
        now = self.clock()
        self.log("tick.failed", error=error.summary, detail=error.detail, code=error.exit_code)
        self.metrics.broke(now - began)
        self.health.ended(well=False)
        if isinstance(error, Unavailable | NotAllowed):
            self._failed(now)

    def _failed(self, now: float) -> None:
        self._breaker.failed(now)
        if self._breaker.open(now):
            self.metrics.rests(True)
            self.log("remote.left_alone", failures=self._breaker.failures)

    def _ticked(self, tick: Tick, refreshed: tuple[Refreshed, ...], began: float) -> None:
        now = self.clock()
        if tick.locked:
            self.log("locks.pushed", commit=tick.commit, names=",".join(tick.locked))
        if tick.push_error is not None:
            self.log("locks.failed", error=tick.push_error.summary, detail=tick.push_error.detail)
        for one in refreshed:
            if one.did != "unchanged":
                told = one.error.summary if one.error else ""
                self.log(f"refresh.{one.did}", name=one.name, branch=one.branch, error=told)
        silent = bool(tick.outcome.results)
        for result in tick.outcome.results:
            error = result.error
            silent &= isinstance(error, Unavailable | NotAllowed)
            if error is None:
                self._pace.succeeded(result.name)
            else:
                people = error.exit_code in _FOR_PEOPLE
                self._pace.failed(result.name, tick.commit, now, for_people=people)
                self.log(
                    "environment.failed",
                    name=result.name,
                    error=error.summary,
                    detail=error.detail,
                    code=error.exit_code,
                )
            if result.note:
                self.log("environment.note", name=result.name, text=result.note)
            if result.state == "done":
                self.log(
                    "environment.done",
                    name=result.name,
                    version=result.version,
                    digest=result.digest,
                    did=result.did,
                )
        if silent:
            self._failed(now)
        else:
            self._breaker.succeeded()
            self.metrics.rests(False)
        self.metrics.ticked(tick, now - began)
        self.health.ended(well=not silent)
        states = [result.state for result in tick.outcome.results]
        self.log(
            "tick.ended",
            commit=tick.commit,
            done=states.count("done"),
            unchanged=states.count("unchanged"),
            failed=states.count("failed"),
            resting=len(tick.resting),
            code=tick.exit_code,
        )

"""A real browser without a window: what it requests, and what it makes of a page."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.parts.cache import Unavailable
from tests.parts.process import tool

_PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")


def browser() -> str:
    """Return the path of a browser of Chromium's family."""
    for name in _PROGRAMS:
        try:
            return tool(name)
        except Unavailable:
            continue
    raise Unavailable("no browser is installed: python -m tests.parts.install installs one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A page that was loaded."""

    html: str
    """The document as it stood when everything was loaded and had run."""
    requests: list[str] = field(default_factory=list)
    """Everything that was to leave the machine: methods and hosts or addresses."""


def show(page: Path, profile: Path) -> Shown:
    """Load a file; whatever it wants from elsewhere goes to a proxy that only writes it down."""
    with _recording() as (proxy, requests):
        done = subprocess.run(
            [
                browser(), "--headless", "--disable-gpu", "--no-first-run",
                # The tests may run as root, and pages are files of theirs.
                "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={profile}",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                f"--proxy-server={proxy}", "--proxy-bypass-list=<-loopback>",
                "--virtual-time-budget=2000", "--dump-dom", page.as_uri(),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the browser ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return Shown(html=done.stdout, requests=requests)


@contextmanager
def _recording() -> Iterator[tuple[str, list[str]]]:
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            requests.append(f"{self.command} {self.path}")
            self.send_error(403)

        do_GET = do_POST = do_HEAD = do_OPTIONS = do_CONNECT = _refuse  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Print nothing: requests are remembered instead."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            thread.join()

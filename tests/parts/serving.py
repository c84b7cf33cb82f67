"""A web server on loopback for channels and wheels: it counts requests and fails when told to."""

from __future__ import annotations

import base64
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import quote, unquote, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One answered request; status 0 means that the connection was dropped."""

    method: str
    path: str
    status: int


@dataclass(slots=True, kw_only=True)
class FileServer:
    """A running server; each folder is found under its name."""

    base: str
    folders: Mapping[str, Path]
    login: tuple[str, str] | None
    _requests: list[Request] = field(default_factory=list)
    _failure: int | Literal["drop"] | None = None

    def url(self, name: str) -> str:
        """Return the address of a folder."""
        return f"{self.base}/{name}"

    def url_with_login(self, name: str) -> str:
        """Return the address of a folder with user and password in it."""
        if self.login is None:
            return self.url(name)
        user, password = self.login
        return self.url(name).replace("://", f"://{quote(user)}:{quote(password)}@")

    def requests(self, containing: str = "") -> list[Request]:
        """Return the requests so far whose path contains a text."""
        return [request for request in self._requests if containing in request.path]

    def forget(self) -> None:
        """Start counting anew."""
        self._requests.clear()

    def fail(self, how: int | Literal["drop"]) -> None:
        """Answer every further request with a status, or close the connection with no answer."""
        self._failure = how

    def heal(self) -> None:
        """Answer properly again."""
        self._failure = None

    def answer(self, method: str, path: str, authorization: str) -> tuple[int, Path | None]:
        """Decide on a request and remember it."""
        status, file = self._decide(path, authorization)
        self._requests.append(Request(method=method, path=path, status=status))
        return status, file

    def _decide(self, path: str, authorization: str) -> tuple[int, Path | None]:
        if self._failure:
            return (0 if self._failure == "drop" else self._failure), None
        if self.login:
            token = base64.b64encode(":".join(self.login).encode()).decode()
            if authorization != f"Basic {token}":
                return 401, None
        name, _, rest = path.lstrip("/").partition("/")
        root = self.folders.get(name)
        file = (root / rest).resolve() if root else None
        if root is None or file is None or not file.is_relative_to(root.resolve()):
            return 404, None
        return (200, file) if file.is_file() else (404, None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without it the small writes of a response wait for each other's acknowledgement, 40 ms each.
    disable_nagle_algorithm = True
    served: ClassVar[FileServer]

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        authorization = self.headers.get("Authorization", "")
        status, file = self.served.answer(self.command, path, authorization)
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="channel"')
        if file is None:
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_header("Content-Length", str(file.stat().st_size))
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        if self.command == "GET":
            with file.open("rb") as source:
                shutil.copyfileobj(source, self.wfile, 1 << 20)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing: requests are remembered instead."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing when a client goes away in the middle of an answer."""


@contextmanager
def serve_folders(
    folders: Mapping[str, Path], *, login: tuple[str, str] | None = None
) -> Iterator[FileServer]:
    """Serve folders on a free loopback port, each under its name, until the block ends."""
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        served = FileServer(
            base=f"http://127.0.0.1:{server.server_port}", folders=folders, login=login
        )
        handler.served = served  # type: ignore[attr-defined]
        # The default polls for the end twice a second, which every test would wait for.
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serve_channel(*channels: Path, login: tuple[str, str] | None = None) -> Iterator[FileServer]:
    """Serve channel folders as `channel`, `channel2`, and so on."""
    names = ["channel", *(f"channel{number}" for number in range(2, len(channels) + 1))]
    with serve_folders(dict(zip(names, channels, strict=True)), login=login) as server:
        yield server

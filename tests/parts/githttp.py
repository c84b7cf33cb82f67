"""Smart HTTP for git remotes on loopback, through git's own `http-backend`."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, unquote

from tests.parts.gitremote import GitRemote
from tests.parts.process import tool


@dataclass(slots=True, kw_only=True)
class GitServer:
    """A running server of all remotes in one folder."""

    base: str
    root: Path
    login: tuple[str, str] | None
    environment: Mapping[str, str]
    requests: list[str] = field(default_factory=list)

    def url(self, remote: GitRemote, *, with_login: bool = False) -> str:
        """Return the address of a remote, if asked with user and password in it."""
        url = f"{self.base}/{remote.path.relative_to(self.root)}"
        if with_login and self.login:
            user, password = self.login
            return url.replace("://", f"://{quote(user)}:{quote(password)}@")
        return url


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # the end of the connection is the end of the answer
    served: ClassVar[GitServer]

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        served = self.served
        served.requests.append(f"{self.command} {self.path}")
        if served.login:
            token = base64.b64encode(":".join(served.login).encode()).decode()
            if self.headers.get("Authorization") != f"Basic {token}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.end_headers()
                return
        done = subprocess.run(
            [tool("git"), "http-backend"],
            env=self._variables(),
            input=self._body(),
            capture_output=True,
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().splitlines() if ": " in line]
        status = next((value for name, value in headers if name == "Status"), "200 OK")
        if not head:
            return  # killed by a hook: the client sees a connection that just ends
        self.send_response(int(status.split()[0]))
        for name, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(chunks)

    def _variables(self) -> dict[str, str]:
        """Return what the CGI standard wants, https://www.rfc-editor.org/rfc/rfc3875."""
        path, _, query = self.path.partition("?")
        outside = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
        return {
            **outside,
            **self.served.environment,
            "GIT_PROJECT_ROOT": str(self.served.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": unquote(path),
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_USER": self.served.login[0] if self.served.login else "",
        }

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing: requests are remembered instead."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing when a client goes away in the middle of an answer."""


@contextmanager
def serve_git(
    root: Path, environment: Mapping[str, str], *, login: tuple[str, str] | None = None
) -> Iterator[GitServer]:
    """Serve the remotes below a folder over HTTP until the block ends."""
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        served = GitServer(
            base=f"http://127.0.0.1:{server.server_port}",
            root=root,
            login=login,
            environment=environment,
        )
        handler.served = served  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()

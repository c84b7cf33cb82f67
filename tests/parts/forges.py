"""GitHub's and GitLab's APIs on loopback, as far as comments go, as their documentation has them.

It keeps comments, tells its pages by ``Link``, counts rates, and fails when told to.
https://docs.github.com/en/rest/issues/comments and https://docs.gitlab.com/api/notes/
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "secret-token-0123456789"
PAGE = 10
"""Entries of a page, whatever is asked for up to this: servers may give fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An answer in place of the real one."""

    status: int
    """0: the connection is dropped."""
    headers: dict[str, str] = field(default_factory=dict)
    method: str = ""
    """'' for any."""
    after: bool = False
    """After the server has done what it was asked."""
    body: Any = None


@dataclass(slots=True, kw_only=True)
class Forge:
    """A running server, its comments and what it was asked."""

    base: str
    me: dict[str, Any]
    pulls: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    is_app: bool = False
    elsewhere: str = ""
    """Where the next page is said to be."""
    limit: int = 65_536
    """UTF-16 units of a comment."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def github(self) -> dict[str, str]:
        """The variables of a job of GitHub Actions."""
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.base,
            "GITHUB_GRAPHQL_URL": f"{self.base}/graphql",
            "GITHUB_REPOSITORY": "team/envs",
            "GITHUB_TOKEN": TOKEN,
        }

    @property
    def gitlab(self) -> dict[str, str]:
        """The variables of a job of GitLab CI."""
        return {
            "GITLAB_CI": "true",
            "CI_API_V4_URL": f"{self.base}/api/v4",
            "CI_PROJECT_ID": "42",
            "CI_MERGE_REQUEST_IID": "7",
            "GITLAB_TOKEN": TOKEN,
        }

    def add(self, body: str, user: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Keep a comment in both shapes."""
        number = 1000 + len(self.comments)
        entry = {
            "id": number,
            "body": body,
            "user": user,
            "author": user,
            "html_url": f"{self.base}/c/{number}",
            **more,
        }
        self.comments.append(entry)
        return entry

    def bodies(self) -> list[str]:
        """Return what our own comments say."""
        return [one["body"] for one in self.comments if one["user"] == self.me]

    def writes(self) -> list[str]:
        """Return the methods of requests that were to change something."""
        return [
            method for method, path in self.requests if method != "GET" and "graphql" not in path
        ]


Answer = tuple[int, Any, dict[str, str]]
_MISSING: Answer = (404, {"message": "Not Found"}, {})


def _answer(forge: Forge, method: str, target: str, token: str, body: Any) -> Answer:
    path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
    if token != TOKEN:
        return 401, {"message": f"Bad credentials {token}"}, {}
    gitlab = path.startswith("/api/v4")
    if path in {"/user", "/api/v4/user"}:
        if forge.is_app:
            return 403, {"message": "Resource not accessible by integration"}, {}
        return 200, forge.me, {}
    if path == "/graphql" and method == "POST":
        return 200, {"data": {"viewer": {"login": forge.me["login"]}}}, {}
    if path == "/repos/team/envs/pulls":
        head = query["head"][0]
        return _page(forge, [p for p in forge.pulls if p["label"] == head], target, query)
    lists = ("/repos/team/envs/issues/7/comments", "/api/v4/projects/42/merge_requests/7/notes")
    if path in lists and method == "GET":
        return _page(forge, forge.comments, target, query)
    if path in lists and method == "POST":
        return _written(forge, forge.add("", forge.me), body, 201)
    one = re.fullmatch(
        r"/repos/team/envs/issues/comments/(\d+)"
        r"|/api/v4/projects/42/merge_requests/7/notes/(\d+)",
        path,
    )
    if one and method == ("PUT" if gitlab else "PATCH"):
        number = int(one[1] or one[2])
        found = next((c for c in forge.comments if c["id"] == number), None)
        return _MISSING if found is None else _written(forge, found, body, 200)
    return _MISSING


def _written(forge: Forge, entry: dict[str, Any], body: Any, status: int) -> Answer:
    text = body["body"]
    if len(text.encode("utf-16-le")) // 2 > forge.limit:
        forge.comments = [one for one in forge.comments if one["body"]]
        return 422, {"message": "Validation Failed", "errors": [{"code": "too_long"}]}, {}
    entry["body"] = text
    return status, entry, {}


def _page(forge: Forge, entries: list[Any], target: str, query: dict[str, list[str]]) -> Answer:
    number = int(query.get("page", ["1"])[0])
    size = min(PAGE, int(query.get("per_page", ["30"])[0]))
    shown = entries[(number - 1) * size : number * size]
    links = {}
    if number * size < len(entries):
        bare = re.sub(r"&page=\d+", "", target)
        base = forge.elsewhere or forge.base
        first = f'<{base}{bare}&page=1>; rel="first"'
        links["Link"] = f'{first}, <{base}{bare}&page={number + 1}>; rel="next"'
    return 200, shown, links


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    forge: ClassVar[Forge]

    def _serve(self) -> None:
        forge = self.forge
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        token = self.headers.get("PRIVATE-TOKEN", "")
        token = token or self.headers.get("Authorization", "").removeprefix("Bearer ")
        with forge.lock:
            forge.requests.append((self.command, unquote(self.path)))
            fault = next((f for f in forge.faults if f.method in {"", self.command}), None)
            if fault is not None:
                forge.faults.remove(fault)
            status: int = 0
            said: Any = None
            headers: dict[str, str] = {}
            if fault is None or fault.after:
                status, said, headers = _answer(forge, self.command, self.path, token, body)
            if fault is not None:
                said = fault.body if fault.body is not None else {"message": f"no, {token}"}
                status, headers = fault.status, fault.headers
        if status == 0:
            self.close_connection = True
            return
        data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing: requests are remembered instead."""


@contextmanager
def serve_forge() -> Iterator[Forge]:
    """Serve both APIs on a free loopback port until the block ends."""
    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        me = {"login": "envsync-user", "username": "envsync-user", "id": 5, "type": "User"}
        forge = Forge(base=f"http://127.0.0.1:{server.server_port}", me=me)
        handler.forge = forge  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield forge
        finally:
            server.shutdown()
            thread.join()

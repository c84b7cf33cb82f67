"""Debian's docker-registry (distribution 2.8) on a loopback port."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import ssl
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import yaml

from tests.parts.certificates import write_certificates
from tests.parts.process import running, tool

# The hash is written down because making one needs a program or a library that Python lacks.
LOGIN = ("envsync", "open sesame")
_HTPASSWD = "envsync:$2b$04$STP8fkxaNu9nvzCdQI3WG.2Ne5T7jnAulbt0Qbh3eTJeYYJclGSDW\n"

_LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
_ACCESS = re.compile(r'^127\.0\.0\.1 - .*?"(\w+) (\S+) HTTP/[\d.]+" (\d+) (\d+) "', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRequest:
    """One line of the access log; `path` has the query with it."""

    method: str
    path: str
    status: int
    response_bytes: int


@dataclass(slots=True, kw_only=True)
class Registry:
    """A registry that runs, unless a test took it down."""

    folder: Path
    login: tuple[str, str] | None
    ca: Path | None
    read_only: bool
    port: int = 0
    _running: ExitStack = field(default_factory=ExitStack)
    _marks: Iterator[int] = field(default_factory=itertools.count)
    _seen: int = 0

    @property
    def host(self) -> str:
        """The host and port that references begin with."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address of the API without /v2/."""
        return f"{'https' if self.ca else 'http'}://{self.host}"

    @property
    def data(self) -> Path:
        """The folder in which the registry keeps everything, for tests that damage it."""
        return self.folder / "data"

    @property
    def certificates(self) -> Path:
        """A folder with ca.crt only, as `skopeo --dest-cert-dir` wants it."""
        return self.folder / "certificates"

    def up(self) -> None:
        """Start, on the same port as before if it ran before."""
        config = self.folder / "config.yml"
        config.write_text(yaml.safe_dump(self._config()), encoding="utf-8")
        log = self.folder / f"log-{len(list(self.folder.glob('log-*'))):04d}.txt"
        command = [tool("docker-registry"), "serve", str(config)]
        self._running.enter_context(running(command, log=log, ready=lambda: self._listens(log)))

    def down(self) -> None:
        """Stop; the data stays."""
        self._running.close()

    def requests(self, method: str = "", containing: str = "") -> list[RegistryRequest]:
        """Return what was asked since the last `forget`, in order."""
        return [
            request
            for request in self._all_requests()[self._seen :]
            if method in ("", request.method) and containing in request.path
        ]

    def forget(self) -> None:
        """Start counting anew."""
        self._seen = len(self._all_requests())

    def docker_config(self, folder: Path) -> Path:
        """Write a Docker `config.json` with this registry's login and return its folder."""
        folder.mkdir(parents=True, exist_ok=True)
        auths = {}
        if self.login:
            token = base64.b64encode(":".join(self.login).encode()).decode()
            auths[self.host] = {"auth": token}
        (folder / "config.json").write_text(json.dumps({"auths": auths}), encoding="utf-8")
        return folder

    def _config(self) -> dict[str, Any]:
        http: dict[str, Any] = {"addr": self.host, "secret": "not a secret"}
        if self.ca:
            files = {"certificate": "server.crt", "key": "server.key"}
            http["tls"] = {name: str(self.folder / file) for name, file in files.items()}
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.data)},
                "delete": {"enabled": True},
                "maintenance": {
                    "uploadpurging": {"enabled": False},
                    "readonly": {"enabled": self.read_only},
                },
            },
            "http": http,
        }
        if self.login:
            path = self.folder / "htpasswd"
            path.write_text(_HTPASSWD, encoding="utf-8")
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(path)}}
        return config

    def _listens(self, log: Path) -> bool:
        match = _LISTENING.search(log.read_text(encoding="utf-8"))
        if match:
            self.port = int(match[1])
        return bool(match)

    def _all_requests(self) -> list[RegistryRequest]:
        # A line is written after the answer was sent. A request of our own, whose line we wait
        # for, makes it sure that the lines of all requests before it are there.
        mark = f"/v2/?mark={next(self._marks)}"
        context = ssl.create_default_context(cafile=str(self.ca)) if self.ca else None
        handlers = [ProxyHandler({}), HTTPSHandler(context=context)]
        try:
            build_opener(*handlers).open(f"{self.url}{mark}").close()
        except urllib.error.HTTPError as refused:
            refused.close()
        except urllib.error.URLError:
            mark = ""  # taken down by the test
        end = time.monotonic() + 5
        while mark not in (text := self._log_text()) and time.monotonic() < end:
            time.sleep(0.005)
        rows = (match.groups() for match in _ACCESS.finditer(text))
        return [
            RegistryRequest(method=method, path=path, status=int(code), response_bytes=int(size))
            for method, path, code, size in rows
            if "?mark=" not in path
        ]

    def _log_text(self) -> str:
        logs = sorted(self.folder.glob("log-*.txt"))
        return "".join(log.read_text(encoding="utf-8") for log in logs)


@contextmanager
def run_registry(
    *, auth: bool = False, tls: bool = False, read_only: bool = False
) -> Iterator[Registry]:
    """Run a registry until the block ends; deleting is allowed; with `auth` it wants LOGIN."""
    tool("docker-registry")
    folder = Path(tempfile.mkdtemp(prefix="envsync-registry-"))
    registry = Registry(
        folder=folder,
        login=LOGIN if auth else None,
        ca=folder / "ca.crt" if tls else None,
        read_only=read_only,
    )
    try:
        if tls:
            write_certificates(folder)
            registry.certificates.mkdir()
            shutil.copy(folder / "ca.crt", registry.certificates)
        registry.up()
        yield registry
    finally:
        registry.down()
        shutil.rmtree(folder, ignore_errors=True)

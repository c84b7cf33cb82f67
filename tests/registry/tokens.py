"""A registry that wants bearer tokens, and the token service that gives them: both real."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from tests.parts.certificates import write_certificates
from tests.parts.process import free_port, running, tool

LOGIN = ("reader", "canary-password")
REFRESH = "canary-refresh-token"
SERVICE = "tests"
ISSUER = "tests issuer"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What the token service was asked for."""

    method: str
    scopes: tuple[str, ...]
    authorization: str


@dataclass(slots=True)
class TokenService:
    """A running token service; tests change what it gives."""

    key: ec.EllipticCurvePrivateKey
    certificate: bytes
    """DER."""
    asked: list[TokenRequest] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    url: str = ""
    anonymous: bool = False
    """Whether it gives tokens for pulling to everybody."""
    stale: int = 0
    """How many tokens to give next that have run out, though it says otherwise."""
    life: float = 300
    fail: int = 0
    """How many requests to answer 503 next."""

    def answer(self, request: TokenRequest, form: dict[str, list[str]]) -> tuple[int, bytes]:
        """Decide on a request."""
        self.asked.append(request)
        if self.fail:
            self.fail -= 1
            return 503, b"{}"
        basic = base64.b64encode(":".join(LOGIN).encode()).decode()
        known = request.authorization == f"Basic {basic}" or form.get("refresh_token") == [REFRESH]
        if not known and (request.authorization or not self.anonymous):
            return 401, b'{"details": "incorrect username or password"}'
        token = self.token([s for s in request.scopes if known or s.endswith(":pull")])
        self.given.append(token)
        name = "access_token" if request.method == "POST" else "token"
        return 200, json.dumps({name: token, "expires_in": self.life}).encode()

    def token(self, scopes: list[str]) -> str:
        """Return a signed token for scopes."""
        now = int(time.time()) - (600 if self.stale else 0)
        self.stale = max(0, self.stale - 1)
        parts = [scope.split(":") for scope in scopes]
        header = {
            "typ": "JWT",
            "alg": "ES256",
            "x5c": [base64.b64encode(self.certificate).decode()],
        }
        claims = {
            "iss": ISSUER,
            "sub": LOGIN[0],
            "aud": SERVICE,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": [{"type": t, "name": n, "actions": a.split(",")} for t, n, a in parts],
        }
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        signature = self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(signature)
        return f"{signed}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class _Handler(BaseHTTPRequestHandler):
    service: TokenService

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self._reply(tuple(query.get("scope", ())), {})

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._reply(tuple(form.get("scope", [""])[0].split()), form)

    def _reply(self, scopes: tuple[str, ...], form: dict[str, list[str]]) -> None:
        request = TokenRequest(
            method=self.command,
            scopes=scopes,
            authorization=self.headers.get("Authorization", ""),
        )
        status, body = self.service.answer(request, form)
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""


@contextmanager
def token_service(folder: Path) -> Iterator[TokenService]:
    """Run a token service; its certificate is ``server.crt`` in *folder*."""
    write_certificates(folder)
    key = serialization.load_pem_private_key((folder / "server.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    service = TokenService(key, certificate.public_bytes(serialization.Encoding.DER))
    handler = type("Handler", (_Handler,), {"service": service})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        service.url = f"http://127.0.0.1:{server.server_port}/token"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def token_registry(folder: Path, service: TokenService) -> Iterator[str]:
    """Run a registry that believes the service; yields its ``host:port``."""
    host = f"127.0.0.1:{free_port()}"
    token = {
        "realm": service.url,
        "service": SERVICE,
        "issuer": ISSUER,
        "rootcertbundle": str(folder / "ca.crt"),
    }
    config = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": host, "secret": "not a secret"},
        "auth": {"token": token},
    }
    path, log = folder / "config.yml", folder / "log.txt"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [tool("docker-registry"), "serve", str(path)]
    with running(command, log=log, ready=lambda: "listening on" in log.read_text(encoding="utf-8")):
        yield host

"""Who we are to a registry: nobody, a login, or a bearer token that a login was traded for.

Sources: https://distribution.github.io/distribution/spec/auth/token/ and …/auth/oauth/
"""

from __future__ import annotations

import base64
import re
import threading
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from envsync.adapters.http.addresses import is_loopback
from envsync.adapters.http.retries import RETRIED_STATUS, Again, Clock, retry_after
from envsync.adapters.http.wire import Answer, Origin, Wire, split_url
from envsync.adapters.registry.docker_config import Credentials, CredentialSource
from envsync.errors import NotAllowed, Unavailable
from envsync.model.json_text import read_json

Scopes = frozenset[str]
"""What a request needs, such as ``repository:team/train:pull``."""

_CHALLENGE = re.compile(r"""([a-zA-Z]+)\s+((?:[a-zA-Z_]+=(?:"[^"]*"|[^\s,"]+)(?:\s*,\s*)?)+)""")
_PARAMETER = re.compile(r"""([a-zA-Z_]+)=(?:"([^"]*)"|([^\s,"]+))""")
_TOKEN_ANSWER_MAX = 1 << 20
_DEFAULT_LIFE = 60.0
_USED_LIFE = 0.8
"""Part of a token's life after which a new one is asked for."""
_VISIBLE = 200


class Redactor:
    """Knows the secrets of a registry, and takes them out of what the registry writes."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._lock = threading.Lock()

    def add(self, *secrets: str) -> None:
        """Remember secrets; the empty text is none."""
        with self._lock:
            for secret in filter(None, secrets):
                self._secrets |= {secret, quote(secret, safe="")}

    def clean(self, text: str) -> str:
        """Return *text* on one line, printable, short, and without the secrets."""
        with self._lock:
            secrets = sorted(self._secrets, key=len, reverse=True)
        for secret in secrets:
            text = text.replace(secret, "***")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= _VISIBLE else f"{line[:_VISIBLE]}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bearer:
    realm: Origin
    target: str
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    value: str = field(repr=False)
    until: float


class Authenticator:
    """The ``Authorization`` header for requests to one registry, shared by all threads."""

    def __init__(
        self,
        *,
        registry: str,
        origin: Origin,
        wire: Wire,
        source: CredentialSource,
        clock: Clock,
        redactor: Redactor,
    ) -> None:
        """Make one for *registry* as it is written, which is asked at *origin*."""
        self._registry = registry
        self._origin = origin
        self._wire = wire
        self._source = source
        self._clock = clock
        self._redactor = redactor
        self._scheme: _Bearer | str = ""
        self._credentials: Credentials | None = None
        self._asked = False
        self._tokens: dict[Scopes, _Token] = {}
        self._locks: dict[Scopes, threading.Lock] = {}
        self._lock = threading.Lock()

    def header(self, scopes: Scopes) -> str:
        """Return the header's value for a request that needs *scopes*; '' before any challenge."""
        scheme = self._scheme
        if isinstance(scheme, _Bearer):
            return f"Bearer {self._token(scheme, scopes)}"
        return self._basic() if scheme else ""

    def challenged(self, challenge: str, scopes: Scopes, used: str) -> None:
        """Learn from a 401 to a request whose header was *used*, so that `header` is another one.

        Raises NotAllowed when there is nothing else to send.
        """
        schemes = _parse(challenge)
        if "bearer" in schemes:
            bearer = self._bearer(schemes["bearer"])
            with self._lock:
                self._scheme = bearer
                for key in [k for k, t in self._tokens.items() if used == f"Bearer {t.value}"]:
                    del self._tokens[key]
            return
        if "basic" not in schemes:
            raise self.refused("It asks for a login in a way that envsync does not know.")
        self._scheme = "basic"
        if self._basic() in {"", used}:
            raise self.refused()

    def refused(self, detail: str = "") -> NotAllowed:
        """Return the error for a registry that does not let us in."""
        if self._login() is None:
            return NotAllowed(
                f"{self._registry} wants a login",
                detail=detail or "There is none in the docker configuration.",
                hint=f"Log in:\n  docker login {self._registry}",
            )
        return NotAllowed(
            f"{self._registry} does not accept the login",
            detail=detail or "The login in the docker configuration is wrong, or has run out.",
            hint=f"Log in again:\n  docker login {self._registry}",
        )

    def _login(self) -> Credentials | None:
        with self._lock:
            if not self._asked:
                found = self._source.credentials(self._registry)
                if found is not None:
                    self._redactor.add(found.password, found.identity_token, _pair(found))
                self._credentials, self._asked = found, True
            return self._credentials

    def _basic(self) -> str:
        login = self._login()
        return f"Basic {_pair(login)}" if login and login.username else ""

    def _token(self, bearer: _Bearer, scopes: Scopes) -> str:
        wider = frozenset(re.sub(":pull$", ":pull,push", scope) for scope in scopes)
        for key in (scopes, wider):
            token = self._tokens.get(key)
            if token is not None and self._clock.monotonic() < token.until:
                return token.value
        with self._lock:
            lock = self._locks.setdefault(scopes, threading.Lock())
        with lock:  # of many threads that need this token one asks for it
            token = self._tokens.get(scopes)
            if token is None or self._clock.monotonic() >= token.until:
                token = self._fetch(bearer, scopes)
                self._tokens[scopes] = token
            return token.value

    def _bearer(self, parameters: dict[str, str]) -> _Bearer:
        try:
            realm, target = split_url(parameters.get("realm", ""))
        except ValueError:
            raise Unavailable(
                f"{self._registry} names no usable token service",
                detail="The realm of its answer is not an http(s) address.",
            ) from None
        own = self._origin
        # The login goes there. Without TLS only where it would go without TLS anyway.
        if realm.scheme != "https" and not (
            own.scheme == "http"
            and (realm.host == own.host or (is_loopback(own.host) and is_loopback(realm.host)))
        ):
            raise Unavailable(
                f"the token service of {self._registry} is refused",
                detail=f"It is at {realm}, and a login is not sent there without TLS.",
            )
        return _Bearer(realm=realm, target=target, service=parameters.get("service", ""))

    def _fetch(self, bearer: _Bearer, scopes: Scopes) -> _Token:
        login = self._login()
        query = [("service", bearer.service)] if bearer.service else []
        if login and login.identity_token:
            form = [
                ("grant_type", "refresh_token"),
                ("client_id", "envsync"),
                *query,
                ("scope", " ".join(sorted(scopes))),
                ("refresh_token", login.identity_token),
            ]
            body = urlencode(form).encode()
            headers = [
                ("Content-Type", "application/x-www-form-urlencoded"),
                ("Content-Length", str(len(body))),
            ]
            answer = self._wire.send("POST", bearer.realm, bearer.target, headers, body)
        else:
            query += [("scope", scope) for scope in sorted(scopes)]
            separator = "&" if "?" in bearer.target else "?"
            target = f"{bearer.target}{separator}{urlencode(query)}" if query else bearer.target
            basic = self._basic()
            answer = self._wire.send(
                "GET", bearer.realm, target, [("Authorization", basic)] if basic else []
            )
        with answer:
            return self._read(bearer, answer)

    def _read(self, bearer: _Bearer, answer: Answer) -> _Token:
        host = bearer.realm.netloc
        if answer.status in RETRIED_STATUS:
            raise Again(
                f"the token service {host} answered {answer.status}",
                after=retry_after(answer.headers.get("retry-after"), self._clock),
            )
        if answer.status in {400, 401, 403}:
            raise self.refused(f"Its token service {host} answered {answer.status}.")
        if answer.status != 200:
            raise Unavailable(
                f"{self._registry} gives no token",
                detail=f"Its token service {host} answered {answer.status}.",
            )
        try:
            document = read_json(answer.read(_TOKEN_ANSWER_MAX))
            value = document.get("token") or document["access_token"]
            life = float(document.get("expires_in") or _DEFAULT_LIFE)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            raise Again(f"the token service {host} answered something else than a token") from None
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise Again(f"the token service {host} answered something else than a token")
        self._redactor.add(value)
        return _Token(value=value, until=self._clock.monotonic() + life * _USED_LIFE)


def _pair(login: Credentials) -> str:
    return base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


def _parse(challenge: str) -> dict[str, dict[str, str]]:
    """Read ``WWW-Authenticate``: scheme in lower case to its parameters."""
    return {
        match[1].lower(): {m[1].lower(): m[2] or m[3] or "" for m in _PARAMETER.finditer(match[2])}
        for match in _CHALLENGE.finditer(challenge)
    }

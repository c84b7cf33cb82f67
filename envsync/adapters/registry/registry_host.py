"""One registry over HTTP: requests with our login, redirects, retries, and what refusals mean."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urljoin

from envsync.adapters.http.retries import RETRIED_STATUS, TRIES, Again, Clock, Patience, retry_after
from envsync.adapters.http.wire import Answer, Origin, Wire, split_url
from envsync.adapters.registry.registry_auth import Authenticator, Redactor, Scopes
from envsync.errors import EnvsyncError, NotAllowed, Unavailable
from envsync.model.json_text import read_json

Headers = Sequence[tuple[str, str]]
Body = bytes | Iterable[bytes] | None

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_MAX = 5
_ERROR_BODY_MAX = 64 << 10
_ABSENT_CODES = frozenset({"NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "NOT_FOUND"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """What a registry says in the body of an error: its codes, and words fit to be shown."""

    codes: frozenset[str] = frozenset()
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    method: str
    target: str
    scopes: Scopes
    headers: Headers
    body: Body
    patient: bool


class RegistryHost:
    """Requests to one registry; used by all threads."""

    def __init__(
        self,
        *,
        name: str,
        origin: Origin,
        wire: Wire,
        auth: Authenticator,
        clock: Clock,
        redactor: Redactor,
        deadline: float,
        agent: str,
    ) -> None:
        self.name = name
        """The registry as it is written, for messages."""
        self.origin = origin
        self._wire = wire
        self._auth = auth
        self._clock = clock
        self._redactor = redactor
        self._patience = Patience(name, clock, deadline=deadline)
        # Transparent compression would hide the bytes that digests are about.
        self._always = (("User-Agent", agent), ("Accept-Encoding", "identity"))
        self._first = threading.Lock()
        self._greeted = threading.Event()

    def run(self, attempt: Callable[[], T], *, long: bool = False) -> T:
        """Return what *attempt* returns, trying again as `Patience` says."""
        return self._patience.run(attempt, long=long)

    def rest(self, failures: int, failure: Again) -> None:
        """Wait after a stream broke the *failures*-th time in a row; Unavailable after too many."""
        if failures >= TRIES:
            raise Unavailable(
                f"{self.name} is not available", detail=failure.reason, hint="Try again later."
            ) from failure
        self._clock.sleep(self._patience.jitter(failures - 1))

    def send(
        self,
        method: str,
        target: str,
        scopes: Scopes,
        headers: Headers = (),
        body: Body = None,
        *,
        patient: bool = False,
    ) -> Answer:
        """Send a request, with our login if the registry asks for one, and return the answer.

        *target* is a path of the registry or an absolute URL that it gave us. Raises Again,
        NotAllowed, Unavailable, and what *body* raises.
        """
        ask = _Ask(
            method=method,
            target=target,
            scopes=scopes,
            headers=(*self._always, *headers),
            body=body,
            patient=patient,
        )
        if self._greeted.is_set():
            return self._send(ask)
        # The first answer tells how to log in. Other threads wait for it instead of asking too.
        with self._first:
            if not self._greeted.is_set():
                try:
                    return self._send(ask)
                finally:
                    self._greeted.set()
        return self._send(ask)

    def resolve(self, base: str, location: str | None) -> str:
        """Return where *location* leads from *base*, as a path of ours or an absolute URL."""
        try:
            origin, target = split_url(urljoin(urljoin(f"{self.origin}/", base), location or ""))
        except ValueError as error:
            raise Again(f"{self.name} leads to {error}") from None
        same_host = origin.host == self.origin.host
        if origin != self.origin and origin.scheme == "http" and self.origin.scheme == "https":
            if not same_host:
                raise Unavailable(
                    f"{self.name} leads to a place without TLS",
                    detail=f"It is at {origin}, which is refused.",
                )
            # A registry behind a proxy that ends TLS, and does not know of it: ask at our origin.
            origin = self.origin
        return target if origin == self.origin else f"{origin}{target}"

    def proves_absence(self, answer: Answer) -> bool:
        """Tell whether a 404 is the registry's own word that something is not there."""
        if answer.origin != self.origin:
            return False
        return bool(self.complaint(answer).codes & _ABSENT_CODES)

    def complaint(self, answer: Answer) -> Complaint:
        """Read the errors of an answer's body; empty when it has none."""
        # https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
        try:
            errors = read_json(answer.read(_ERROR_BODY_MAX))["errors"]
            pairs = [(str(e.get("code", "")), str(e.get("message", ""))) for e in errors]
        except (Again, ValueError, KeyError, TypeError, AttributeError):
            return Complaint()
        words = "; ".join(message or code for code, message in pairs)
        return Complaint(
            codes=frozenset(code.upper() for code, _ in pairs), words=self._redactor.clean(words)
        )

    def refusal(self, answer: Answer, doing: str, complaint: Complaint | None = None) -> Exception:
        """Return the error for an answer that *doing* cannot go on with, Again where it may."""
        said = (complaint or self.complaint(answer)).words
        who = answer.origin.netloc if answer.origin != self.origin else self.name
        words = f"{who} answered {answer.status}" + (f": {said}" if said else "")
        # A page of a proxy's own says 200 to whatever it is asked; the registry may say more.
        if answer.status in RETRIED_STATUS or 200 <= answer.status < 300:
            after = retry_after(answer.headers.get("retry-after"), self._clock)
            return Again(f"{words} to {doing}", after=after)
        if answer.origin == self.origin and answer.status == 401:
            return self._auth.refused(f"{words} to {doing}.")
        if answer.origin == self.origin and answer.status in {403, 405}:
            return NotAllowed(
                f"{self.name} does not allow it",
                detail=f"{words} to {doing}.",
                hint="Ask the registry's owner for the right, or log in as somebody who has it.",
            )
        return self.nonsense(f"{words} to {doing}")

    def nonsense(self, words: str) -> EnvsyncError:
        """Return the error for an answer that nothing follows from."""
        return Unavailable(f"{self.name} gave an answer that cannot be used", detail=f"{words}.")

    def _send(self, ask: _Ask) -> Answer:
        used = self._auth.header(ask.scopes)
        # The first 401 may say how to log in, the next that a token had run out; no other helps.
        for _ in range(1 if used else 2):
            answer = self._exchange(ask, used)
            if answer.status != 401 or answer.origin != self.origin:
                return answer
            with answer, suppress(Again):
                answer.read(_ERROR_BODY_MAX)  # so that the connection can be used again
            self._auth.challenged(answer.headers.get("www-authenticate", ""), ask.scopes, used)
            if not (ask.body is None or isinstance(ask.body, bytes)):
                raise Again(f"{self.name} wants a new login for an upload", after=0)
            used = self._auth.header(ask.scopes)
        return self._exchange(ask, used)

    def _exchange(self, ask: _Ask, authorization: str) -> Answer:
        target = ask.target
        for hop in range(_REDIRECTS_MAX + 1):
            origin, path = (self.origin, target) if target[:1] == "/" else split_url(target)
            headers = list(ask.headers)
            # To its own origin only: a redirect or an upload address may lead anywhere.
            if authorization and origin == self.origin:
                headers.append(("Authorization", authorization))
            answer = self._wire.send(
                ask.method, origin, path, headers, ask.body, patient=ask.patient
            )
            answer.redirected = hop > 0
            if answer.status not in _REDIRECTS or ask.method not in {"GET", "HEAD"}:
                return answer
            with answer:
                target = self.resolve(target, answer.headers.get("location"))
        raise Unavailable(f"{self.name} redirects in circles")

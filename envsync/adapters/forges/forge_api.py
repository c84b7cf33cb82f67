"""The JSON API of a forge: our token, pages, pauses, and what refusals mean."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urljoin

from envsync.adapters.http.addresses import is_loopback
from envsync.adapters.http.retries import RETRIED_STATUS, Again, Clock, Patience, retry_after
from envsync.adapters.http.wire import Answer, Wire, split_url
from envsync.adapters.registry.registry_auth import Redactor
from envsync.errors import InvalidInput, NotAllowed, Unavailable
from envsync.model.json_text import read_json

_ANSWER_MAX = 32 << 20
_PAGES_MAX = 100
_NEXT = re.compile(r'<([^>]+)>\s*;[^,]*\brel="?next"?')

T = TypeVar("T")


class ForgeApi:
    """Requests to the API at *base*; the token goes there and nowhere else."""

    def __init__(
        self,
        *,
        base: str,
        headers: Sequence[tuple[str, str]],
        secret: str,
        wire: Wire,
        clock: Clock,
        deadline: float,
    ) -> None:
        """*headers* carry the token, *secret* is what must never be shown."""
        try:
            self._origin, path = split_url(base)
        except ValueError as error:
            raise InvalidInput("the address of the API cannot be used", detail=str(error)) from None
        if self._origin.scheme == "http" and not is_loopback(self._origin.host):
            raise InvalidInput(
                f"the API at {self._origin} is not asked without TLS",
                detail="The token would go over the network in the clear.",
            )
        self._path = path.rstrip("/")
        self._headers = (*headers, ("Content-Type", "application/json"))
        self._wire = wire
        self._clock = clock
        self._redactor = Redactor()
        self._redactor.add(secret)
        self._patience = Patience(self._origin.netloc, clock, deadline=deadline)

    def patiently(self, attempt: Callable[[], T]) -> T:
        """Return what *attempt* returns, trying again as `Patience` says."""
        return self._patience.run(attempt)

    def ask(
        self, method: str, path: str, doing: str, body: Mapping[str, object] | None = None
    ) -> Any:
        """Return the JSON that answers a request; Again where another try may help."""
        return self._ask(method, f"{self._path}{path}", doing, body)[0]

    def pages(self, path: str, doing: str) -> Iterator[Any]:
        """Yield the entries of all pages of a list."""
        target = f"{self._path}{path}"
        for _ in range(_PAGES_MAX):
            entries, link = self._ask("GET", target, doing, None)
            if not isinstance(entries, list):
                raise Again(f"{self._origin.netloc} answered with something else than a list")
            yield from entries
            found = _NEXT.search(link)
            if found is None:
                return
            target = self._own(urljoin(f"{self._origin}{target}", found[1]))
        raise Unavailable(f"{self._origin.netloc} has more than {_PAGES_MAX} pages to {doing}")

    def graph(self, path: str, query: str) -> Any:
        """Return what a GraphQL query answers; *path* is absolute on our origin."""
        return self._ask("POST", path, "ask who we are", {"query": query})[0]

    def _own(self, url: str) -> str:
        try:
            origin, target = split_url(url)
        except ValueError as error:
            raise Unavailable(f"{self._origin.netloc} leads to {error}") from None
        if origin != self._origin:
            raise Unavailable(
                f"{self._origin.netloc} leads elsewhere",
                detail=f"The next page is said to be at {origin}, which is not given our token.",
            )
        return target

    def _ask(
        self, method: str, target: str, doing: str, body: Mapping[str, object] | None
    ) -> tuple[Any, str]:
        data = None if body is None else json.dumps(body).encode()
        length = () if data is None else (("Content-Length", str(len(data))),)
        with self._wire.send(
            method, self._origin, target, (*self._headers, *length), data
        ) as answer:
            said = answer.read(_ANSWER_MAX)
            if not 200 <= answer.status < 300:
                raise self._refusal(answer, said, doing)
            try:
                return read_json(said), answer.headers.get("link", "")
            except ValueError:
                raise Again(f"{self._origin.netloc} answered with no JSON to {doing}") from None

    def _refusal(self, answer: Answer, said: bytes, doing: str) -> Exception:
        host, status = self._origin.netloc, answer.status
        message = _message(said)
        words = f"{host} answered {status}"
        words += f": {self._redactor.clean(message)}" if message else ""
        words += f" to {doing}"
        pause = self._pause(answer)
        if status in RETRIED_STATUS or (status == 403 and pause is not None):
            return Again(words, after=pause)
        if status == 401:
            return NotAllowed(
                f"{host} does not know the token",
                detail=f"{words}.",
                hint="It may have run out; give a new one in the environment.",
            )
        if status == 403:
            return NotAllowed(
                f"{host} does not allow it",
                detail=f"{words}.",
                hint="The token must be allowed to write comments on pull requests:\n"
                "    permissions: {pull-requests: write}",
            )
        if status in {404, 410}:
            return InvalidInput(
                "there is no such pull request, or the token may not see it",
                detail=f"{words}.",
                hint="Check --repository and --pull, and what the token may read.",
            )
        if status in {400, 413, 422}:
            return InvalidInput(f"{host} does not take the comment", detail=f"{words}.")
        return Unavailable(
            f"{host} gave an answer that cannot be used",
            detail=f"{words}.",
            hint="If the repository was renamed, give its new name in --repository.",
        )

    def _pause(self, answer: Answer) -> float | None:
        """Return the seconds that a rate limit asks for; None when there is none."""
        after = retry_after(answer.headers.get("retry-after"), self._clock)
        if after is not None:
            return after
        reset = answer.headers.get("x-ratelimit-reset", "")
        if answer.headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
            return max(0.0, float(reset[:12]) - self._clock.wall())
        return None


def _message(said: bytes) -> str:
    try:
        document = read_json(said[:65536])
        return str(document.get("message") or document.get("error") or "")
    except (ValueError, AttributeError):
        return ""

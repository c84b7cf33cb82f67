"""Patience with one host: which failures are tried again, when, and when to stop."""

from __future__ import annotations

import datetime
import email.utils
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from envsync.errors import Unavailable

RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP answers that may be different next time; no other is tried again."""

TRIES = 6
FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
LONGEST_RETRY_AFTER = 120.0
"""Seconds; a host that asks for a longer pause is given up for now."""
LEFT_ALONE_FOR = 30.0
"""Seconds in which a host that could not be reached, or only fails, is not asked again."""
GIVEN_UP = 3
"""Requests to be given up, with all their tries, until a host that answers counts as failing."""

T = TypeVar("T")


class Again(Exception):
    """A try failed in a way that another one may not.

    ``after`` is the pause in seconds that the host asked for; ``connecting`` says that it was not
    even reached.
    """

    def __init__(
        self, reason: str, *, after: float | None = None, connecting: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after
        self.connecting = connecting


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time and chance, as arguments: tests neither wait nor throw dice."""

    monotonic: Callable[[], float] = time.monotonic
    """Seconds from some moment on."""
    wall: Callable[[], float] = time.time
    """Seconds since 1970 UTC."""
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random
    """A number from 0 to 1."""


class Patience:
    """Runs tries against one host; all threads share what it said about pauses.

    A circuit breaker: a host that cannot be reached, or of which nothing has succeeded for a while
    and several requests were given up, is left alone for a moment. A thousand environments then do
    not each wait for all the tries of their own. One broken repository does not open it, because
    requests of others succeed.
    """

    def __init__(self, host: str, clock: Clock, *, deadline: float) -> None:
        """Make one for *host*; *deadline* in seconds is for what takes no time by itself."""
        self._host = host
        self._clock = clock
        self._deadline = deadline
        self._lock = threading.Lock()
        self._paused_until = 0.0
        self._succeeded = -math.inf
        self._given_up_since = 0
        self._left_alone_until = -math.inf
        self._why = ""

    def run(self, attempt: Callable[[], T], *, long: bool = False) -> T:
        """Return what *attempt* returns, trying again when it raises Again.

        No try starts after the deadline, unless the work is *long* by itself, as uploads are.
        Raises Unavailable after the last try, and at once everything else that *attempt* raises.
        """
        start = self._clock.monotonic()
        for number in range(TRIES):
            self._wait_for_pause()
            try:
                value = attempt()
            except Again as failure:
                last = failure
            else:
                self._succeeded = self._clock.monotonic()
                self._given_up_since = 0
                self._left_alone_until = -math.inf
                return value
            delay = self._delay(number, last)
            if delay is None:
                break
            if not long and self._clock.monotonic() - start + delay > self._deadline:
                break
            if number + 1 < TRIES and last.after is None:
                self._clock.sleep(delay)
        self._note_given_up(last)
        raise self._given_up(last.reason) from last

    def jitter(self, number: int) -> float:
        """Return a delay in seconds after failure *number*, which counts from 0."""
        # Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        return self._clock.random() * min(LONGEST_DELAY, FIRST_DELAY * 2.0**number)

    def _note_given_up(self, failure: Again) -> None:
        now = self._clock.monotonic()
        with self._lock:
            self._given_up_since += 1
            silent = now - self._succeeded >= LEFT_ALONE_FOR
            if failure.connecting or (silent and self._given_up_since >= GIVEN_UP):
                self._why = failure.reason
                self._left_alone_until = now + LEFT_ALONE_FOR

    def _wait_for_pause(self) -> None:
        if self._clock.monotonic() < self._left_alone_until:
            raise self._given_up(self._why)
        while (pause := self._paused_until - self._clock.monotonic()) > 0:
            self._clock.sleep(pause)

    def _delay(self, number: int, failure: Again) -> float | None:
        """Return how long the next try waits, None when the host asks for too much."""
        if failure.after is None:
            return self.jitter(number)
        if failure.after > LONGEST_RETRY_AFTER:
            failure.reason += f", and asks for a pause of {failure.after:.0f} seconds"
            return None
        with self._lock:
            until = self._clock.monotonic() + failure.after
            self._paused_until = max(self._paused_until, until)
        return failure.after

    def _given_up(self, reason: str) -> Unavailable:
        return Unavailable(
            f"{self._host} is not available",
            detail=f"{reason[:1].upper()}{reason[1:]}.",
            hint="Check the address and the network, or wait, and run the same command again.",
        )


def retry_after(value: str | None, clock: Clock) -> float | None:
    """Read ``Retry-After``: seconds or a date; None when it is missing or makes no sense."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=datetime.UTC)
    return max(0.0, date.timestamp() - clock.wall())

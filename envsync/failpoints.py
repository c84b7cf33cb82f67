"""Places with a name at which a test makes envsync die, fail or wait.

They stand before and after every side effect of the release protocol. Only a test turns one on, by
the variable ``ENVSYNC_TEST_FAILPOINT``; in every other run `reach` is one comparison.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import NoReturn

from envsync.errors import Misuse, Unavailable

VARIABLE = "ENVSYNC_TEST_FAILPOINT"
"""``name:action`` or ``name:action:n``, for the *n*-th time that the place is reached."""

EFFECTS = (
    "blob-mount",
    "blob-put",
    "file-rename",
    "manifest-put",
    "content-tag",
    "record-push",
    "record-write",
    "commit-tag",
    "latest-tag",
    "referrer-put",
    "version-tag",
    "lock-write",
    "plan-write",
)
"""What changes something outside of the process, in the order of an apply."""

NAMES = frozenset(f"{effect}.{side}" for effect in EFFECTS for side in ("before", "after"))

ACTIONS = ("kill", "raise", "fail", "sleep")
"""SIGKILL; an exception that nobody expects; an error of a remote; waiting to be told to stop."""

_SLEEP = 60.0
"""Seconds."""


class Reached(Exception):
    """What `raise` raises: it stands for a bug, so that nothing in envsync may catch it."""


@dataclass(slots=True, kw_only=True)
class _Armed:
    name: str
    action: str
    left: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def pass_by(self, name: str) -> None:
        if name != self.name:
            return
        with self.lock:
            self.left -= 1
            if self.left:
                return
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action == "sleep":
            os.write(2, f"failpoint {name} is reached\n".encode())
            time.sleep(_SLEEP)
        elif self.action == "fail":
            raise Unavailable("a test wanted this to fail", detail=f"At {name}.")
        else:
            raise Reached(name)


_armed: _Armed | None = None


def reach(name: str) -> None:
    """Say that the place *name*, one of `NAMES`, is reached."""
    if _armed is not None:
        _armed.pass_by(name)


def arm(text: str) -> None:
    """Turn on the one place that *text* names, or none when it is empty; Misuse if it names none.

    A place that does not exist is an error, because a test that waits for it would prove nothing.
    """
    global _armed
    _armed = _parsed(text) if text else None


def _parsed(text: str) -> _Armed:
    name, _, rest = text.partition(":")
    action, _, count = rest.partition(":")
    if name not in NAMES:
        _refuse(f"there is no failpoint {name!r}")
    if action not in ACTIONS:
        _refuse(f"a failpoint does one of {', '.join(ACTIONS)}, not {action!r}")
    if count and not (count.isascii() and count.isdigit() and int(count)):
        _refuse(f"{count!r} is not a number from 1")
    return _Armed(name=name, action=action, left=int(count or 1))


def _refuse(words: str) -> NoReturn:
    raise Misuse(f"{VARIABLE}: {words}", hint="It is for tests: leave it out.")

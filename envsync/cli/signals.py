"""Signals that are heard at once, whatever the main thread waits for.

Python notes a signal when it comes, and acts on it when the main thread runs Python next. A signal
that comes between the thread's last look and its falling asleep on a lock is therefore noted and
not heard: Ctrl-C does nothing until some other thread has ended, which may take minutes.
"""

from __future__ import annotations

import os
import signal
import threading
import time

_NUDGE = signal.SIGURG
"""The system sends it to nobody who did not ask, and ignores it where nobody listens."""

_PAUSES = (0.05, 0.2, 1.0, 2.0)
"""Seconds between nudges; by the last one the main thread has long been asleep."""


def heed_signals() -> None:
    """Wake the main thread after each signal that comes from now on; call this in that thread."""
    heard, hears = os.pipe()
    os.set_blocking(hears, False)
    signal.signal(_NUDGE, lambda *_: None)
    signal.set_wakeup_fd(hears, warn_on_full_buffer=False)
    main = threading.get_ident()
    threading.Thread(target=_nudge, args=(heard, main), name="signals", daemon=True).start()


def _nudge(heard: int, main: int) -> None:
    while True:
        if os.read(heard, 1) == bytes([_NUDGE]):
            continue
        for pause in _PAUSES:
            time.sleep(pause)
            signal.pthread_kill(main, _NUDGE)

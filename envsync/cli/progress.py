"""Progress on standard error: live on a terminal, plain lines elsewhere, JSON when asked."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from envsync.cli.session import Session
from envsync.cli.tally import Tally
from envsync.planning.sizes import size
from envsync.ports.progress import Made, Progress, Sent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

Clock = Callable[[], float]

EVERY = 5.0
"""Seconds between two plain lines that say how far an environment is."""
SHOWN = 12
"""Environments that have a line of their own on a tall terminal; of the others there is a count."""
_RESERVED = 4
"""Lines of a terminal that bars of environments leave to others."""


class Lines:
    """A line for each step, now and then one that says how far it is, and what it came to."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        """Take the time, in seconds, from *clock*."""
        self._clock = clock
        self._tallies: dict[str, Tally] = {}
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def step(self, name: str, text: str) -> None:
        """Say what happens to *name* now."""
        self._tally(name)
        self._say(f"{name}: {text}")

    def bytes(self, name: str, amount: int) -> None:
        """Count bytes."""
        tally = self._tally(name)
        with self._lock:
            tally.move(amount, self._clock())
        self._now_and_then(name, tally)

    def expect(self, name: str, *, packages: int, layers: int) -> None:
        """Count what is to come."""
        tally = self._tally(name)
        with self._lock:
            tally.packages += packages
            tally.layers += layers

    def package(self, name: str, package: str, made: Made, size: int) -> None:
        """Count a package."""
        tally = self._tally(name)
        with self._lock:
            tally.made[made] += 1
        self._now_and_then(name, tally)

    def layer(self, name: str, digest: str, sent: Sent, size: int) -> None:
        """Count a layer."""
        tally = self._tally(name)
        with self._lock:
            tally.sent[sent] += 1
        self._now_and_then(name, tally)

    def done(self, name: str, text: str) -> None:
        """Say how it ended for *name*, and what was used again."""
        tally = self._tally(name)
        with self._lock:
            summary = tally.summary()
        if summary:
            self._say(f"{name}: {summary}")
        self._say(f"{name}: {text}")

    def close(self) -> None:
        """Say what all environments came to, if there were several."""
        with self._lock:
            counted = [tally for tally in self._tallies.values() if tally.summary()]
        if len(counted) > 1:
            everything = Tally()
            for tally in counted:
                everything.add(tally)
            self._say(f"{len(counted)} environments: {everything.summary()}")

    def _tally(self, name: str) -> Tally:
        with self._lock:
            if name not in self._tallies:
                self._tallies[name] = Tally()
                self._told[name] = self._clock()
            return self._tallies[name]

    def _now_and_then(self, name: str, tally: Tally) -> None:
        now = self._clock()
        with self._lock:
            if now - self._told[name] < EVERY:
                return
            self._told[name] = now
            text = tally.underway(now)
        if text:
            self._say(f"{name}: {text}")

    def _say(self, line: str) -> None:
        # Whoever listened may be gone; the work goes on.
        with suppress(OSError, ValueError):
            click.echo(line, err=True)


class Events(Lines):
    """A JSON object a line; ``envsync schema progress`` describes them."""

    def step(self, name: str, text: str) -> None:
        """Tell a step."""
        self._event("step", name, text=text, bytes=self._tally(name).moved)

    def expect(self, name: str, *, packages: int, layers: int) -> None:
        """Tell how many are to come."""
        super().expect(name, packages=packages, layers=layers)
        self._event("expect", name, packages=packages, layers=layers)

    def package(self, name: str, package: str, made: Made, size: int) -> None:
        """Tell a package."""
        super().package(name, package, made, size)
        self._event("package", name, package=package, made=made, size=size)

    def layer(self, name: str, digest: str, sent: Sent, size: int) -> None:
        """Tell a layer."""
        super().layer(name, digest, sent, size)
        self._event("layer", name, digest=digest, sent=sent, size=size)

    def done(self, name: str, text: str) -> None:
        """Tell how it ended."""
        tally = self._tally(name)
        self._event("done", name, text=text, bytes=tally.moved, counts=tally.document())

    def close(self) -> None:
        """Nothing: whoever reads events can add."""

    def _now_and_then(self, name: str, tally: Tally) -> None:
        """Nothing: every package is an event."""

    def _event(self, event: str, name: str, **values: Any) -> None:
        document = {"format_version": "1.1", "event": event, "name": name, **values}
        self._say(json.dumps(document, ensure_ascii=False))


class Live:
    """A bar for each environment that is being worked on, and one for all."""

    def __init__(self, display: RichProgress, *, clock: Clock = time.monotonic) -> None:
        """Show on *display*."""
        self._display = display
        self._clock = clock
        self._tasks: dict[str, TaskID] = {}
        self._tallies: dict[str, Tally] = {}
        self._ended = set[str]()
        self._whole = Tally()
        self._lock = threading.RLock()
        self._all = display.add_task("", total=None, name="all", moved="", visible=False)

    def step(self, name: str, text: str) -> None:
        """Say what happens to *name* now."""
        with self._lock:
            self._display.update(self._task(name), description=text)

    def bytes(self, name: str, amount: int) -> None:
        """Count bytes and show them with their rate."""
        with self._lock:
            task, tally = self._task(name), self._tallies[name]
            tally.move(amount, self._clock())
            self._whole.move(amount, self._clock())
            self._display.update(task, moved=self._moved(tally))
            self._overall()

    def expect(self, name: str, *, packages: int, layers: int) -> None:
        """Make the bar as long as what is to come."""
        with self._lock:
            task, tally = self._task(name), self._tallies[name]
            tally.packages += packages
            self._whole.packages += packages
            self._display.update(task, total=tally.packages)

    def package(self, name: str, package: str, made: Made, size: int) -> None:
        """Move the bar."""
        with self._lock:
            task, tally = self._task(name), self._tallies[name]
            tally.made[made] += 1
            self._whole.made[made] += 1
            text = f"{package} {'in the registry' if made == 'registry' else made}"
            self._display.update(task, completed=tally.made.total(), description=text)
            self._overall()

    def layer(self, name: str, digest: str, sent: Sent, size: int) -> None:
        """Count it, for the line at the end."""
        with self._lock:
            self._task(name)
            self._tallies[name].sent[sent] += 1

    def done(self, name: str, text: str) -> None:
        """Take the bar away and leave a line with what it came to."""
        with self._lock:
            task = self._task(name)
            summary = self._tallies[name].summary()
            self._display.update(task, visible=False)
            self._ended.add(name)
            self._leave(f"{name}: {_short(text)}")
            if summary:
                self._leave(f"    {summary}", style="dim")
            self._show_some()
            self._overall()

    def close(self) -> None:
        """Take away what is left."""
        self._display.update(self._all, visible=False)

    def _task(self, name: str) -> TaskID:
        if name not in self._tasks:
            self._tallies[name] = Tally()
            self._tasks[name] = self._display.add_task("", total=None, name=name, moved="")
            self._show_some()
            self._overall()
        return self._tasks[name]

    def _leave(self, line: str, style: str = "") -> None:
        """Leave one line above the bars, cut to the width: results are printed in full later."""
        console = self._display.console
        console.print(
            line, style=style, markup=False, highlight=False, no_wrap=True, overflow="ellipsis"
        )

    @property
    def _room(self) -> int:
        """How many environments have a line of their own."""
        return max(1, min(SHOWN, self._display.console.height - _RESERVED))

    def _show_some(self) -> None:
        """Show the first of those that are being worked on: a terminal has not many lines."""
        active = [name for name in self._tasks if name not in self._ended]
        for number, name in enumerate(active):
            self._display.update(self._tasks[name], visible=number < self._room)

    def _overall(self) -> None:
        known = len(self._tasks)
        if known < 2:
            return
        more = known - len(self._ended) - self._room
        text = f"{len(self._ended)} of {known} environments"
        self._display.update(
            self._all,
            visible=True,
            total=self._whole.packages or None,
            completed=self._whole.made.total(),
            description=f"{text}, {more} more at work" if more > 0 else text,
            moved=self._moved(self._whole),
        )

    def _moved(self, tally: Tally) -> str:
        rate = tally.rate(self._clock())
        return f"{size(tally.moved)} {rate}".strip() if tally.moved else ""


@contextmanager
def progress(session: Session) -> Iterator[Progress]:
    """Give the progress that fits where the session's standard error goes."""
    if session.format == "json" or not session.interactive:
        lines = Events() if session.format == "json" else Lines()
        try:
            yield lines
        finally:
            lines.close()
        return
    from rich.console import Console

    with display(Console(stderr=True)) as shown:
        live = Live(shown)
        try:
            yield live
        finally:
            live.close()


_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")


def _short(text: str) -> str:
    return _DIGEST.sub(r"\1", text)


def display(console: Any) -> RichProgress:
    """Return the bars on a terminal."""
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Column

    columns = (
        SpinnerColumn(finished_text="…"),
        TextColumn("{task.fields[name]}", markup=False, style="bold"),
        BarColumn(bar_width=16),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
        TextColumn("{task.fields[moved]}", markup=False, style="dim"),
        TimeElapsedColumn(),
    )
    return RichProgress(*columns, console=console, expand=True)

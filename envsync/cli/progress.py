"""Progress on standard error: live on a terminal, plain lines elsewhere, JSON when asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from envsync.cli.session import Session
from envsync.planning.sizes import size
from envsync.ports.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Lines:
    """A line for each step; bytes are counted and told at the end."""

    def __init__(self, *, as_json: bool) -> None:
        """Write JSON objects, one a line, when *as_json*."""
        self._json = as_json
        self._moved: dict[str, int] = {}
        self._lock = threading.Lock()

    def step(self, name: str, text: str) -> None:
        """Say what happens to *name* now."""
        self._say("step", name, text)

    def bytes(self, name: str, amount: int) -> None:
        """Count bytes."""
        with self._lock:
            self._moved[name] = self._moved.get(name, 0) + amount

    def expect(self, name: str, *, packages: int, layers: int) -> None:
        """Say nothing."""

    def package(self, name: str, package: str, made: str, size: int) -> None:
        """Say nothing."""

    def layer(self, name: str, digest: str, sent: str, size: int) -> None:
        """Say nothing."""

    def done(self, name: str, text: str) -> None:
        """Say how it ended for *name*."""
        self._say("done", name, text)

    def _say(self, event: str, name: str, text: str) -> None:
        with self._lock:
            moved = self._moved.get(name, 0)
        document: dict[str, Any] = {"event": event, "name": name, "text": text, "bytes": moved}
        click.echo(json.dumps(document) if self._json else f"{name}: {text}", err=True)


class Live:
    """A line for each environment that changes in place."""

    def __init__(self, display: RichProgress) -> None:
        """Show on *display*."""
        self._display = display
        self._tasks: dict[str, TaskID] = {}
        self._moved: dict[str, int] = {}
        self._lock = threading.Lock()

    def step(self, name: str, text: str) -> None:
        """Say what happens to *name* now."""
        self._show(name, text)

    def bytes(self, name: str, amount: int) -> None:
        """Count bytes and show them."""
        with self._lock:
            moved = self._moved[name] = self._moved.get(name, 0) + amount
        self._display.update(self._task(name), moved=size(moved))

    def expect(self, name: str, *, packages: int, layers: int) -> None:
        """Say nothing."""

    def package(self, name: str, package: str, made: str, size: int) -> None:
        """Say nothing."""

    def layer(self, name: str, digest: str, sent: str, size: int) -> None:
        """Say nothing."""

    def done(self, name: str, text: str) -> None:
        """Say how it ended for *name*."""
        self._show(name, text, completed=1)

    def _show(self, name: str, text: str, completed: int = 0) -> None:
        self._display.update(self._task(name), description=text, completed=completed)

    def _task(self, name: str) -> TaskID:
        with self._lock:
            if name not in self._tasks:
                self._tasks[name] = self._display.add_task("", total=1, name=name, moved="")
            return self._tasks[name]


@contextmanager
def progress(session: Session) -> Iterator[Progress]:
    """Give the progress that fits where the session's standard error goes."""
    if session.format == "json" or not session.interactive:
        yield Lines(as_json=session.format == "json")
        return
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.fields[name]}", markup=False, style="bold"),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[moved]}", markup=False, style="dim"),
        TimeElapsedColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as display:
        yield Live(display)

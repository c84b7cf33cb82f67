"""Build logs in the cache: one file for each definition, the newest kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KEPT = 200
"""Logs that stay; the oldest go."""


class BuildLogFolder:
    """Implements `envsync.ports.dockerfiles.BuildLogs` in *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def write(self, definition: str) -> Iterator[Callable[[str], None]]:
        """Keep what is said until the block ends; who looks meanwhile sees the log before it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f"{definition}.{os.getpid()}.part"
        # Only its owner may read it: programs print what they should not.
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:

                def log(line: str) -> None:
                    file.write(f"{line}\n")
                    file.flush()

                yield log
        finally:
            part.replace(self._folder / f"{definition}.log")
            self._remove_old()

    def read(self, definition: str) -> str | None:
        """Return the newest log of a definition."""
        try:
            return (self._folder / f"{definition}.log").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def _remove_old(self) -> None:
        ages = []
        for log in self._folder.glob("*.log"):
            with suppress(FileNotFoundError):
                ages.append((log.stat().st_mtime_ns, log))
        for _, log in sorted(ages)[:-KEPT]:
            log.unlink(missing_ok=True)

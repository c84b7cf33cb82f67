"""The command line in processes of its own that begin with everything imported.

A process that is started costs the better part of a second of imports; one that is forked from a
server that has done them costs a few milliseconds, and dies by SIGKILL just the same.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import envsync.cli.commands.apply
import envsync.cli.commands.lock
import envsync.cli.commands.plan
import envsync.client.build_parts
import envsync.operations.explain  # noqa: F401
from envsync.cli.main import main
from tests.team import Team

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([__name__])


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A command that runs."""

    process: ForkServerProcess
    output: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process.pid is not None
        return self.process.pid

    def ended(self, seconds: float = 60) -> tuple[int, str]:
        """Wait for its end; return the exit code, below 0 for a signal, and what it said."""
        self.process.join(seconds)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            self.process.join()
            raise AssertionError(f"it did not end in {seconds} s:\n{self.said()}")
        return code, self.said()

    def said(self) -> str:
        """Return what it has said so far, to both streams."""
        return self.output.read_text(encoding="utf-8") if self.output.exists() else ""


def start(team: Team, *arguments: str, failpoint: str = "") -> Running:
    """Start a command in the team's repository."""
    number = len(list(team.cache.parent.glob("said-*")))
    output = team.cache.parent / f"said-{number:03d}-{os.urandom(3).hex()}.txt"
    environment = dict(team.environment())
    if failpoint:
        environment["ENVSYNC_TEST_FAILPOINT"] = failpoint
    process = _SERVER.Process(
        target=_command, args=(arguments, str(team.root), environment, str(output))
    )
    process.start()
    return Running(process=process, output=output)


def _command(
    arguments: Sequence[str], folder: str, environment: Mapping[str, str], output: str
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.setsid()
    os.chdir(folder)
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    sys.argv = ["envsync", *arguments]
    main()

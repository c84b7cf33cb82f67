"""The program git, run for one repository: questions with their answers, and objects by id.

Loading GitPython takes longer than a whole plan asks of git, so that only what makes a repository
uses it.
"""

from __future__ import annotations

import subprocess
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from envsync.errors import InvalidInput, Unavailable
from envsync.model.places import without_secrets

_QUIET = {
    # Never write the index as a side effect of reading, never wait for a password at a prompt.
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    # Paths of specs mean themselves, ":(glob)x" too.
    "GIT_LITERAL_PATHSPECS": "1",
    "LANGUAGE": "C",
    "LC_ALL": "C",
}


_NOTHING_RUN = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
"""Hooks and a monitor may be set to files of the work tree, which may be a stranger's branch; only
a push asks the hook that people have for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What one git command did."""

    code: int
    out: bytes
    err: str


class GitProgram:
    """Runs git in a folder; safe to use from many threads."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = {**environ, **_QUIET}
        self._lock = threading.Lock()
        self._reader: tuple[IO[bytes], IO[bytes]] | None = None

    def run(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> Ran:
        """Run a command to its end, whatever that is."""
        with _found():
            ran = subprocess.run(
                ["git", *(() if arguments[0] == "push" else _NOTHING_RUN), *arguments],
                cwd=self._folder,
                env={**self._environ, **(environment or {})},
                input=stdin,
                capture_output=True,
                check=False,
            )
        return Ran(code=ran.returncode, out=ran.stdout, err=ran.stderr.decode("utf-8", "replace"))

    def must(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> Ran:
        """Run a command that cannot fail in a repository that is whole; Unavailable if it does."""
        ran = self.run(*arguments, stdin=stdin, environment=environment)
        if ran.code != 0:
            raise Unavailable(
                f"git {arguments[0]} failed with code {ran.code}",
                detail=without_secrets(ran.err.strip()),
            )
        return ran

    def read(self, oid: str) -> bytes:
        """Return an object's bytes; Unavailable when git cannot read it."""
        with self._lock:  # one process serves all threads, one question at a time
            asked, told = self._opened()
            try:
                asked.write(f"{oid}\n".encode())
                asked.flush()
                _, _, size = told.readline().split()
                content = told.read(int(size) + 1)
            except (OSError, ValueError) as error:
                self._reader = None
                raise Unavailable(
                    f"git cannot read the object {oid}",
                    detail="The repository is damaged, or its history is not all here.",
                    hint="Look at it:\n    git fsck",
                ) from error
        return content[:-1]

    def _opened(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._reader is None:
            with _found():
                reader = subprocess.Popen(
                    ["git", "cat-file", "--batch"],
                    cwd=self._folder,
                    env=self._environ,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            weakref.finalize(self, _end, reader)
            self._reader = cast("IO[bytes]", reader.stdin), cast("IO[bytes]", reader.stdout)
        return self._reader


@contextmanager
def _found() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if error.filename != "git":
            raise
        raise InvalidInput(
            "git is not installed, or not on the PATH",
            hint="Install it:\n    https://git-scm.com/downloads",
        ) from error


def _end(reader: subprocess.Popen[bytes]) -> None:
    """Let a reader go: it ends when nothing can be asked any more."""
    for pipe in (reader.stdin, reader.stdout):
        if pipe is not None:
            pipe.close()
    reader.wait()

"""Programs that run beside a test: started by it, awaited, stopped by their process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.parts.cache import Unavailable


def tool(name: str) -> str:
    """Return the path of a program, also when the administrator's folders are not searched."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise Unavailable(f"{name} is not installed: python -m tests.parts.install installs it")
    return found


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str], *, log: Path, ready: Callable[[], bool], seconds: float = 30
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; the block starts when the server is ready."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # an interrupt of the tests is not one of the server
        )
    try:
        _await(process, log, ready, seconds)
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], *, seconds: float = 10) -> None:
    """Ask a process to end, and end it when it does not."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def stop_id(pid: int, *, seconds: float = 10) -> None:
    """Ask a process that another one started to end, and end it when it does not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not is_running(pid):
                return
            time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Return whether a process exists and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _await(
    process: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool], seconds: float
) -> None:
    end = time.monotonic() + seconds
    while not ready():
        ended = process.poll() is not None
        if ended or time.monotonic() > end:
            why = f"ended with {process.returncode}" if ended else f"gave no answer in {seconds} s"
            tail = log.read_text(encoding="utf-8", errors="replace")[-1500:]
            raise Unavailable(f"{process.args!r} {why}:\n{tail}")
        time.sleep(0.02)

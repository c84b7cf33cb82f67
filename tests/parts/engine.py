"""A Docker engine of the tests' own, shared by all processes that want one at the same time."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tests.parts.cache import Unavailable, key_of, source_key
from tests.parts.process import is_running, stop_id, tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A running engine; it trusts every registry on loopback, and containers have no network.

    Other processes use it too: name images so that they cannot be mistaken for others', for
    example after a registry's port.
    """

    folder: Path

    @property
    def host(self) -> str:
        """The address for DOCKER_HOST."""
        return f"unix://{self.folder / 'docker.sock'}"

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment that makes docker's programs and SDK talk to this engine."""
        return {**os.environ, "DOCKER_HOST": self.host}

    def docker(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run the docker program and return what it wrote."""
        command = [tool("docker"), *arguments]
        done = subprocess.run(command, env=self.environment, input=stdin, capture_output=True)
        if done.returncode:
            raise RuntimeError(f"{command!r} ended with {done.returncode}: {done.stderr.decode()}")
        return done.stdout.decode()


@contextmanager
def shared_engine() -> Iterator[Engine]:
    """Use the engine until the block ends; who comes first starts it, who leaves last stops it."""
    if os.geteuid() != 0:
        raise Unavailable("the Docker engine needs root")
    tool("docker"), tool("dockerd")
    # Short, for a socket's path has room for 107 bytes; and with the source in its name, so that
    # checkouts share an engine only if they would start the same one.
    folder = Path(tempfile.gettempdir(), f"envsync-engine-{key_of([source_key('engine.py')])[:8]}")
    lock = FileLock(f"{folder}.lock")
    engine = Engine(folder=folder)
    me = f"{_identity(os.getpid())}-{time.monotonic_ns()}"
    with lock:
        if not _answers(engine):
            _clean(folder)
            _start(engine)
        _write_users(folder, [*_living_users(folder), me])
    try:
        yield engine
    finally:
        with lock:
            others = [user for user in _living_users(folder) if user != me]
            _write_users(folder, others)
            if not others:
                _clean(folder)


def _start(engine: Engine) -> None:
    folder = engine.folder
    folder.mkdir(mode=0o700)
    command = [
        *[tool("dockerd"), f"--host={engine.host}", f"--pidfile={folder / 'docker.pid'}"],
        *[f"--data-root={folder / 'data'}", f"--exec-root={folder / 'run'}"],
        "--insecure-registry=127.0.0.0/8",
        # No bridge and no packet filter rules: nothing of the machine is changed, and an engine
        # that runs on it already is not disturbed.
        *["--bridge=none", "--iptables=false", "--ip6tables=false"],
        *["--ip-forward=false", "--ip-masq=false"],
    ]
    # dockerd 20.10 keeps its own containerd, and looks for its programs in the path.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PATH": path},
            start_new_session=True,
        )
    end = time.monotonic() + 60
    while not _answers(engine):
        if process.poll() is not None or time.monotonic() > end:
            tail = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")[-1500:]
            _clean(folder)
            raise Unavailable(f"dockerd does not start here:\n{tail}")
        time.sleep(0.1)


def _answers(engine: Engine) -> bool:
    if not (engine.folder / "docker.sock").exists():
        return False
    try:
        engine.docker("version", "--format", "{{.Server.Version}}")
    except RuntimeError:
        return False
    return True


def _clean(folder: Path) -> None:
    """Stop the engine in a folder, if one runs, and leave nothing of it."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        stop_id(int((folder / "docker.pid").read_text(encoding="ascii")), seconds=30)
    with contextlib.suppress(FileNotFoundError, ValueError):
        containerd = folder / "run" / "containerd" / "containerd.pid"
        stop_id(int(containerd.read_text(encoding="ascii")))
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    below = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{folder}/")]
    for mount in sorted(below, reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def _identity(pid: int) -> str:
    """Return the process id with the time the process began, for ids are used again."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return f"{pid}-{fields[19]}"


def _living_users(folder: Path) -> list[str]:
    file = folder / "users"
    names = file.read_text(encoding="ascii").split() if file.exists() else []
    return [name for name in names if _lives(name)]


def _lives(user: str) -> bool:
    pid = int(user.split("-")[0])
    try:
        return is_running(pid) and user.startswith(f"{_identity(pid)}-")
    except FileNotFoundError:
        return False


def _write_users(folder: Path, users: list[str]) -> None:
    (folder / "users").write_text("\n".join(users), encoding="ascii")

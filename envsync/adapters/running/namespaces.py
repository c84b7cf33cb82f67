"""Running images without a container engine: unpacked, and entered through namespaces of Linux.

As root the container has the owners of the image and any user; without privileges it has one user,
which is the one that started it. Network, processes, devices and ``/tmp`` are this machine's.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import envsync
from envsync.adapters.running.inside import Inside
from envsync.adapters.running.unpacked_images import UnpackedImages
from envsync.errors import InvalidInput, Misuse, NotAllowed
from envsync.model.job import WORK, Job
from envsync.ports.engine import LocatedImage, ReadyImage

_MACHINES = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}
_PLACES = ("/proc", "/sys", "/dev", "/tmp", "/etc/resolv.conf", "/etc/hosts")  # noqa: S108
_PROGRAM = (
    "import sys;sys.path.insert(0,{!r});"
    "from envsync.adapters.running.container_entry import main;main()"
)


class Namespaces:
    """Implements `envsync.ports.engine.Engine`; images are unpacked below *cache*."""

    def __init__(
        self, cache: Path, *, terminal: Mapping[str, str] | None = None, writable: bool = True
    ) -> None:
        """*terminal* are variables that commands get from here, such as TERM.

        Unless *writable*, commands cannot write into the image at all, as where the kernel has no
        overlays.
        """
        self._images = UnpackedImages(cache)
        self._terminal = dict(terminal or {})
        self._writable = writable

    @property
    def platform(self) -> str:
        """This machine's."""
        machine = platform.machine()
        return _MACHINES.get(machine, f"linux/{machine}")

    def prepare(self, image: LocatedImage, told: Callable[[str], None]) -> ReadyImage:
        """Unpack *image*; NotAllowed when this system lets nobody enter it."""
        folder, lock = self._images.get(image, told)
        os.set_inheritable(lock, True)  # held for as long as the command runs
        plan = {"image": str(folder), "writable": self._writable, "probe": True}
        reasons = []
        for privileged in (True, False) if os.geteuid() == 0 else (False,):
            probe = {**plan, "privileged": privileged, "uid": 0, "gid": 0}
            done = _start(probe, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return _Unpacked(folder, image, self._terminal, self._writable, privileged)
            reasons.append(done.stderr.strip().removeprefix("error: "))
        raise _not_allowed(reasons)


class _Unpacked:
    """An image that is unpacked in *folder*."""

    def __init__(
        self,
        folder: Path,
        image: LocatedImage,
        terminal: Mapping[str, str],
        writable: bool,
        privileged: bool,
    ) -> None:
        self._folder = folder
        self._settings = image.settings
        self._terminal = terminal
        self._writable = writable
        self._privileged = privileged

    def run(self, job: Job) -> int:
        """Run *job* as a child."""
        code = _start({**self._plan(job), "child": True}, check=False).returncode
        return 128 - code if code < 0 else int(code)

    def become(self, job: Job) -> int:
        """Become *job*: signals, exit code and terminal are its own from now on."""
        arguments, descriptor = _program(self._plan(job))
        os.set_inheritable(descriptor, True)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(arguments[0], arguments)  # noqa: S606
        raise AssertionError("exec returns only with an exception")

    def _plan(self, job: Job) -> dict[str, Any]:
        if job.gpus:
            raise InvalidInput(
                "GPUs need a container engine",
                detail="The drivers of this machine are not put into an unpacked image.",
                hint="Run it where docker and NVIDIA's container toolkit are installed.",
            )
        if moved := [p for p in job.ports if p.inner != p.outer or p.address]:
            raise Misuse(
                f"port {moved[0].inner} cannot become another without a container engine",
                detail="The command has this machine's network as it is.",
            )
        command = self._settings.program(job.command)
        if not command:
            raise Misuse("the image has no command of its own", hint="Write one after --.")
        uid, gid, home = self._user(job.user or self._settings.user)
        mounts = [
            {
                "source": place,
                "target": place,
                "read_only": False,
                "optional": True,
                "otherwise": "",
            }
            for place in _PLACES
            if Path(place).exists()
        ] + [
            {
                "source": mount.source,
                "target": mount.target,
                "read_only": mount.read_only,
                "optional": False,
                "otherwise": WORK if mount.target == job.folder else "",
            }
            for mount in job.mounts
        ]
        return {
            "image": str(self._folder),
            "writable": self._writable,
            "privileged": self._privileged,
            "child": False,
            "change_user": bool(uid or gid),
            "uid": uid,
            "gid": gid,
            "groups": [],
            "mounts": mounts,
            "folder": job.folder,
            "command": list(command),
            "variables": {
                "HOME": home,
                **self._terminal,
                **self._settings.variables,
                **job.variables,
            },
        }

    def _user(self, text: str) -> tuple[int, int, str]:
        """Return the numbers and the home of ``name[:group]`` or ``uid[:gid]``."""
        name, _, group = text.partition(":")
        users, groups = self._table("etc/passwd"), self._table("etc/group")
        wanted = name or "0"
        found = next((row for row in users if wanted in (row[0], row[2]) and len(row) > 5), None)
        if found is None and not wanted.isdigit():
            raise InvalidInput(f"the image has no user {wanted!r}", hint="Give a number.")
        uid = int(found[2]) if found else int(wanted)
        gid = int(found[3]) if found else 0
        if group:
            row = next((row for row in groups if group in (row[0], row[2])), None)
            if row is None and not group.isdigit():
                raise InvalidInput(f"the image has no group {group!r}", hint="Give a number.")
            gid = int(row[2]) if row else int(group)
        return uid, gid, (found[5] if found else "") or ("/root" if uid == 0 else "/")

    def _table(self, path: str) -> list[list[str]]:
        """Return the rows of a file such as ``/etc/passwd`` that have numbers where they belong."""
        root = self._folder / "rootfs"
        try:
            with Inside(root) as inside, os.fdopen(inside.open_file(path), "rb") as file:
                text = file.read(1 << 20).decode(errors="replace")
        except OSError:
            return []
        rows = [line.split(":") for line in text.splitlines()]
        numbers = slice(2, 4) if path.endswith("passwd") else slice(2, 3)
        return [row for row in rows if len(row) > 3 and all(n.isdigit() for n in row[numbers])]


def _program(plan: Mapping[str, Any]) -> tuple[list[str], int]:
    """Return the command that enters a container, and the descriptor that it reads."""
    # Not an argument: everybody on this machine can read those, and variables may be secret.
    descriptor = os.memfd_create("envsync")
    os.write(descriptor, json.dumps(plan).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    source = str(Path(envsync.__file__).parent.parent)
    return [sys.executable, "-I", "-c", _PROGRAM.format(source), str(descriptor)], descriptor


def _start(plan: Mapping[str, Any], **options: Any) -> subprocess.CompletedProcess[Any]:
    arguments, descriptor = _program(plan)
    try:
        return subprocess.run(arguments, pass_fds=[descriptor], **options)
    finally:
        os.close(descriptor)


def _not_allowed(reasons: list[str]) -> NotAllowed:
    return NotAllowed(
        "this system lets nobody enter an unpacked image, and no container engine is used",
        detail="\n".join(dict.fromkeys(filter(None, reasons))),
        hint="One of these is needed: a docker engine that can be reached (DOCKER_HOST), user\n"
        "namespaces for everybody (sysctl user.max_user_namespaces above 0, and on Ubuntu\n"
        "kernel.apparmor_restrict_unprivileged_userns=0), or root with CAP_SYS_ADMIN.",
    )

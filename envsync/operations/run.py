"""Run: a command in an image, after what has to be done once on its node."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from envsync.model.canonical import hash_json, sha256_hex
from envsync.model.job import Job, Mount
from envsync.oci.activation import SETUP as SETUP_PATH
from envsync.oci.activation import SETUP_LABEL
from envsync.ports.engine import LocatedImage, ReadyImage, Turns

SETUP = "/run/envsync-setup"
"""Where a setup script of the command line stands in the container."""

_PYTHONS = {("python",), ("python3",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A script that prepares a node, once for all processes of a run there."""

    content: bytes
    """Of one that the image has, only how it begins: the image says the rest."""
    mount: Mount | None
    """How the script comes into the container; None when the image has it."""
    path: str
    """In the container."""
    node: str
    """What names this machine since it started."""
    run: str
    """What names the run that processes belong to; '' when this process is a run of its own."""


def with_interpreter(job: Job, image: LocatedImage, interpreter: str) -> Job:
    """Return *job* for an image that brings its own Python: it comes first, and is ``python``."""
    if not interpreter:
        return job
    path = image.settings.variables["PATH"]
    folder = posixpath.dirname(interpreter) or "/"
    if folder not in path.split(":"):
        path = f"{folder}:{path}"
    first = job.command[:1]
    return replace(
        job,
        command=(interpreter, *job.command[1:]) if first in _PYTHONS else job.command,
        variables={"PATH": path, **job.variables},
    )


def setup_of(image: LocatedImage, *, node: str, run: str) -> tuple[Setup, ...]:
    """Return the setup that the image itself has, if it has one."""
    path = image.settings.labels.get(SETUP_LABEL, "")
    if path != SETUP_PATH:
        return ()
    return (Setup(content=b"#!", mount=None, path=path, node=node, run=run),)


def run(
    image: LocatedImage,
    ready: ReadyImage,
    job: Job,
    setups: Sequence[Setup],
    turns: Turns,
    told: Callable[[str], None],
) -> int:
    """Run *job* and return its exit code; if one of *setups* fails, that is its code.

    May not return: an engine can replace the process by the command.
    """
    for setup in setups:
        code = _prepare(image, ready, job, setup, turns, told)
        if code:
            told(f"the setup script ended with code {code}: the command is not run")
            return code
    return ready.become(job)


def _prepare(
    image: LocatedImage,
    ready: ReadyImage,
    job: Job,
    setup: Setup,
    turns: Turns,
    told: Callable[[str], None],
) -> int:
    first = replace(
        job,
        command=_command(setup),
        mounts=(*job.mounts, setup.mount) if setup.mount else job.mounts,
        ports=(),
    )
    if not setup.run:
        told("running the setup script")
        return ready.run(first)
    key = hash_json(
        {
            "script": sha256_hex(setup.content),
            "image": image.manifest.digest,
            "run": setup.run,
            "node": setup.node,
        }
    )
    with turns(key, lambda: told("waiting for the setup of this node")) as turn:
        if turn.done:
            return 0
        if turn.failed:
            return turn.failed
        told("running the setup script, once for this node")
        code = ready.run(first)
        turn.end(code)
        return code


def _command(setup: Setup) -> tuple[str, ...]:
    """A script that does not say what reads it is a shell's."""
    return (setup.path,) if setup.content.startswith(b"#!") else ("/bin/sh", setup.path)

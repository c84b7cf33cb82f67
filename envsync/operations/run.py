"""Run: a command in an image, after what has to be done once on its node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from envsync.errors import InvalidInput
from envsync.model.canonical import hash_json, sha256_hex
from envsync.model.job import Job, Mount
from envsync.ports.engine import LocatedImage, ReadyImage, Turns

SETUP = "/run/envsync-setup"
"""Where a setup script stands in the container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A script that prepares a node, once for all processes of a run there."""

    content: bytes
    mount: Mount | None
    """How the script comes into the container; None when the image has it."""
    path: str
    """In the container."""
    node: str
    """What names this machine since it started."""
    run: str
    """What names the run that processes belong to; '' when this process is a run of its own."""


def run(
    image: LocatedImage,
    ready: ReadyImage,
    job: Job,
    setup: Setup | None,
    turns: Turns,
    told: Callable[[str], None],
) -> int:
    """Run *job* and return its exit code; if *setup* fails, that is its code and nothing else runs.

    May not return: an engine can replace the process by the command.
    """
    if setup is not None:
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


def require_setup(content: bytes | None, path: str) -> bytes:
    """Return the script's bytes; InvalidInput when there is none."""
    if not content:
        raise InvalidInput(
            f"there is no setup script {path}" if content is None else f"{path} is empty"
        )
    return content

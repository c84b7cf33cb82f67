"""A job: a command to run in an image, and what of this machine it may see; as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from envsync.errors import Misuse

WORK = "/work"
"""Where the working folder stands in the container when its own path cannot be used there."""

_TAKEN = frozenset(
    [
        "bin",
        "boot",
        "dev",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "proc",
        "run",
        "sbin",
        "sys",
        "usr",
    ]
)
"""Top folders that belong to the image: a folder of this machine would hide what is in them."""
_SHARED = frozenset({"home", "opt", "root", "var"})
"""Top folders of the image in which a folder of this machine may stand."""

_PORT = re.compile(
    r"(?:(?:(?P<address>\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(?P<outer>\d{1,5}):)?(?P<inner>\d{1,5})"
    r"(?:/(?P<protocol>tcp|udp))?"
)
_VARIABLE = re.compile(r"[^=\0]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or folder of this machine that the container sees."""

    source: str
    """Absolute path on this machine."""
    target: str
    """Absolute path in the container."""
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of the container that can be reached through one of this machine."""

    inner: int
    outer: int
    protocol: str = "tcp"
    address: str = ""
    """Of this machine; '' for all of its addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a command."""

    command: tuple[str, ...]
    """Empty: what the image itself runs."""
    folder: str
    """Where it starts, an absolute path in the container."""
    mounts: tuple[Mount, ...] = ()
    """In order; a later one may lie in an earlier one."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Besides those of the image."""
    user: str = ""
    """``name``, ``uid`` or ``uid:gid``; '' for the image's own."""
    gpus: str = ""
    """A number, ``all``, or '' for none."""
    ports: tuple[Port, ...] = ()


def folder_in_container(folder: str) -> str:
    """Return where the working folder *folder* stands: at its own path where that hides nothing."""
    path = PurePosixPath(folder)
    if not path.is_absolute() or len(path.parts) < 2:
        return WORK
    top, below = path.parts[1], path.parts[2:]
    if top in _TAKEN or (top in _SHARED and not below) or path.parts[:3] == ("/", "opt", "env"):
        return WORK
    return str(path)


def parse_port(text: str) -> Port:
    """Read ``8000``, ``8080:80``, ``127.0.0.1:8080:80`` or ``53:53/udp``; Misuse otherwise."""
    match = _PORT.fullmatch(text)
    inner = int(match["inner"]) if match else 0
    outer = int(match["outer"] or inner) if match else 0
    if match is None or not (0 < inner < 65536 and 0 < outer < 65536):
        raise Misuse(
            f"{text!r} is not a port",
            hint="Write 8000, or 8080:8000 for this machine's port and the container's.",
        )
    address = (match["address"] or "").strip("[]")
    return Port(inner=inner, outer=outer, protocol=match["protocol"] or "tcp", address=address)


def parse_variable(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Read ``NAME=VALUE``, or ``NAME`` which takes its value from *environ*, if it has one."""
    name, equals, value = text.partition("=")
    if not _VARIABLE.fullmatch(name) or "\0" in value:
        raise Misuse("an environment variable has no name", hint="Write NAME=VALUE or NAME.")
    if equals:
        return {name: value}
    return {name: environ[name]} if name in environ else {}


def parse_gpus(text: str) -> str:
    """Read a number of GPUs, or ``all``; Misuse otherwise."""
    if text == "all" or (text.isascii() and text.isdigit() and len(text) < 4):
        return text.lstrip("0") if text != "all" else text
    raise Misuse(f"{text!r} is not a number of GPUs", hint="Write 1, 2 … or all.")


def parse_volume(text: str) -> Mount:
    """Read ``/folder``, ``/folder:/place`` or ``/folder:/place:ro``; Misuse otherwise."""
    source, *rest = text.split(":")
    mode = rest.pop() if rest and rest[-1] in {"ro", "rw"} else "rw"
    target = rest.pop() if rest else source
    parts = PurePosixPath(target).parts
    if rest or not source.startswith("/") or not target.startswith("/") or ".." in parts:
        raise Misuse(
            f"{text!r} cannot be mounted",
            hint="Write absolute paths: /data, /data:/place or /data:/place:ro.",
        )
    if len(parts) < 2:
        raise Misuse("nothing can be mounted over the container's root", detail=text)
    return Mount(source=source, target=str(PurePosixPath(target)), read_only=mode == "ro")

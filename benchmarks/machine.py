"""The machine and the programs that took part, in words that identify neither host nor user."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import envsync
from tests.parts.cache import Unavailable
from tests.parts.process import tool

_PROGRAMS: dict[str, Sequence[str]] = {
    "git": ("git", "--version"),
    "skopeo": ("skopeo", "--version"),
    "docker-registry": ("docker-registry", "--version"),
    "dockerd": ("dockerd", "--version"),
    "docker": ("docker", "--version"),
    "curl": ("curl", "--version"),
}
_LIBRARIES = ("py-rattler", "conda-lock", "httpcore", "deflate")
_VERSION = re.compile(r"\d+(?:\.\d+)+")


def describe() -> tuple[str, ...]:
    """Return lines about processor, memory, system and versions."""
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    programs = [f"{name} {found}" for name, words in _PROGRAMS.items() if (found := _asked(words))]
    libraries = [f"{name} {version(name)}" for name in _LIBRARIES]
    return (
        f"{_cpu()}, {os.cpu_count()} cores, {_memory_gigabytes()} GB of memory, {system}",
        f"envsync {envsync.__version__}, Python {platform.python_version()}",
        ", ".join(programs),
        ", ".join(libraries),
    )


def _cpu() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _memory_gigabytes() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)


def _asked(words: Sequence[str]) -> str:
    """Return the version that a program says it is, '' when it is not here."""
    try:
        program = tool(words[0])
    except Unavailable:
        return ""
    done = subprocess.run([program, *words[1:]], capture_output=True, text=True)
    found = _VERSION.search(done.stdout + done.stderr)
    return found[0] if found else ""

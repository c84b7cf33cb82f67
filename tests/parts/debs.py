"""Debian packages, also of a foreign architecture, without touching the machine's own apt state."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.parts.cache import ENVIRONMENT, Unavailable, cached, key_of


@functools.cache
def release_codename() -> str:
    """Return the code name of the running Debian release."""
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise Unavailable("/etc/os-release has no VERSION_CODENAME")


def mirror() -> str:
    """Return the address that the machine takes its own Debian release from."""
    options = ["--format", "$(RELEASE) $(SITE)", "Created-By: Packages"]
    done = subprocess.run(["apt-get", "indextargets", *options], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        release, _, site = line.partition(" ")
        if release == release_codename():
            return site
    raise Unavailable("apt has no source of the running Debian release")


def unpacked(packages: Iterable[str], architecture: str) -> Path:
    """Return a folder with the content of the packages' newest versions, laid over one another.

    Which packages they were stands in the file `.packages` of the folder, a `name_version` a line.
    """
    names = sorted(packages)
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise Unavailable(f"{tool} is not on this machine: it is not Debian")
    key = key_of([release_codename(), architecture, *names])
    return cached("debs", key, lambda folder: _unpack(names, architecture, folder))


def _unpack(names: list[str], architecture: str, folder: Path) -> None:
    options = _apt_state(architecture, folder / ".apt")
    download = folder / ".debs"
    download.mkdir()
    _run(["apt-get", *options, "update", "--quiet"], folder)
    _run(["apt-get", *options, "download", "--quiet", *names], download)
    lines = []
    for deb in sorted(download.glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(deb), str(folder)], folder)
        lines.append("_".join(deb.name.replace("%3a", ":").split("_")[:2]) + "\n")
    (folder / ".packages").write_text("".join(lines), encoding="utf-8")
    shutil.rmtree(folder / ".apt")
    shutil.rmtree(download)


def _apt_state(architecture: str, state: Path) -> list[str]:
    """Return options that give apt its own state, so that the machine stays as it is."""
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    values = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",  # the private state is not readable by the user _apt
        "Acquire::Languages": "none",
        "Debug::NoLocking": "1",
        "Dir::State": str(state),
        "Dir::State::status": "/dev/null",
        "Dir::Cache": str(state / "cache"),
    }
    return [f"--option={name}={value}" for name, value in values.items()]


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"{command[0]} failed: {last}")

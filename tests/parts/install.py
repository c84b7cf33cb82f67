"""Install the programs that the real parts need, where they are missing: Debian, as root."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.parts.browser import browser
from tests.parts.cache import Unavailable
from tests.parts.process import tool

# The program that shows that a package is there, or the package itself when it has none.
_PACKAGES = {
    "docker.io": "dockerd",
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "umoci": "umoci",
    "debootstrap": "debootstrap",
    "git": "git",
    "faketime": "faketime",
    "qemu-user-static": "qemu-aarch64-static",
    "systemd": "systemd-analyze",
}


def missing_packages() -> list[str]:
    """Return the Debian packages whose program is not on this machine."""
    missing = []
    for package, program in _PACKAGES.items():
        try:
            tool(program)
        except Unavailable:
            missing.append(package)
    # Since Debian 13 the client is a package of its own.
    if "docker.io" not in missing and not _has("docker"):
        missing.append("docker-cli")
    try:
        browser()
    except Unavailable:
        missing.append("chromium-headless-shell")
    return missing


def main() -> int:
    """Install what is missing; say nothing when nothing is."""
    missing = missing_packages()
    if not missing:
        return 0
    names = " ".join(missing)
    if not _has("apt-get"):
        return _complain(f"these programs' Debian packages are missing: {names}")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        return _complain(f"missing: {names}\nas root:\n    {' '.join(install)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Installing a server package would start its service, which nobody asked for.
    environment["RUNLEVEL"] = "1"
    sys.stderr.write(f"installing for the tests: {names}\n")
    for command in (["apt-get", "update"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            return _complain(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    left = missing_packages()
    return _complain(f"still missing: {' '.join(left)}") if left else 0


def _has(program: str) -> bool:
    try:
        tool(program)
    except Unavailable:
        return False
    return True


def _complain(message: str) -> int:
    sys.stderr.write(f"{message}\nTests that need them are skipped.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

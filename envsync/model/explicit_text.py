"""Explicit locks: one URL on each line after ``@EXPLICIT``, as conda and micromamba install them.

A hash may stand after the URL, as ``#<md5>``, ``#<sha256>`` or ``#sha256:<sha256>``. Wheels stand
in comments, ``# pip name @ URL#sha256=…``, as conda-lock writes and installs them.
Source: https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from envsync.errors import Position
from envsync.model.channels import strip_credentials
from envsync.model.document import Faults, shown
from envsync.model.lock import LockedPackage
from envsync.model.names import PLATFORMS
from envsync.model.places import carries_credentials

MARK = "@EXPLICIT"

_HASH = re.compile(r"(?:md5:)?(?P<md5>[0-9a-f]{32})|(?:sha256:)?(?P<sha256>[0-9a-f]{64})")
_PLATFORM = re.compile(r"#\s*(?:platform|subdir):\s*(?P<platform>[a-z0-9-]+)\s*")
_PIP = re.compile(
    r"#\s*pip\s+(?P<name>[A-Za-z0-9._-]+)\s+@\s+(?P<url>\S+?)"
    r"(?:(?:\s+--hash=|#)sha256[:=](?P<sha256>[0-9a-f]{64}))?\s*"
)
_ARCHIVES = (".conda", ".tar.bz2")
_URL = re.compile(r"(?:https?|file|s3|oci)://\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplicitLock:
    """What an explicit lock names; a package without a SHA-256 has '' there."""

    platform: str
    packages: tuple[LockedPackage, ...]

    @property
    def unhashed(self) -> tuple[LockedPackage, ...]:
        """The packages that have no SHA-256, and so cannot stand in a lock of envsync's."""
        return tuple(package for package in self.packages if not package.sha256)


def is_explicit(text: str) -> bool:
    """Tell whether *text* is an explicit lock."""
    return any(line.strip() == MARK for line in text.splitlines())


def parse_explicit(text: str, path: str, faults: Faults, platform: str = "") -> ExplicitLock:
    """Read an explicit lock; *platform* is used where the file does not say it."""
    listed: list[tuple[Position, LockedPackage]] = []
    seen: dict[tuple[str, str], Position] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        where, line = Position(file=path, line=number, column=1), line.strip()
        if found := _PLATFORM.fullmatch(line):
            platform = found["platform"]
        if (pip := _PIP.fullmatch(line)) is not None:
            package = _wheel(pip, where, faults)
        elif not line or line.startswith("#") or line == MARK:
            continue
        else:
            package = _conda(line, where, faults)
        if package is None:
            continue
        key = (package.manager, package.name)
        if key in seen:
            faults.add(where, f"{package.name} stands twice", f"It is at {seen[key]} too.")
        seen[key] = where
        listed.append((where, package))
    for where, package in listed:
        if package.subdir in {"", "noarch"}:
            continue
        platform = platform or package.subdir
        if package.subdir != platform:
            faults.add(where, f"{package.name} is for {package.subdir}, others for {platform}")
    if platform not in PLATFORMS and not len(faults):
        message = f"{shown(platform)} is not a platform" if platform else "It says no platform"
        faults.add(Position(file=path), message, "Write '# platform: linux-64' at its top.")
    packages = tuple(
        LockedPackage(
            manager=package.manager,
            name=package.name,
            version=package.version,
            build=package.build,
            platform=platform,
            url=package.url,
            sha256=package.sha256,
            md5=package.md5,
        )
        for _, package in listed
    )
    return ExplicitLock(platform=platform, packages=packages)


def render_explicit(
    packages: Iterable[LockedPackage], platform: str, *, about: Sequence[str] = ()
) -> str:
    """Return the explicit lock of one platform's packages; *about* is written as comments."""
    conda = [f"{p.url}#sha256:{p.sha256}" for p in packages if p.manager == "conda"]
    wheels = [f"# pip {p.name} @ {p.url}#sha256={p.sha256}" for p in packages if p.manager == "pip"]
    head = [*(f"# {line}".rstrip() for line in about), f"# platform: {platform}", MARK]
    return "\n".join([*head, *conda, *wheels]) + "\n"


def _conda(line: str, where: Position, faults: Faults) -> LockedPackage | None:
    url, mark, fragment = line.partition("#")
    if not _URL.fullmatch(url):
        faults.add(where, f"{shown(line)} is not the URL of a conda package")
        return None
    if carries_credentials(url) or strip_credentials(url) != url:
        faults.add(where, "A URL holds credentials", "Remove them.")
        return None
    file, subdir = url.rsplit("/", 2)[-1], url.rsplit("/", 2)[-2]
    stem = next((file.removesuffix(end) for end in _ARCHIVES if file.endswith(end)), "")
    pieces = stem.rsplit("-", 2)
    if len(pieces) != 3 or not all(pieces) or not (subdir == "noarch" or subdir in PLATFORMS):
        faults.add(where, f"{shown(url)} is not the URL of a conda package")
        return None
    found = _HASH.fullmatch(fragment.strip())
    if mark and found is None:
        faults.add(where, f"{shown(fragment)} is neither an MD5 nor a SHA-256")
        return None
    return LockedPackage(
        manager="conda",
        name=pieces[0].lower(),
        version=pieces[1],
        build=pieces[2],
        platform="",
        url=url,
        sha256=(found["sha256"] or "") if found else "",
        md5=(found["md5"] or "") if found else "",
    )


def _wheel(pip: re.Match[str], where: Position, faults: Faults) -> LockedPackage | None:
    url = pip["url"]
    try:
        name, version, _, _ = parse_wheel_filename(url.rsplit("/", 1)[-1])
    except InvalidWheelFilename:
        faults.add(where, f"{shown(url)} is not a wheel", "Lock a wheel instead.")
        return None
    return LockedPackage(
        manager="pip",
        name=str(name),
        version=str(version),
        platform="",
        url=url,
        sha256=pip["sha256"] or "",
    )

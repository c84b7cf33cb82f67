"""What a platform's python can install, never the host's: wheel tags and marker values.

Sources: https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/ and
https://packaging.python.org/en/latest/specifications/dependency-specifiers/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_MACHINES = {
    "linux-64": "x86_64",
    "linux-aarch64": "aarch64",
    "osx-64": "x86_64",
    "osx-arm64": "arm64",
    "win-64": "AMD64",
}
# The oldest manylinux of each machine: PEP 513 began with glibc 2.5 on x86, PEP 599 with 2.17.
_OLDEST_GLIBC = {"linux-64": 5, "linux-aarch64": 17}


def supported_tags(platform: str, *, python: str, glibc: str, osx: str) -> tuple[Tag, ...]:
    """Return the tags of wheels that CPython *python* can install, the most specific first."""
    version = tuple(int(part) for part in python.split(".")[:2])
    interpreter = f"cp{version[0]}{version[1]}"
    platforms = list(_platforms(platform, glibc, osx))
    return (
        *cpython_tags(version, abis=[interpreter], platforms=platforms),
        *compatible_tags(version, interpreter=interpreter, platforms=platforms),
    )


def best_wheel(file_names: Iterable[str], tags: Iterable[Tag]) -> str | None:
    """Return the file that fits best, of several equal ones the highest build; None when none."""
    rank = {tag: position for position, tag in enumerate(tags)}
    best: tuple[int, tuple[int, str], str] | None = None
    for file_name in file_names:
        try:
            _, _, build, wheel_tags = parse_wheel_filename(file_name)
        except InvalidWheelFilename:
            continue
        fitting = [rank[tag] for tag in wheel_tags if tag in rank]
        if not fitting:
            continue
        number, text = build or (0, "")
        key = (min(fitting), (-number, text), file_name)
        best = key if best is None else min(best, key)
    return best[2] if best else None


def marker_environment(platform: str, *, python: str) -> dict[str, str]:
    """Return the values that environment markers have on *platform* with CPython *python*."""
    system, sys_platform, os_name = {
        "linux": ("Linux", "linux", "posix"),
        "osx": ("Darwin", "darwin", "posix"),
        "win": ("Windows", "win32", "nt"),
    }[platform.partition("-")[0]]
    return {
        "implementation_name": "cpython",
        "implementation_version": python,
        "os_name": os_name,
        "platform_machine": _MACHINES[platform],
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": system,
        "platform_version": "",
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
        "sys_platform": sys_platform,
        "extra": "",
    }


def _platforms(platform: str, glibc: str, osx: str) -> Iterator[str]:
    machine = _MACHINES[platform]
    if platform.startswith("osx-"):
        major, minor = (*map(int, osx.split(".")[:2]), 0)[:2]
        yield from mac_platforms((major, minor), machine)
    elif platform == "win-64":
        yield "win_amd64"
    else:
        newest = int(glibc.split(".")[1]) if glibc else -1
        for minor in range(newest, _OLDEST_GLIBC[platform] - 1, -1):
            yield f"manylinux_2_{minor}_{machine}"
            if minor in _LEGACY:
                yield f"{_LEGACY[minor]}_{machine}"
        yield f"linux_{machine}"

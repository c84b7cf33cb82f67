"""Locked packages as people write them in conda files: pinned, with their channels by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from envsync.model.channels import CHANNEL_ALIAS
from envsync.model.lock import LockedPackage


def pin(package: LockedPackage) -> str:
    """Return the match spec or requirement that only this version, and build, satisfies."""
    if package.manager == "pip":
        return f"{package.name}=={package.version}"
    build = f"={package.build}" if package.build else ""
    return f"{package.name}={package.version}{build}"


def channel_text(url: str) -> str:
    """Return a channel as it is written in a conda file: by name where conda knows the name."""
    return url.removeprefix(f"{CHANNEL_ALIAS}/") if url.startswith(f"{CHANNEL_ALIAS}/") else url


def channels_of(packages: Iterable[LockedPackage]) -> tuple[str, ...]:
    """Return the channels that *packages* come from, the one with most packages first."""
    counted = Counter(package.channel for package in packages if package.manager == "conda")
    ordered = sorted(counted, key=lambda url: (-counted[url], url))
    return tuple(map(channel_text, ordered))


def roots(packages: Sequence[LockedPackage], asked: Iterable[str]) -> tuple[str, ...]:
    """Return the names that have to be asked for, besides *asked*, to get all conda packages.

    These are the packages that nothing else needs; of a circle, the first by name.
    """
    conda = {package.name: package for package in packages if package.manager == "conda"}
    reached: set[str] = set()

    def reach(name: str) -> None:
        waiting = [name]
        while waiting:
            found = waiting.pop()
            if found in conda and found not in reached:
                reached.add(found)
                waiting += conda[found].depends

    for name in asked:
        reach(name)
    needed = {
        name for package in conda.values() for name in package.depends if name != package.name
    }
    added = [name for name in sorted(conda) if name not in needed and name not in reached]
    for name in added:
        reach(name)
    for name in sorted(conda):
        if name not in reached:
            added.append(name)
            reach(name)
    return tuple(sorted(added))

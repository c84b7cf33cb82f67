"""What changed between two sets of locked packages, and who asked for each change."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from envsync.model.channels import channel_name
from envsync.model.lock import LockedPackage, Manager
from envsync.model.match_spec import match_spec_name
from envsync.model.own_wheels import wheel_name
from envsync.model.spec import CondaFile
from envsync.model.version_order import compare_versions, release_numbers

ChangeClass = Literal["added", "removed", "major", "minor", "patch", "build", "downgrade"]
"""How far a package moved; ``build`` is another build or file of the same version."""

CHANGE_CLASSES: tuple[ChangeClass, ...] = get_args(ChangeClass)

Packages = Mapping[str, Sequence[LockedPackage]]
"""Locked packages by platform, as in `envsync.model.lock.Lock`."""

Direct = Mapping[Manager, Collection[str]]
"""Names that the spec asks for itself, by manager."""

Asked = Mapping[Manager, Mapping[str, str]]
"""The same, with what is asked of each name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageState:
    """One package as a lock has it."""

    version: str
    build: str
    channel: str
    """URL of the conda channel; scheme and host of a wheel, ``file:`` for one on a disk."""
    sha256: str

    @classmethod
    def of(cls, package: LockedPackage) -> PackageState:
        """Return the state of a locked package."""
        return cls(
            version=package.version,
            build=package.build,
            channel=package.origin,
            sha256=package.sha256,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformChange:
    """The change on one platform; None stands for a package that is not there."""

    platform: str
    before: PackageState | None
    after: PackageState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageChange:
    """One package that moved, the platforms on which it moved in the same way together."""

    name: str
    manager: Manager
    change: ChangeClass
    before_version: str
    """'' for an added package."""
    after_version: str
    """'' for a removed package."""
    direct: bool
    """Whether the spec asks for it by name."""
    why: tuple[str, ...]
    """The chain that requires it, from a name in the spec to the parent; empty when direct."""
    details: tuple[PlatformChange, ...]
    """One per platform, sorted by platform."""
    asked_before: str = ""
    """What the spec before asked for, such as ``numpy=1.26``; '' where it did not name it."""
    asked_after: str = ""
    """The same of the spec now."""

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms on which the package moves like this, sorted."""
        return tuple(detail.platform for detail in self.details)

    @property
    def channel_moves(self) -> tuple[tuple[str, str], ...]:
        """The channels, or hosts of wheels, that it moves between, as people call them."""
        moves = (
            (channel_name(d.before.channel), channel_name(d.after.channel))
            for d in self.details
            if d.before is not None and d.after is not None and d.before.channel != d.after.channel
        )
        return tuple(dict.fromkeys(moves))

    @property
    def channel_changed(self) -> bool:
        """Whether it comes from another channel, or a wheel from another host, on some platform."""
        return bool(self.channel_moves)


def package_changes(
    before: Packages, after: Packages, direct: Direct, direct_before: Direct | None = None
) -> tuple[PackageChange, ...]:
    """Return every package whose bytes differ, sorted by directness, name and manager.

    A package whose sha256 is the same is unchanged, whatever mirror it is fetched from. Who asked
    for a removed one is what the spec before says, *direct_before*, where that is known.
    """
    asking = {"before": direct if direct_before is None else direct_before, "after": direct}
    found: dict[tuple[str, ...], list[PlatformChange]] = {}
    for platform in sorted({*before, *after}):
        for key, old, new in _pairs(before.get(platform, ()), after.get(platform, ())):
            if old is not None and new is not None and old.sha256 == new.sha256:
                continue
            change = classify(old.version if old else None, new.version if new else None)
            group = (*key, change, old.version if old else "", new.version if new else "")
            found.setdefault(group, []).append(
                PlatformChange(
                    platform=platform,
                    before=PackageState.of(old) if old else None,
                    after=PackageState.of(new) if new else None,
                )
            )
    parents = _Parents(before, after, asking)
    changes = [_change(group, tuple(details), asking, parents) for group, details in found.items()]
    return tuple(sorted(changes, key=_order))


def with_requests(
    changes: Sequence[PackageChange], before: Asked, after: Asked
) -> tuple[PackageChange, ...]:
    """Add what the specs ask of each package."""
    return tuple(
        replace(
            change,
            asked_before=before.get(change.manager, {}).get(change.name, ""),
            asked_after=after.get(change.manager, {}).get(change.name, ""),
        )
        for change in changes
    )


def classify(before: str | None, after: str | None) -> ChangeClass:
    """Tell how far a package moved; None stands for a package that is not there."""
    if before is None:
        return "added"
    if after is None:
        return "removed"
    order = compare_versions(before, after)
    if order == 0:
        return "build"
    if order > 0:
        return "downgrade"
    old, new = release_numbers(before), release_numbers(after)
    # The first number is the epoch; without a second the version has no minor part to move.
    if old[:2] != new[:2]:
        return "major"
    if (*old, 0)[:3] != (*new, 0)[:3]:
        return "minor"
    return "patch"


def direct_names(conda: CondaFile | None) -> dict[Manager, frozenset[str]]:
    """Return the names that a spec asks for itself, conda's lower case and pip's normalised."""
    return {manager: frozenset(names) for manager, names in requests(conda).items()}


def requests(conda: CondaFile | None) -> dict[Manager, dict[str, str]]:
    """Return what a spec asks of each package that it names, as `direct_names` writes names."""
    if conda is None:
        return {"conda": {}, "pip": {}}
    return {
        "conda": _by_name(match_spec_name, conda.dependencies),
        "pip": _by_name(requirement_name, conda.pip) | _by_name(wheel_name, conda.wheels),
    }


def _by_name(name: Callable[[str], str], lines: Iterable[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for line in lines:
        found.setdefault(name(line), []).append(line.strip())
    return {key: ", ".join(texts) for key, texts in found.items() if key}


def requirement_name(text: str) -> str:
    """Return the normalised name of a pip requirement, '' for options and bare URLs or paths."""
    match = re.match(r"([A-Za-z0-9](?:[\w.\-]*[A-Za-z0-9])?)\s*(?:$|[\[<>=!~;@( #])", text.strip())
    return re.sub(r"[-_.]+", "-", match.group(1)).lower() if match else ""


def _pairs(
    before: Sequence[LockedPackage], after: Sequence[LockedPackage]
) -> Iterator[tuple[tuple[Manager, str], LockedPackage | None, LockedPackage | None]]:
    old = {(package.manager, package.name): package for package in before}
    new = {(package.manager, package.name): package for package in after}
    for key in sorted({*old, *new}):
        yield key, old.get(key), new.get(key)


def _change(
    group: tuple[str, ...],
    details: tuple[PlatformChange, ...],
    asking: Mapping[str, Direct],
    parents: _Parents,
) -> PackageChange:
    manager: Manager = "conda" if group[0] == "conda" else "pip"
    name = group[1]
    side = "before" if group[2] == "removed" else "after"
    is_direct = name in asking[side].get(manager, ())
    return PackageChange(
        name=name,
        manager=manager,
        change=next(kind for kind in CHANGE_CLASSES if kind == group[2]),
        before_version=group[3],
        after_version=group[4],
        direct=is_direct,
        why=() if is_direct else parents.chain(details[0], manager, name),
        details=details,
    )


def _order(change: PackageChange) -> tuple[bool, str, Manager, tuple[str, ...]]:
    return (not change.direct, change.name, change.manager, change.platforms)


class _Parents:
    """The shortest chains from the names of the spec, worked out per platform when asked."""

    def __init__(self, before: Packages, after: Packages, asking: Mapping[str, Direct]) -> None:
        self._sides = {"before": before, "after": after}
        self._asking = asking
        self._known: dict[tuple[str, str], dict[tuple[str, str], tuple[str, ...]]] = {}

    def chain(self, detail: PlatformChange, manager: Manager, name: str) -> tuple[str, ...]:
        side = "before" if detail.after is None else "after"
        key = (side, detail.platform)
        if key not in self._known:
            self._known[key] = chains(
                self._sides[side].get(detail.platform, ()), self._asking[side]
            )
        return self._known[key].get((manager, name), ())


def chains(
    packages: Sequence[LockedPackage], direct: Direct
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return by (manager, name) the shortest chain of parents, starting at a name of the spec."""
    by_key = {(package.manager, package.name): package for package in packages}
    start = sorted(key for key in by_key if key[1] in direct.get(key[0], ()))
    found: dict[tuple[str, str], tuple[str, ...]] = dict.fromkeys(start, ())
    queue = deque(start)
    while queue:
        key = queue.popleft()
        for name in sorted(by_key[key].depends):
            child = (key[0], name)
            if child in by_key and child not in found:
                found[child] = (*found[key], key[1])
                queue.append(child)
    return found

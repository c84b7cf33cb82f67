"""Does a lock still satisfy its spec? Answered offline, without solving.

A lock is fresh when every package that the spec asks for, and that those ask for, is in it with a
fitting version on every platform, from a channel of the spec, and nothing else is. An equal request
hash is only a shortcut: a spec may change in ways that the lock satisfies, and then it stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envsync.model.channels import CHANNEL_ALIAS, channel_urls, sources_of, strip_credentials
from envsync.model.config import Config
from envsync.model.dockerfile import uses
from envsync.model.document import Faults
from envsync.model.lock import Lock, LockedPackage
from envsync.model.match_spec import match_spec_name
from envsync.model.names import IMAGE_PLATFORMS
from envsync.model.own_wheels import path_in_repository, wheel_name
from envsync.model.package_changes import chains, direct_names
from envsync.model.pypi_names import provided
from envsync.model.request import request_hash
from envsync.model.spec import SCRATCH, BuildContext, CondaFile, Spec
from envsync.model.virtual_packages import virtual_packages
from envsync.model.wheel_tags import marker_environment

LockDrift = Literal["lock_missing", "lock_unsatisfied", "lock_platform_missing", "lock_integrity"]
"""Kinds of drift of a lock (release protocol §6)."""

Matches = Callable[[str, LockedPackage], bool]
"""Whether a package is what a conda match spec without channel asks for."""

_INSTALLERS = frozenset({"pip", "setuptools", "wheel"})
"""Other tools put these into a lock although nothing asks for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """One reason why a lock must be made again."""

    kind: LockDrift
    platform: str
    """'' when it is not about one platform."""
    text: str
    """For people, such as ``numpy 1.26.4 is locked, the spec asks numpy >=2``."""

    def __str__(self) -> str:
        return f"{self.text} ({self.platform})" if self.platform else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRules:
    """What a lock is judged by, besides the spec itself."""

    config: Config
    matches: Matches
    root: str
    """The repository's absolute POSIX path, where relative channels start."""
    channel_alias: str = CHANNEL_ALIAS
    believed: bool = True
    """Whether the request hash in a lock is believed. In a pull request it is not: a lock that
    somebody changed by hand has the hash of the one before."""


def wanted_platforms(spec: Spec, config: Config) -> tuple[str, ...]:
    """Return the platforms that the lock of *spec* must cover, in order.

    An environment without packages has those that images exist for.
    """
    platforms = spec.settings.platforms or config.platforms
    if spec.kind != "conda":
        if spec.os_type == "windows":
            return ("win-64",)
        return tuple(platform for platform in platforms if platform in IMAGE_PLATFORMS)
    return tuple(platforms)


def freshness(spec: Spec, lock: Lock | None, rules: LockRules) -> tuple[Stale, ...]:
    """Return why *lock* does not satisfy *spec*; nothing when it does."""
    if spec.build is not None and spec.build.remote:
        return ()
    if lock is None:
        return (Stale(kind="lock_missing", platform="", text="it was never locked"),)
    if spec.build is not None:
        return tuple(_images(spec, spec.build, lock, rules.config))
    found = [*_whole(spec, lock), *_platforms(spec, lock, rules)]
    if spec.conda is None:
        return tuple(found)
    locked = [p for p in wanted_platforms(spec, rules.config) if p in lock.packages]
    for platform in locked:
        found += _channels(spec.conda, lock.packages[platform], platform, rules)
    same = lock.image.request == request_hash(spec, rules.config)
    if same and rules.believed and not found:
        return ()
    found += _asked_otherwise(spec, spec.conda, lock, rules.config)
    for platform in locked:
        found += _packages(spec, spec.conda, lock, platform, rules)
    return tuple(found)


def _images(spec: Spec, build: BuildContext, lock: Lock, config: Config) -> Iterator[Stale]:
    """Whether the lock knows the images that the Dockerfile names, and no others."""
    found = uses(build.dockerfile, spec.settings.build_arguments, build.file, Faults())
    wanted = {use.key for use in found}
    platforms = wanted_platforms(spec, config)
    for platform in platforms:
        locked = lock.image.bases.get(platform)
        if locked is None:
            text = f"nothing is locked for {platform}"
            yield Stale(kind="lock_platform_missing", platform=platform, text=text)
            continue
        for image in sorted(wanted - locked.keys()):
            yield _stale(platform, f"{image} has no digest, {build.file} asks it")
        for image in sorted(locked.keys() - wanted):
            yield _stale(platform, f"{image} is locked, {build.file} does not ask it any more")
    for platform in sorted({*lock.image.bases} - {*platforms}):
        yield _stale(platform, f"{platform} is locked, the spec is not for it")


def _stale(platform: str, text: str) -> Stale:
    return Stale(kind="lock_unsatisfied", platform=platform, text=text)


def _whole(spec: Spec, lock: Lock) -> Iterator[Stale]:
    if lock.image.conda_lock != lock.conda_lock:
        yield Stale(
            kind="lock_integrity",
            platform="",
            text="image.yaml was not written with this conda-lock.yml (an interrupted lock, a "
            "merge, or an edit by hand)",
        )
    if lock.image.image != (spec.image or ""):
        yield _stale("", f"the base {lock.image.image} is locked, the spec says {spec.image}")


def _platforms(spec: Spec, lock: Lock, rules: LockRules) -> Iterator[Stale]:
    for platform in wanted_platforms(spec, rules.config):
        if spec.conda is not None and platform not in lock.packages:
            text = f"nothing is locked for {platform}"
        elif (
            spec.image != SCRATCH
            and (platform in IMAGE_PLATFORMS or spec.kind == "image")
            and platform not in lock.image.platforms
        ):
            text = f"the base image has no digest for {platform}"
        else:
            continue
        yield Stale(kind="lock_platform_missing", platform=platform, text=text)
    # An image is made for every platform of its lock, so one that nobody wants has to go.
    for platform in sorted({*lock.packages} - {*wanted_platforms(spec, rules.config)}):
        yield _stale(platform, f"{platform} is locked, the spec is not for it")


def _asked_otherwise(spec: Spec, conda: CondaFile, lock: Lock, config: Config) -> Iterator[Stale]:
    channels = tuple(map(strip_credentials, conda.channels or config.channels))
    if channels != lock.channels:
        yield _stale(
            "",
            f"channels {', '.join(lock.channels) or 'none'} are locked, "
            f"the spec says {', '.join(channels)}",
        )
    assumed, locked = dict(spec.settings.virtual_packages), dict(lock.image.virtual_packages)
    if assumed != locked:
        yield _stale(
            "", f"locked for machines with {_listed(locked)}, the spec says {_listed(assumed)}"
        )


def _listed(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items()) or "nothing special"


def _channels(
    conda: CondaFile, packages: Sequence[LockedPackage], platform: str, rules: LockRules
) -> Iterator[Stale]:
    channels = sources_of(conda.channels or rules.config.channels, conda.dependencies)
    allowed = {
        strip_credentials(url) for channel in channels for url in _urls(channel, platform, rules)
    }
    seen = set[str]()
    for package in packages:
        channel = package.channel
        if package.manager == "conda" and channel not in allowed and channel not in seen:
            seen.add(channel)
            yield _stale(
                platform,
                f"{package.name} is locked from {channel}, which is no channel of the spec",
            )


def _urls(channel: str, platform: str, rules: LockRules) -> tuple[str, ...]:
    return channel_urls(channel, platform=platform, root=rules.root, alias=rules.channel_alias)


def _packages(
    spec: Spec, conda: CondaFile, lock: Lock, platform: str, rules: LockRules
) -> Iterator[Stale]:
    packages = lock.packages[platform]
    machine = _machine(spec, lock, platform)
    by_name = {p.name: p for p in packages if p.manager == "conda"} | machine
    for text in conda.dependencies:
        channel, _, rest = text.rpartition("::")
        problem = _conda_problem(by_name, rest.strip(), rules.matches)
        package = by_name.get(match_spec_name(text))
        if not problem and channel and package:
            urls = {strip_credentials(url) for url in _urls(channel.strip(), platform, rules)}
            if package.channel not in urls:
                problem = f"{package.name} is locked from {package.channel}"
        if problem:
            yield _stale(platform, f"{problem}, the spec asks {text}")
    yield from _pip(conda, packages, platform)
    pip = {p.name for p in packages if p.manager == "pip"} | set(provided(packages))
    for package in packages:
        for name, constraint in package.depends.items():
            if package.manager == "pip":
                problem = "" if canonicalize_name(name) in pip else f"{name} is not locked"
            elif name in {"__win", "__unix", "__linux", "__osx", "__archspec"}:
                continue
            else:
                problem = _conda_problem(by_name, f"{name} {constraint}".strip(), rules.matches)
            if problem:
                wish = f"{name} {constraint}".strip()
                yield _stale(platform, f"{problem}, {package.name} asks {wish}")
    yield from _unasked(conda, packages, platform)


def _machine(spec: Spec, lock: Lock, platform: str) -> dict[str, LockedPackage]:
    base = lock.image.platforms.get(platform)
    assumed = virtual_packages(
        platform, glibc=base.glibc if base else None, spec=spec.settings.virtual_packages
    )
    return {
        name: LockedPackage(
            manager="conda",
            name=name,
            version=text.partition(" ")[0],
            build=text.partition(" ")[2] or "0",
            platform=platform,
            url=f"virtual/{platform}/{name}",
            sha256="",
        )
        for name, text in assumed.items()
    }


def _conda_problem(by_name: Mapping[str, LockedPackage], wanted: str, matches: Matches) -> str:
    name = match_spec_name(wanted)
    package = by_name.get(name)
    if package is None:
        return f"the machine has no {name}" if name.startswith("__") else f"{name} is not locked"
    if matches(wanted, package):
        return ""
    if name.startswith("__"):
        return f"the machine has {name} {package.version}"
    return f"{name} {package.version} {package.build} is locked"


def _pip(conda: CondaFile, packages: Sequence[LockedPackage], platform: str) -> Iterator[Stale]:
    versions = dict(provided(packages))
    versions.update({p.name: p.version for p in packages if p.manager == "pip"})
    python = next((p.version for p in packages if p.name == "python"), "3")
    yield from _own_wheels(conda, packages, platform)
    for text in conda.pip:
        try:
            requirement = Requirement(text.split(" #")[0].strip())
        except InvalidRequirement:
            # An option of pip, or something that locking refuses with its own words.
            continue
        if not _applies(requirement, platform, python):
            continue
        version = versions.get(canonicalize_name(requirement.name))
        if version is None:
            yield _stale(platform, f"{requirement.name} is not locked, the spec asks {text}")
        elif not _contains(requirement, version):
            yield _stale(platform, f"{requirement.name} {version} is locked, the spec asks {text}")


def _own_wheels(
    conda: CondaFile, packages: Sequence[LockedPackage], platform: str
) -> Iterator[Stale]:
    named = set(map(wheel_name, conda.wheels))
    for package in packages:
        path = path_in_repository(package.url) if package.manager == "pip" else ""
        if path and package.name not in named:
            yield _stale(platform, f"{package.name} is locked from {path}, the spec names no wheel")
    locked = {p.name: p.sha256 for p in packages if p.manager == "pip"}
    for path, sha256 in conda.wheels.items():
        name = wheel_name(path)
        if name not in locked:
            yield _stale(platform, f"{name or path} is not locked, the spec asks {path}")
        elif locked[name] != sha256:
            yield _stale(platform, f"{path} is another file than the one that is locked")


def _applies(requirement: Requirement, platform: str, python: str) -> bool:
    if requirement.marker is None:
        return True
    try:
        return requirement.marker.evaluate({**marker_environment(platform, python=python)})
    except UndefinedEnvironmentName:
        return True


def _contains(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _unasked(conda: CondaFile, packages: Sequence[LockedPackage], platform: str) -> Iterator[Stale]:
    asked = chains(packages, direct_names(conda))
    for package in packages:
        if (package.manager, package.name) not in asked and package.name not in _INSTALLERS:
            yield _stale(platform, f"{package.name} is locked, nothing asks for it any more")

"""Why a definition differs from the one before, and what publishing it would move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from envsync.model.definition import BuildDefinition, Definition
from envsync.model.grouping import BUDGET, LIMIT, group, package_layers
from envsync.model.lock import Lock, LockedPackage
from envsync.model.names import IMAGE_PLATFORMS
from envsync.planning.plan import Effort, Reason

USUAL_BASE_LAYERS = 6
"""Layers that a base image is taken to have where an estimate needs a number."""

_NAMED = 5
"""Files of a context that a reason names."""


def definition_reasons(before: Definition, after: Definition) -> tuple[Reason, ...]:
    """Return what differs between two definitions, the most telling first."""
    return tuple(_differences(before, after))


def _differences(before: Definition, after: Definition) -> Iterator[Reason]:
    if before.kind != after.kind:
        yield Reason(code="kind_changed", text=f"was {before.kind}, is {after.kind}")
    if before.image_digest != after.image_digest:
        text = f"image {_short(before.image_digest)} → {_short(after.image_digest)}"
        yield Reason(code="image_changed", text=text)
    old = {p.platform: p for p in before.platforms}
    new = {p.platform: p for p in after.platforms}
    for platform in sorted(new.keys() - old.keys()):
        yield Reason(code="platform_added", text=f"{platform} is new")
    for platform in sorted(old.keys() - new.keys()):
        yield Reason(code="platform_removed", text=f"{platform} is no longer there")
    for platform in sorted(old.keys() & new.keys()):
        if old[platform].packages != new[platform].packages:
            count = len(set(old[platform].packages) ^ set(new[platform].packages))
            text = f"packages differ on {platform} ({count} entries)"
            yield Reason(code="packages_changed", text=text)
        if old[platform].base_digest != new[platform].base_digest:
            bases = (_short(old[platform].base_digest), _short(new[platform].base_digest))
            text = f"base image on {platform} {bases[0]} → {bases[1]}"
            yield Reason(code="base_image_changed", text=text)
    if dict(before.environment_variables) != dict(after.environment_variables):
        names = {
            name
            for name in {*before.environment_variables, *after.environment_variables}
            if before.environment_variables.get(name) != after.environment_variables.get(name)
        }
        # Names only: a value might be a secret that somebody put there by mistake.
        text = f"environment variables differ: {', '.join(sorted(names))}"
        yield Reason(code="variables_changed", text=text)
    if before.user != after.user:
        yield Reason(code="user_changed", text=f"user {before.user!r} → {after.user!r}")
    if before.inference_config != after.inference_config:
        text = "the routes of the web service differ"
        yield Reason(code="inference_config_changed", text=text)
    if before.setup != after.setup:
        yield Reason(code="setup_changed", text="the setup script differs")
    if before.interpreter_path != after.interpreter_path:
        paths = before.interpreter_path or "none", after.interpreter_path or "none"
        text = f"interpreter {paths[0]} → {paths[1]}"
        yield Reason(code="interpreter_changed", text=text)
    if before.build is not None and after.build is not None:
        yield from _builds(before.build, after.build)
    if before.compression != after.compression:
        text = f"compression {before.compression} → {after.compression}"
        yield Reason(code="compression_changed", text=text)
    if before.format != after.format:
        text = f"image format {before.format} → {after.format}"
        yield Reason(code="format_changed", text=text)


def _builds(before: BuildDefinition, after: BuildDefinition) -> Iterator[Reason]:
    old, new = ({file.path: file for file in build.files} for build in (before, after))
    changed = {
        "added": sorted(new.keys() - old.keys()),
        "changed": sorted(path for path in old.keys() & new.keys() if old[path] != new[path]),
        "removed": sorted(old.keys() - new.keys()),
    }
    counted = [f"{len(paths)} {what}" for what, paths in changed.items() if paths]
    if counted:
        paths = sorted(path for found in changed.values() for path in found)
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        text = f"files of the context: {', '.join(counted)} ({', '.join(paths[:_NAMED])}{more})"
        yield Reason(code="context_changed", text=text)
    ways = (before.dockerfile_path, before.dockerfile_sha256)
    if ways != (after.dockerfile_path, after.dockerfile_sha256):
        yield Reason(code="dockerfile_changed", text=f"{after.dockerfile_path} differs")
    for image in sorted({*before.bases, *after.bases}):
        digests = before.bases.get(image, ""), after.bases.get(image, "")
        if digests[0] != digests[1]:
            text = f"FROM {image} {_short(digests[0])} → {_short(digests[1])}"
            yield Reason(code="base_image_changed", text=text)
    names = sorted(
        name
        for name in {*before.arguments, *after.arguments}
        if before.arguments.get(name) != after.arguments.get(name)
    )
    if names:
        text = f"build arguments differ: {', '.join(names)}"
        yield Reason(code="build_arguments_changed", text=text)
    if before.secrets != after.secrets:
        text = f"build secrets {_listed(before.secrets)} → {_listed(after.secrets)}"
        yield Reason(code="build_secrets_changed", text=text)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _short(digest: str) -> str:
    return digest[:19] if digest else "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Archive:
    name: str
    archive_size: int
    sha256: str


def effort(before: Lock | None, after: Lock) -> Effort:
    """Estimate what must be pushed: the layers whose packages no layer of *before* holds.

    Archive sizes stand in for the layers' sizes, which nobody knows before they are built. A base
    image's layers are not counted: they are mounted or copied, once for all environments.
    """
    known = {members for lock in (before,) if lock for members, _ in _layers(lock)}
    wanted = dict(_layers(after))
    missing = {members: size for members, size in wanted.items() if members not in known}
    return Effort(
        bytes_to_push=sum(missing.values()),
        layers_to_push=len(missing),
        layers=len(wanted),
    )


def _layers(lock: Lock) -> Iterator[tuple[frozenset[str], int]]:
    count = package_layers(min(USUAL_BASE_LAYERS, LIMIT - BUDGET))
    for platform in lock.packages:
        if platform not in IMAGE_PLATFORMS:
            continue
        archives = _archives(lock.packages[platform], lock.image.sizes)
        for layer in group(archives, count):
            members = frozenset(archive.sha256 for archive in layer.packages)
            yield members, sum(archive.archive_size for archive in layer.packages)


def _archives(packages: Sequence[LockedPackage], sizes: Mapping[str, int]) -> tuple[_Archive, ...]:
    return tuple(
        _Archive(name=p.name, archive_size=sizes.get(p.file_name, 0), sha256=p.sha256)
        for p in packages
    )

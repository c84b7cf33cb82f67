"""Where a copy of an image goes: another registry, or an archive file."""

from __future__ import annotations

from dataclasses import dataclass

from envsync.errors import InvalidInput
from envsync.model.names import RESERVED_TAG, repository_component
from envsync.model.reference import is_tag, parse_registry_location

ARCHIVE = "oci-archive:"
_REMOTE = "docker://"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTarget:
    """An OCI archive: one file."""

    path: str
    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryTarget:
    """A repository of a registry."""

    host: str
    repository: str
    tag: str

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}:{self.tag}"


def parse_copy_target(text: str, name: str, version: str) -> ArchiveTarget | RegistryTarget:
    """Read the target of a copy of version *version* of environment *name*.

    ``host/namespace`` gets the environment's own repository in it; with a tag, or when its last
    part is the environment's already, it is the repository itself. Raises InvalidInput.
    """
    if text.startswith(ARCHIVE) or text.endswith(".tar"):
        path, tag = text.removeprefix(ARCHIVE), ""
        if text.startswith(ARCHIVE) and not path.endswith(".tar"):
            path, _, tag = path.partition(":")
        if not path:
            raise InvalidInput(f"{text!r} names no file", hint="Write archive.tar.")
        return ArchiveTarget(path=path, tag=_tag(tag, version))
    place = text.removeprefix(_REMOTE)
    head, slash, last = place.rpartition("/")
    stem, colon, tag = last.partition(":")
    if not slash:
        stem, colon, tag = last, "", ""
    location = parse_registry_location(f"{head}{slash}{stem}")
    whole = bool(colon) or stem == repository_component(name)
    return RegistryTarget(
        host=location.host,
        repository=location.namespace if whole else location.repository(name),
        tag=_tag(tag, version) if colon else version,
    )


def _tag(text: str, version: str) -> str:
    tag = text or version
    if not is_tag(tag) or (tag != "latest" and RESERVED_TAG.fullmatch(tag)):
        raise InvalidInput(f"{tag!r} cannot be the tag of a copy", hint=f"Write {version}.")
    return tag

"""What may change of an environment and of its versions after they were made, as values.

It stands in ``lifecycle/<name>.yaml`` and decides nothing about images: no hash has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envsync.errors import Position
from envsync.model.config import LIFECYCLE
from envsync.model.document import (
    Faults,
    Node,
    absent,
    as_bool,
    as_mapping,
    as_text,
    as_text_map,
    check_keys,
    shown,
)
from envsync.model.names import is_version

_KEYS = ("archived", "versions")
_VERSION_KEYS = ("archived", "description", "tags")
_ADVICE = {
    "archived_versions": "Write 'versions:', below it the version, below that 'archived: true'.",
    "description": "The description of the environment stands in its spec.",
    "tags": "The tags of the environment stand in its spec.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionLife:
    """What was said about one version after it was made."""

    archived: bool = False
    description: str | None = None
    """Instead of the spec's; None leaves it."""
    tags: Mapping[str, str] | None = None
    """All of its tags, instead of the spec's; None leaves them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """What was said about one environment after it was made."""

    archived: bool = False
    """Whether the name is archived, with all of its versions, those to come too."""
    versions: Mapping[str, VersionLife] = field(default_factory=dict)

    def of(self, version: str) -> VersionLife:
        """Return what was said about one version by itself."""
        return self.versions.get(version, VersionLife())

    def hides(self, version: str) -> bool:
        """Tell whether a version is archived, by itself or with its name."""
        return self.archived or self.of(version).archived


def lifecycle_path(name: str) -> str:
    """Return the repository-relative path of an environment's lifecycle file."""
    return f"{LIFECYCLE}/{name}.yaml"


def read_lifecycle(root: Node, faults: Faults) -> Lifecycle:
    """Read a lifecycle file; what it does not say was never said."""
    document = as_mapping(root, "A lifecycle file", faults)
    if document is None:
        return Lifecycle()
    check_keys(document, _KEYS, "a lifecycle file", faults, _ADVICE)
    versions = {}
    listed = as_mapping(document.get("versions"), "'versions'", faults)
    for key, node in listed.entries if listed else ():
        if not is_version(key.text):
            faults.add(key.where, f"{shown(key.text)} is not a version")
        else:
            versions[key.text] = _version(node, key.where, faults)
    return Lifecycle(
        archived=bool(as_bool(document.get("archived"), "'archived'", faults)), versions=versions
    )


def _version(node: Node, where: Position, faults: Faults) -> VersionLife:
    if absent(node):
        faults.add(where, "Nothing is said about this version", "Remove the line.")
    said = as_mapping(node, "What is said about a version", faults)
    if said is None:
        return VersionLife()
    check_keys(said, _VERSION_KEYS, "a version", faults, {})
    description = as_text(said.get("description"), "'description'", faults)
    tags = as_text_map(said.get("tags"), "'tags'", faults)
    return VersionLife(
        archived=bool(as_bool(said.get("archived"), "'archived'", faults)),
        description=description.text if description else None,
        tags=None
        if absent(said.get("tags"))
        else {key: "" if value.is_null else value.text for key, value in tags.items()},
    )

"""Archive, restore: flags in an environment's lifecycle file; a commit makes them everybody's.

Archiving hides and deletes nothing: what is archived can be used by its number for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from envsync.errors import InvalidInput
from envsync.model.edit import Edit
from envsync.model.lifecycle import Lifecycle, VersionLife, lifecycle_path
from envsync.model.record import Record
from envsync.model.reference import EnvironmentReference
from envsync.operations.lifecycles import load_lifecycles
from envsync.operations.look import Past
from envsync.operations.overlay import Overlay
from envsync.planning.states import current
from envsync.ports.documents import EditDocument, ParseDocument
from envsync.ports.files import FileWriter
from envsync.ports.tree import Tree

_HEADER = """\
# What was said about {name} after it was made: by `envsync archive`, `restore` and `update`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What changing the files of the working folder needs."""

    tree: Tree
    parse: ParseDocument
    edit: EditDocument
    files: FileWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """What archiving or restoring came to."""

    name: str
    version: str
    """'' when it was the name."""
    path: str
    """The lifecycle file."""
    archived: bool
    """Whether the version, or the name, is archived now."""
    changed: bool
    """False when it was so already, and nothing was written."""
    latest: str
    """The version that ``latest`` means now, '' when there is none."""
    remarks: tuple[str, ...] = ()
    """What people could otherwise overlook."""


def archive(desk: Desk, past: Past, name: str, reference: EnvironmentReference | None) -> Flagged:
    """Archive a version, or without *reference* the name with its versions, later ones too."""
    life = _require(past, name)
    if reference is None:
        return _flag(desk, past, name, life, True)
    record = past.find(reference)
    remarks = (
        (f"{name} is archived, and {name}:{record.version} with it, until both are restored",)
        if life.archived
        else ()
    )
    return _flag(desk, past, name, life, True, record, remarks)


def restore(desk: Desk, past: Past, name: str, reference: EnvironmentReference | None) -> Flagged:
    """Restore a version, or without *reference* the name.

    Raises InvalidInput for a version of a name that is archived.
    """
    life = _require(past, name)
    if reference is None:
        own = [v for v, said in life.versions.items() if said.archived]
        remarks = (
            (f"archived by themselves, and still so: {', '.join(f'{name}:{v}' for v in own)}",)
            if own
            else ()
        )
        return _flag(desk, past, name, life, False, None, remarks)
    if reference.version is None:
        raise InvalidInput(
            f"{name}@latest is never archived",
            detail="latest is the newest of the versions that are not archived.",
            hint=f"Name a version; this lists them:\n"
            f"    envsync list --name {name} --archived-only",
        )
    record = past.find(reference)
    if life.archived:
        raise InvalidInput(
            f"{name}:{record.version} cannot be restored by itself",
            detail=f"{name} is archived, and every version with it.",
            hint=f"Restore the name:\n    envsync restore {name}",
        )
    return _flag(desk, past, name, life, False, record)


def say(desk: Desk, name: str, edits: Sequence[Edit]) -> str:
    """Write *edits* into an environment's lifecycle file and return its path."""
    path = lifecycle_path(name)
    before = desk.tree.read(path)
    start = _HEADER.format(name=name).encode() if before is None else before
    after = desk.edit(start, path, edits)
    load_lifecycles(Overlay(desk.tree, {path: after}), desk.parse, [name]).of(name)
    if before is None:
        desk.files.create({path: after})
    else:
        desk.files.replace(path, after)
    return path


def _require(past: Past, name: str) -> Lifecycle:
    if name not in past.names and not past.of(name):
        raise past.without_versions(name)
    return past.lifecycle(name)


def _flag(
    desk: Desk,
    past: Past,
    name: str,
    life: Lifecycle,
    archived: bool,
    record: Record | None = None,
    remarks: tuple[str, ...] = (),
) -> Flagged:
    keys: tuple[str, ...]
    if record is None:
        keys, was, now = (), life.archived, replace(life, archived=archived)
    else:
        said = life.versions.get(record.version, VersionLife())
        keys, was = ("versions", record.version), said.archived
        now = replace(
            life, versions={**life.versions, record.version: replace(said, archived=archived)}
        )
    if was != archived:
        say(desk, name, [Edit(path=(*keys, "archived"), value=archived)])
    newest = current(past.of(name), now)
    return Flagged(
        name=name,
        version=record.version if record else "",
        path=lifecycle_path(name),
        archived=now.hides(record.version) if record else now.archived,
        changed=was != archived,
        latest=newest.version if newest else "",
        remarks=remarks,
    )

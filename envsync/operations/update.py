"""Update: description and tags, the only parts of an environment that may change.

Those of a name stand in its spec; those of one version, when they were changed later, in the
lifecycle file. Neither moves a hash, so no new version comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from envsync.errors import InvalidInput, Misuse
from envsync.model.config import ENVIRONMENTS
from envsync.model.document import nearest, shown
from envsync.model.edit import Edit
from envsync.model.reference import EnvironmentReference
from envsync.model.spec import Spec
from envsync.model.spec_reader import KEYS
from envsync.operations.lifecycle import Desk, say
from envsync.operations.load import environment_names, load_environment, select
from envsync.operations.look import Past, list_versions
from envsync.operations.overlay import Overlay

Verb = Literal["set", "add", "remove"]

_TAGS = "tags."
_ONCE = "a version is written once"
_HERE = "Change it in {path}."
_NEW_VERSION = """\
Change it in {path}; that makes a new version:
    envsync lock {name}
    git commit -a
    envsync apply {name}"""
_RENAMED = """\
Make an environment of the other name with the same content; they share one image:
    envsync new OTHER"""
_NUMBERED = """\
To choose the number of the next version, change 'version:' in {path}, and then:
    envsync apply {name}"""
_REASONS = {
    "name": ("records and images have the name for ever", _RENAMED),
    "version": (_ONCE, _NUMBERED),
    "inference_config": (_ONCE, _NEW_VERSION),
    "$schema": ("it is a note for editors", _HERE),
    "datastore": ("it has no effect", _HERE),
    "properties": ("it has no effect", _HERE),
}
"""Why a key cannot be updated, and what to do instead; any other key decides the image."""
_IMAGE = "it decides what the image is, and versions never change"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing to change, as it was typed: ``--set description=…``, ``--remove tags.stage``."""

    verb: Verb
    key: str
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What may change."""

    description: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """What an update came to."""

    name: str
    version: str
    """'' when it was the name."""
    path: str
    """The file that holds it."""
    before: Words
    after: Words

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return self.before != self.after


def update_name(desk: Desk, name: str, changes: Sequence[Change]) -> Updated:
    """Change description and tags of an environment, in its spec."""
    select(environment_names(desk.tree), [name])
    _require_mutable(changes, name)
    spec = load_environment(desk.tree, desk.parse, name)
    before = Words(description=spec.description, tags=spec.tags)
    after = _after(before, changes, name)
    if after != before:
        edits = _edits((), before, after, changes)
        new = desk.edit(desk.tree.read(spec.path) or b"", spec.path, edits)
        _require_same(
            spec, load_environment(Overlay(desk.tree, {spec.path: new}), desk.parse, name)
        )
        desk.files.replace(spec.path, new)
    return Updated(name=name, version="", path=spec.path, before=before, after=after)


def update_version(
    desk: Desk, past: Past, reference: EnvironmentReference, changes: Sequence[Change]
) -> Updated:
    """Change description and tags of one version, in the lifecycle file of its name."""
    record = past.find(reference)
    name, version = record.name, record.version
    _require_mutable(changes, name)
    (row,) = list_versions(desk.tree, past, replace(reference, version=version))
    before = Words(description=row.description, tags=row.tags)
    after = _after(before, changes, name)
    said = past.lifecycle(name).of(version)
    keys = ("versions", version)
    edits = []
    if after.description != before.description:
        edits.append(Edit(path=(*keys, "description"), value=after.description))
    if after.tags != before.tags and (not said.tags or not after.tags):
        # All tags of the version stand there, or none: one alone could not take another away.
        edits.append(Edit(path=(*keys, "tags"), value=after.tags))
    elif after.tags != before.tags:
        edits += _edits(keys, replace(before, description=""), replace(after, description=""), [])
    path = say(desk, name, edits) if edits else ""
    return Updated(name=name, version=version, path=path, before=before, after=after)


def _require_mutable(changes: Sequence[Change], name: str) -> None:
    if not changes:
        raise Misuse(
            "there is nothing to change",
            hint="Say what, such as:\n"
            f"    envsync update {name} --set description='…' --set tags.stage=production",
        )
    keys = [change.key for change in changes]
    for change in changes:
        key = change.key
        if keys.count(key) > 1:
            raise Misuse(f"{shown(key)} is to be changed twice", hint="Keep one of them.")
        if key == "description" and change.verb == "add":
            raise Misuse(
                "a description cannot be added to", hint="Write --set description=… instead."
            )
        if key == "description" or (key.startswith(_TAGS) and len(key) > len(_TAGS)):
            continue
        if key in {"tags", _TAGS}:
            if change.verb == "remove" and key == "tags":
                continue
            raise Misuse("tags are changed one by one", hint=f"Write --{change.verb} tags.KEY=…")
        raise _immutable(key, name)


def _immutable(key: str, name: str) -> InvalidInput:
    top = key.partition(".")[0]
    path = f"{ENVIRONMENTS}/{name}/environment.yaml"
    if top not in KEYS:
        near = nearest(top, ["description", "tags", *KEYS])
        meant = {"description": "--set description=…", "tags": "--set tags.KEY=…"}.get(near, "")
        return InvalidInput(
            f"an environment has no {shown(key)}",
            detail="What can be updated: description, and tags by their keys.",
            hint=f"Did you mean {meant}?" if meant else "",
        )
    reason, hint = _REASONS.get(top, (_IMAGE, _NEW_VERSION))
    return InvalidInput(
        f"{shown(top)} of {name} cannot be updated: {reason}",
        detail="Only description and tags of an environment can be updated.",
        hint=hint.format(path=path, name=name),
    )


def _after(before: Words, changes: Sequence[Change], name: str) -> Words:
    description, tags = before.description, dict(before.tags)
    for change in changes:
        tag = change.key.removeprefix(_TAGS)
        if not _is_text(change.value) or not _is_text(tag):
            raise InvalidInput(f"the value of {shown(change.key)} is not text")
        if change.key == "description":
            description = change.value
        elif change.key == "tags":
            tags.clear()
        elif change.verb == "remove":
            if tag not in tags:
                near = nearest(tag, tags)
                raise InvalidInput(
                    f"{name} has no tag {shown(tag)}",
                    detail=f"It has: {', '.join(map(shown, tags)) or 'no tags'}.",
                    hint=f"Did you mean tags.{near}?" if near else "",
                )
            del tags[tag]
        elif change.verb == "add" and tags.get(tag, change.value) != change.value:
            raise InvalidInput(
                f"{name} has a tag {shown(tag)} already: {shown(tags[tag])}",
                hint=f"To change it:\n    envsync update {name} --set {change.key}=…",
            )
        else:
            tags[tag] = change.value
    return Words(description=description, tags=tags)


def _is_text(text: str) -> bool:
    """Tell whether *text* can stand in a file: bytes that are no UTF-8 come as lone surrogates."""
    return not any(0xD800 <= ord(c) <= 0xDFFF or c == "\0" for c in text)


def _edits(
    keys: tuple[str, ...], before: Words, after: Words, changes: Sequence[Change]
) -> list[Edit]:
    edits = []
    if before.description != after.description:
        gone = any(c.verb == "remove" and c.key == "description" for c in changes)
        edits.append(Edit(path=(*keys, "description"), value=None if gone else after.description))
    if before.tags and not after.tags:
        return [*edits, Edit(path=(*keys, "tags"), value=None)]
    for tag in before.tags:
        if tag not in after.tags:
            edits.append(Edit(path=(*keys, "tags", tag), value=None))
    for tag, value in after.tags.items():
        if before.tags.get(tag) != value:
            edits.append(Edit(path=(*keys, "tags", tag), value=value))
    return edits


def _require_same(before: Spec, after: Spec) -> None:
    """Raise InvalidInput when more than the words is different: the file is then left alone."""
    if replace(after, description=before.description, tags=before.tags) != before:
        raise InvalidInput(
            f"{before.path} is written in a way that cannot be edited here",
            detail="Nothing was changed.",
            hint="Change it by hand.",
        )

"""Look: list, show, history and diff, from git's records and the commits they stand on.

What was said later about versions (archived, description, tags) is read from the working folder.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from envsync.errors import InvalidInput
from envsync.model.config import CONFIG_FILE, Config
from envsync.model.definition import ContextFile, as_recorded, definition_of
from envsync.model.document import Faults, shown
from envsync.model.lifecycle import Lifecycle
from envsync.model.lock import Lock
from envsync.model.package_changes import PackageChange, direct_names, package_changes
from envsync.model.record import Record
from envsync.model.reference import EnvironmentReference
from envsync.model.spec import Spec
from envsync.operations.contexts import read_context
from envsync.operations.lifecycles import Lifecycles
from envsync.operations.load import (
    environment_names,
    load_config,
    load_environment,
    load_repository,
)
from envsync.operations.readers import Readers, read_lock
from envsync.planning.freshness import LockRules, freshness
from envsync.planning.plan import Reason
from envsync.planning.reasons import definition_reasons
from envsync.planning.states import current, in_order, latest
from envsync.ports.git import GitReader
from envsync.ports.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One environment of a list: its spec, and its latest version when there is one."""

    name: str
    kind: str
    description: str
    latest: Record | None
    """What ``latest`` means: archived versions do not count."""
    versions: int
    archived: bool = False
    """Whether the name is archived."""
    archived_versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """One version of a list, with the words that hold for it now."""

    record: Record
    archived: bool
    """By itself or with its name."""
    description: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One version, or the working state, of one environment."""

    name: str
    record: Record | None
    spec: Spec
    lock: Lock | None
    image: str
    """Where to pull it from, by version; '' when there is no version."""
    archived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs between two states of environments."""

    before: str
    after: str
    packages: tuple[PackageChange, ...]
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The records, and how the trees behind them are read."""

    git: GitReader
    readers: Readers
    records: tuple[Record, ...]
    names: tuple[str, ...] = ()
    """Environments of the working folder."""
    lifecycles: Lifecycles = field(default_factory=Lifecycles)
    """What was said about versions later."""
    own: frozenset[str] = frozenset()
    """Names that ``azureml://`` references have for this repository's registry."""

    def of(self, name: str) -> tuple[Record, ...]:
        """Return the records of one environment, oldest first."""
        return in_order(tuple(record for record in self.records if record.name == name))

    def find(self, reference: EnvironmentReference) -> Record:
        """Return the record that a reference names; InvalidInput tells which there are."""
        self.require_own(reference)
        name, records = reference.name, self.of(reference.name)
        if not records:
            raise self.without_versions(name)
        known = ", ".join(record.version for record in records)
        if reference.version:
            found = next((r for r in records if r.version == reference.version), None)
        else:
            found = current(records, self.lifecycle(name))
            if found is None:
                raise InvalidInput(
                    f"{name} has no latest version: all are archived",
                    detail=f"It has: {known}. Archived versions can be used by their number.",
                    hint=f"Name one, such as {name}:{records[-1].version}, or:\n"
                    f"    envsync restore {name}",
                )
        if found is None:
            raise InvalidInput(
                f"{name} has no version {reference.version}", detail=f"It has: {known}."
            )
        return found

    def lifecycle(self, name: str) -> Lifecycle:
        """Return what was said about an environment; InvalidInput when its file is broken."""
        return self.lifecycles.of(name)

    def require_own(self, reference: EnvironmentReference) -> None:
        """Raise InvalidInput for a reference to an environment of another registry."""
        if reference.registry and reference.registry not in self.own:
            raise InvalidInput(
                f"{reference} is not of this repository",
                detail="Only what was made from this repository has records here.",
                hint="It can be used in a spec:\n"
                f"    image: {reference}\n"
                f"Where its registry is stands in {CONFIG_FILE}, under 'registries:'.",
            )

    def without_versions(self, name: str) -> InvalidInput:
        """Return what is to be said of a name that no version has."""
        if name in self.names:
            hint = f"Make one:\n    envsync apply {name}"
            return InvalidInput(f"{name} has no version yet", hint=hint)
        known = sorted({*self.names, *(record.name for record in self.records)})
        near = ", ".join(difflib.get_close_matches(name, known, n=3))
        hint = f"Did you mean: {near}?" if near else ""
        return InvalidInput(f"There is no environment {shown(name)}", hint=hint)

    def spec(self, record: Record) -> Spec:
        """Read the spec that a version was made from."""
        return load_environment(self.git.tree(record.commit), self.readers.parse, record.name)

    def read(self, record: Record) -> tuple[Spec, Lock]:
        """Read the spec and the lock that a version was made from."""
        spec, tree = self.spec(record), self.git.tree(record.commit)
        lock = read_lock(tree, self.readers.parse_lock, record.name)
        if lock is None:
            raise InvalidInput(f"commit {record.commit[:12]} has no lock of {record.name}")
        return spec, lock

    def files(self, record: Record, spec: Spec) -> tuple[ContextFile, ...]:
        """Return the files of the build context that a version was made from."""
        if spec.build is None:
            return ()
        return read_context(self.git.tree(record.commit), spec.build).files


def list_environments(tree: Tree, past: Past, names: Sequence[str] = ()) -> tuple[Row, ...]:
    """Return a row for each environment with a spec in *tree*, and each that only has records.

    Archived ones are among them.
    """
    recorded = {record.name for record in past.records}
    repository = load_repository(tree, past.readers.parse, names)
    known = {*repository.specs, *repository.broken}
    if not names:
        known |= recorded
    rows = []
    for name in sorted(known):
        spec = repository.specs.get(name)
        records = past.of(name)
        kind = spec.kind if spec else "broken" if name in repository.broken else "removed"
        try:
            life = past.lifecycle(name)
        except InvalidInput:
            life, kind = Lifecycle(), "broken"
        rows.append(
            Row(
                name=name,
                kind=kind,
                description=spec.description if spec else "",
                latest=current(records, life),
                versions=len(records),
                archived=life.archived,
                archived_versions=tuple(r.version for r in records if life.hides(r.version)),
            )
        )
    return tuple(rows)


def list_versions(
    tree: Tree, past: Past, reference: EnvironmentReference
) -> tuple[VersionRow, ...]:
    """Return a row for each version of a name, or for the one of a reference, the newest first."""
    past.require_own(reference)
    life = past.lifecycle(reference.name)
    records = past.of(reference.name)
    if not records and reference.name not in past.names:
        raise past.without_versions(reference.name)
    if reference.version:
        records = (past.find(reference),)
    rows = []
    for record in records[::-1]:
        try:
            spec = _spoken(tree, past, record, past.spec(record))
        except InvalidInput:  # a shallow clone does not have it
            spec = _spoken(tree, past, record, Spec(name=record.name, path=""))
        rows.append(
            VersionRow(
                record=record,
                archived=life.hides(record.version),
                description=spec.description,
                tags=spec.tags,
            )
        )
    return tuple(rows)


def show(tree: Tree, past: Past, reference: EnvironmentReference, image: str) -> Shown:
    """Return one version; *image* is its repository. Without any version, the state of *tree*."""
    past.require_own(reference)
    plain = not reference.version and not past.of(reference.name)
    if plain and reference.name in environment_names(tree):
        spec = load_environment(tree, past.readers.parse, reference.name)
        lock = read_lock(tree, past.readers.parse_lock, reference.name)
        return Shown(
            name=reference.name,
            record=None,
            spec=spec,
            lock=lock,
            image="",
            archived=past.lifecycle(reference.name).archived,
        )
    record = past.find(reference)
    spec, lock = past.read(record)
    where = f"{image}:{record.version}" if spec.kind != "image" else lock.image.location
    return Shown(
        name=record.name,
        record=record,
        spec=_spoken(tree, past, record, spec),
        lock=lock,
        image=where,
        archived=past.lifecycle(record.name).hides(record.version),
    )


def _spoken(tree: Tree, past: Past, record: Record, spec: Spec) -> Spec:
    """Return the spec of a version with the description and the tags that hold for it now.

    They are those that were said about the version itself; else, for the newest version, those of
    the spec in *tree*; else those of the spec that it was made from.
    """
    if record == latest(past.of(record.name)) and record.name in past.names:
        try:
            newest = load_environment(tree, past.readers.parse, record.name)
        except InvalidInput:
            newest = spec
        spec = replace(spec, description=newest.description, tags=newest.tags)
    said = past.lifecycle(record.name).of(record.version)
    return replace(
        spec,
        description=spec.description if said.description is None else said.description,
        tags=spec.tags if said.tags is None else said.tags,
    )


def difference(
    past: Past, before: EnvironmentReference, after: EnvironmentReference | Tree
) -> Difference:
    """Compare two versions, or a version with what *after*, a tree, asks for."""
    record = past.find(before)
    old_spec, old_lock = past.read(record)
    old_files = new_files = past.files(record, old_spec)
    notes: tuple[Reason, ...] = ()
    if isinstance(after, EnvironmentReference):
        newer = past.find(after)
        new_spec, new_lock = past.read(newer)
        new_files = past.files(newer, new_spec)
        new = as_recorded(definition_of(new_spec, new_lock, new_files), newer)
        label = f"{newer.name}:{newer.version}"
    else:
        new_spec = load_environment(after, past.readers.parse, record.name)
        found = read_lock(after, past.readers.parse_lock, record.name)
        if found is None:
            raise InvalidInput(
                f"{record.name} is not locked in {after.label}",
                hint=f"Lock it:\n    envsync lock {record.name}",
            )
        new_lock, label = found, after.label
        config = _config(after, past.readers)
        new = definition_of(new_spec, new_lock, new_files, config.compression)
        if new_spec.build is not None:
            # Which of the working folder's files count is known once they are committed.
            text = "files of the context are compared once they are committed"
            notes += (Reason(code="context_not_compared", text=text),)
        notes += _not_locked(config, past.readers, new_spec, new_lock)
    return Difference(
        before=f"{record.name}:{record.version}",
        after=label,
        packages=package_changes(
            old_lock.packages, new_lock.packages, direct_names(new_spec.conda)
        ),
        reasons=definition_reasons(
            as_recorded(definition_of(old_spec, old_lock, old_files), record),
            new,
        )
        + notes,
    )


def _config(tree: Tree, readers: Readers) -> Config:
    faults = Faults()
    config = load_config(tree, readers.parse, faults)
    faults.check(f"{CONFIG_FILE} cannot be used")
    return config


def _not_locked(config: Config, readers: Readers, spec: Spec, lock: Lock) -> tuple[Reason, ...]:
    """Return what of the spec the lock, which is what is compared, does not have yet."""
    rules = LockRules(
        config=config,
        matches=readers.matches,
        root=readers.root,
        channel_alias=readers.channel_alias,
    )
    return tuple(
        Reason(code=stale.kind, text=f"not locked yet: {stale}")
        for stale in freshness(spec, lock, rules)
    )

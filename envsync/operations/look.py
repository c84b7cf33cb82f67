"""Look: list, show, history and diff, from git's records and the commits they stand on."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from envsync.errors import InvalidInput
from envsync.model.config import CONFIG_FILE
from envsync.model.definition import definition_of
from envsync.model.document import Faults, shown
from envsync.model.lock import Lock
from envsync.model.package_changes import PackageChange, direct_names, package_changes
from envsync.model.record import Record
from envsync.model.reference import EnvironmentReference
from envsync.model.spec import Spec
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
from envsync.planning.states import in_order, latest
from envsync.ports.git import GitReader
from envsync.ports.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One environment of a list: its spec, and its latest version when there is one."""

    name: str
    kind: str
    description: str
    latest: Record | None
    versions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One version, or the working state, of one environment."""

    name: str
    record: Record | None
    spec: Spec
    lock: Lock | None
    image: str
    """Where to pull it from, by version; '' when there is no version."""


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

    def of(self, name: str) -> tuple[Record, ...]:
        """Return the records of one environment, oldest first."""
        return in_order(tuple(record for record in self.records if record.name == name))

    def find(self, reference: EnvironmentReference) -> Record:
        """Return the record that a reference names; InvalidInput tells which there are."""
        records = self.of(reference.name)
        if not records:
            raise self.without_versions(reference.name)
        if reference.version:
            found = next((r for r in records if r.version == reference.version), None)
        else:
            found = latest(records)
        if found is None:
            known = ", ".join(record.version for record in records)
            raise InvalidInput(
                f"{reference.name} has no version {reference.version}", detail=f"It has: {known}."
            )
        return found

    def without_versions(self, name: str) -> InvalidInput:
        """Return what is to be said of a name that no version has."""
        if name in self.names:
            hint = f"Make one:\n    envsync apply {name}"
            return InvalidInput(f"{name} has no version yet", hint=hint)
        known = sorted({*self.names, *(record.name for record in self.records)})
        near = ", ".join(difflib.get_close_matches(name, known, n=3))
        hint = f"Did you mean: {near}?" if near else ""
        return InvalidInput(f"There is no environment {shown(name)}", hint=hint)

    def read(self, record: Record) -> tuple[Spec, Lock]:
        """Read the spec and the lock that a version was made from."""
        tree = self.git.tree(record.commit)
        spec = load_environment(tree, self.readers.parse, record.name)
        lock = read_lock(tree, self.readers.parse_lock, record.name)
        if lock is None:
            raise InvalidInput(f"commit {record.commit[:12]} has no lock of {record.name}")
        return spec, lock


def list_environments(tree: Tree, past: Past, names: Sequence[str] = ()) -> tuple[Row, ...]:
    """Return a row for each environment with a spec in *tree*, and each that only has records."""
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
        rows.append(
            Row(
                name=name,
                kind=kind,
                description=spec.description if spec else "",
                latest=latest(records),
                versions=len(records),
            )
        )
    return tuple(rows)


def show(tree: Tree, past: Past, reference: EnvironmentReference, image: str) -> Shown:
    """Return one version; *image* is its repository. Without any version, the state of *tree*."""
    plain = not reference.version and not past.of(reference.name)
    if plain and reference.name in environment_names(tree):
        spec = load_environment(tree, past.readers.parse, reference.name)
        lock = read_lock(tree, past.readers.parse_lock, reference.name)
        return Shown(name=reference.name, record=None, spec=spec, lock=lock, image="")
    record = past.find(reference)
    spec, lock = past.read(record)
    where = f"{image}:{record.version}" if spec.kind != "image" else lock.image.image
    return Shown(name=record.name, record=record, spec=spec, lock=lock, image=where)


def difference(
    past: Past, before: EnvironmentReference, after: EnvironmentReference | Tree
) -> Difference:
    """Compare two versions, or a version with what *after*, a tree, asks for."""
    record = past.find(before)
    old_spec, old_lock = past.read(record)
    notes: tuple[Reason, ...] = ()
    if isinstance(after, EnvironmentReference):
        newer = past.find(after)
        new_spec, new_lock = past.read(newer)
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
        notes = _not_locked(after, past.readers, new_spec, new_lock)
    return Difference(
        before=f"{record.name}:{record.version}",
        after=label,
        packages=package_changes(
            old_lock.packages, new_lock.packages, direct_names(new_spec.conda)
        ),
        reasons=definition_reasons(
            definition_of(old_spec, old_lock), definition_of(new_spec, new_lock)
        )
        + notes,
    )


def _not_locked(tree: Tree, readers: Readers, spec: Spec, lock: Lock) -> tuple[Reason, ...]:
    """Return what of the spec the lock, which is what is compared, does not have yet."""
    faults = Faults()
    rules = LockRules(
        config=load_config(tree, readers.parse, faults),
        matches=readers.matches,
        root=readers.root,
        channel_alias=readers.channel_alias,
    )
    faults.check(f"{CONFIG_FILE} cannot be used")
    return tuple(
        Reason(code=stale.kind, text=f"not locked yet: {stale}")
        for stale in freshness(spec, lock, rules)
    )

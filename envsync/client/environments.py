"""The environments of a repository, with the verbs of Azure ML's SDK."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from typing import overload

from envsync.client.environment import Environment, Made
from envsync.client.parts import Parts
from envsync.client.spec_files import of_spec, spec_files
from envsync.errors import InvalidInput
from envsync.model.config import Config
from envsync.model.names import is_name
from envsync.model.reference import EnvironmentReference, parse_environment_reference
from envsync.operations.lifecycle import Flagged, archive, restore
from envsync.operations.look import (
    Past,
    Row,
    Shown,
    VersionRow,
    list_environments,
    list_versions,
    show,
)


class Environments:
    """Environments by name: `Client.environments`."""

    def __init__(self, parts: Parts, config: Callable[[], Config]) -> None:
        self._parts = parts
        self._config = config

    def create_or_update(self, environment: Environment) -> Environment:
        """Write the spec of an environment into the working folder and return what it says.

        Nothing is built: commit the files, then `Client.apply`. What the spec says already is not
        written again, and comments of a spec stay where only single values change. Raises
        InvalidInput, and writes nothing, when the environment would not be valid.
        """
        _require_name(environment.name)
        desk = self._parts.desk()
        made = spec_files(desk, self._parts.root, environment)
        there = [path for path in made.files if desk.tree.read(path) is not None]
        fresh = {path: data for path, data in made.files.items() if path not in there}
        if fresh:
            desk.files.create(fresh)
        # The spec itself comes last: until then, the files that it names are there already.
        for path in sorted(there, key=lambda path: path == made.spec.path):
            desk.files.replace(path, made.files[path])
        return of_spec(made.spec)

    def get(self, name: str, version: str | None = None, label: str | None = None) -> Environment:
        """Return a version, or what *label* (only ``latest``) or nothing means: the latest one.

        An environment without any version is returned as the working folder has it, without
        `Environment.made`. Raises InvalidInput, which tells which versions there are.
        """
        reference = _reference(name, version, label)
        config = self._config()
        past = self._past(config)
        image = self._parts.image(config, name)
        found = show(self._parts.desk().tree, past, reference, image)
        return replace(of_spec(found.spec), made=_made(found))

    @overload
    def list(self, name: None = None, *, include_archived: bool = False) -> tuple[Row, ...]: ...
    @overload
    def list(self, name: str, *, include_archived: bool = False) -> tuple[VersionRow, ...]: ...
    def list(
        self, name: str | None = None, *, include_archived: bool = False
    ) -> tuple[Row, ...] | tuple[VersionRow, ...]:
        """Return a row for each environment; or for each version of *name*, the newest first."""
        past, tree = self._past(self._config()), self._parts.desk().tree
        if name is None:
            rows = list_environments(tree, past)
            return tuple(row for row in rows if include_archived or not row.archived)
        _require_name(name)
        versions = list_versions(tree, past, EnvironmentReference(name=name, version=None))
        return tuple(row for row in versions if include_archived or not row.archived)

    def archive(self, name: str, version: str | None = None, label: str | None = None) -> Flagged:
        """Hide a version, or a name with all of its versions; commit the file that it writes."""
        reference = _reference(name, version, label) if version or label else None
        return archive(self._parts.desk(), self._past(self._config()), name, reference)

    def restore(self, name: str, version: str | None = None, label: str | None = None) -> Flagged:
        """Undo `archive`; InvalidInput for a version of a name that is archived."""
        reference = _reference(name, version, label) if version or label else None
        return restore(self._parts.desk(), self._past(self._config()), name, reference)

    def _past(self, config: Config) -> Past:
        past, _ = self._parts.past(config)
        return past


def _require_name(name: str) -> None:
    if not is_name(name):
        raise InvalidInput(
            f"{name!r} is not the name of an environment",
            hint="Names have letters, digits, '-' and '_', at most 255, and start with a letter or "
            "digit.",
        )


def _reference(name: str, version: str | None, label: str | None) -> EnvironmentReference:
    _require_name(name)
    if version is not None and label is not None:
        raise InvalidInput("A version and a label cannot be given together")
    if version is not None:
        return parse_environment_reference(f"{name}:{version}")
    return parse_environment_reference(f"{name}@{'latest' if label is None else label}")


def _made(found: Shown) -> Made | None:
    record, lock = found.record, found.lock
    if record is None:
        return None
    return Made(
        version=record.version,
        image=found.image,
        digest=record.digest,
        commit=record.commit,
        created=datetime.datetime.fromtimestamp(record.created, datetime.UTC),
        definition_hash=record.definition,
        platforms=record.platforms,
        packages=lock.packages if lock is not None else {},
        archived=found.archived,
    )

"""Logs: what an engine said while it built a version, or what HEAD asks for."""

from __future__ import annotations

from dataclasses import dataclass

from envsync.errors import InvalidInput
from envsync.model.reference import EnvironmentReference
from envsync.operations.desire import Readers, desire
from envsync.operations.look import Past
from envsync.ports.dockerfiles import BuildLogs
from envsync.ports.git import GitReader


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLog:
    """A log and what it is of."""

    name: str
    version: str
    """'' for what HEAD asks for."""
    definition: str
    text: str


def find_log(
    git: GitReader, readers: Readers, past: Past, logs: BuildLogs, wanted: EnvironmentReference
) -> FoundLog:
    """Return the log of a version; without one, of what HEAD asks for, else of the latest.

    Raises InvalidInput when this machine has none.
    """
    name = wanted.name
    tried = []
    if wanted.version is None:
        wish = None
        if name in past.names:
            wish = desire(git.tree("HEAD"), readers, [name]).wishes.get(name)
        if wish is not None:
            tried.append(("", wish.desired.definition_hash))
    if wanted.version is not None or past.of(name) or not tried:
        record = past.find(wanted)
        tried.append((record.version, record.definition))
    for version, definition in tried:
        text = logs.read(definition)
        if text is not None:
            return FoundLog(name=name, version=version, definition=definition, text=text)
    raise InvalidInput(
        f"there is no build log of {wanted} on this machine",
        detail="Logs are of environments with 'build:', and stay in the cache of the machine that "
        "built.",
    )

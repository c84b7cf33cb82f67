"""A conda prefix as it was found: what is installed in it, and what people asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from envsync.model.lock import LockedPackage
from envsync.model.match_spec import match_spec_name, match_spec_problem

_SPECS = re.compile(
    r"#\s*(?P<action>update|install|create|remove|neutered)d? specs:\s*(?P<list>.*)"
)
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipInstalled:
    """A distribution that pip put into the prefix."""

    name: str
    version: str
    origin: str = ""
    """Why its wheel cannot be found by name and version: what it was installed from; '' for an
    index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """The content of a conda prefix."""

    platform: str
    packages: tuple[LockedPackage, ...]
    """Sorted by name; one without a SHA-256 has '' there."""
    asked: Mapping[str, str]
    """Name to match spec, of what people asked for by themselves."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    pip: tuple[PipInstalled, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    """Set by ``conda env config vars``."""

    @property
    def unhashed(self) -> tuple[LockedPackage, ...]:
        """The packages whose record has no SHA-256."""
        return tuple(package for package in self.packages if not package.sha256)


def asked_for(recorded: Sequence[tuple[str, Sequence[str]]], history: str) -> dict[str, str]:
    """Return what people asked for, by name.

    *recorded* is what the record of each package says of it, by the package's name; where no record
    says anything, the *history* of the prefix is read, the latest word on a package counting.
    """
    found: dict[str, str] = {}
    for name, specs in recorded:
        for text in specs:
            if text and text != "None":
                found[name] = _cleaned(name, text)
    if found:
        return dict(sorted(found.items()))
    for line in history.splitlines():
        match = _SPECS.match(line.strip())
        if match is None or match["action"] == "neutered":
            continue
        for text in _listed(match["list"]):
            name = match_spec_name(_plain(text))
            if match["action"] == "remove":
                found.pop(name, None)
            elif name:
                found[name] = _cleaned(name, text)
    return dict(sorted(found.items()))


def _listed(text: str) -> list[str]:
    quoted = [one or two for one, two in _QUOTED.findall(text)]
    return quoted or [part.strip() for part in text.strip("[] ").split(",") if part.strip()]


def _plain(text: str) -> str:
    return text.rpartition("::")[2]


def _cleaned(name: str, text: str) -> str:
    """Return a match spec as it can stand in a conda file; its name alone when it cannot."""
    plain = _plain(text.strip()).partition("[")[0].strip()
    plain = re.sub(r"==?\*$", "", plain)
    if match_spec_name(plain) != name or match_spec_problem(plain) is not None:
        return name
    return plain

"""Matching locked packages with conda match specs, by rattler, so as the solver does."""

from __future__ import annotations

import re
from functools import lru_cache

import rattler
from rattler.exceptions import InvalidMatchSpecError, InvalidVersionError
from rattler.package.build_string import BuildString

from envsync.model.lock import LockedPackage


def matches(text: str, package: LockedPackage) -> bool:
    """Tell whether *package* is what the match spec *text* (without channel) asks for.

    A text that is no match spec matches nothing; what is wrong with it is the solver's to say.
    """
    return _matches(
        text, package.name, package.version, package.build, package.subdir, package.sha256
    )


@lru_cache(maxsize=1 << 18)
def _matches(text: str, name: str, version: str, build: str, subdir: str, sha256: str) -> bool:
    spec = _spec(text)
    record = _record(name, version, build, subdir, sha256)
    return spec is not None and record is not None and spec.matches(record)


@lru_cache(maxsize=1 << 16)
def _spec(text: str) -> rattler.MatchSpec | None:
    try:
        return rattler.MatchSpec(text)
    except InvalidMatchSpecError:
        return None


@lru_cache(maxsize=1 << 16)
def _record(
    name: str, version: str, build: str, subdir: str, sha256: str
) -> rattler.PackageRecord | None:
    number = re.search(r"(?:^|_)(\d+)$", build)
    try:
        return rattler.PackageRecord(
            name,
            version,
            BuildString(build),
            int(number.group(1)) if number else 0,
            subdir or "noarch",
            sha256=bytes.fromhex(sha256) if sha256 else None,
        )
    except InvalidVersionError:
        return None

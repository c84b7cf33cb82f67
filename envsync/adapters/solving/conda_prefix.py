"""Reading a conda prefix: its records in ``conda-meta``, its history, and what pip added.

Nothing of the prefix is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.utils import canonicalize_name

from envsync.errors import InvalidInput
from envsync.model.channels import strip_credentials
from envsync.model.json_text import read_json
from envsync.model.lock import LockedPackage
from envsync.model.names import PLATFORMS
from envsync.model.prefix import PipInstalled, Prefix, asked_for

_META = "conda-meta"


def read_prefix(prefix: Path) -> Prefix:
    """Return what is installed in a conda prefix; InvalidInput when it is none."""
    records = [_record(file) for file in sorted((prefix / _META).glob("*.json"))]
    if not records:
        raise InvalidInput(
            f"{prefix} is not a conda environment",
            detail=f"There are no records of packages in its folder {_META}.",
            hint="List yours:\n    conda env list",
        )
    subdirs = [str(record.get("subdir", "")) for record in records]
    platform = next((subdir for subdir in subdirs if subdir in PLATFORMS), "")
    if not platform:
        raise InvalidInput(
            f"{prefix} does not say which platform it is for",
            detail=f"Its packages are for {', '.join(sorted({*subdirs}))}.",
        )
    packages = [_package(record, platform) for record in records]
    history = prefix / _META / "history"
    return Prefix(
        platform=platform,
        packages=tuple(sorted(packages, key=lambda package: package.name)),
        asked=asked_for(
            [
                (package.name, _asked(record))
                for package, record in zip(packages, records, strict=True)
            ],
            history.read_text(encoding="utf-8", errors="replace") if history.is_file() else "",
        ),
        sizes={
            package.file_name: record["size"]
            for package, record in zip(packages, records, strict=True)
            if isinstance(record.get("size"), int)
        },
        pip=tuple(sorted(_pip(prefix, records), key=lambda found: found.name)),
        variables=_variables(prefix / _META / "state"),
    )


def _record(file: Path) -> Mapping[str, Any]:
    try:
        record = read_json(file.read_bytes())
        for key in ("name", "version", "build", "url"):
            if not isinstance(record[key], str):
                raise TypeError(key)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{file} cannot be read", detail=f"It is no record of a conda package: {error}."
        ) from error
    found: Mapping[str, Any] = record
    return found


def _package(record: Mapping[str, Any], platform: str) -> LockedPackage:
    depends = {}
    for text in record.get("depends") or ():
        name, _, constraint = str(text).partition(" ")
        depends[name.lower()] = constraint.strip()
    return LockedPackage(
        manager="conda",
        name=record["name"].lower(),
        version=record["version"],
        build=record["build"],
        platform=platform,
        url=strip_credentials(record["url"]),
        sha256=str(record.get("sha256") or "").lower(),
        md5=str(record.get("md5") or "").lower(),
        depends=depends,
    )


def _asked(record: Mapping[str, Any]) -> tuple[str, ...]:
    several = record.get("requested_specs") or ()
    one = record.get("requested_spec") or ""
    return tuple(map(str, several)) if several else (str(one),)


def _pip(prefix: Path, records: list[Mapping[str, Any]]) -> Iterator[PipInstalled]:
    """Yield the distributions whose files no conda package owns."""
    owned = {
        parts[-2]
        for record in records
        for file in record.get("files") or ()
        if len(parts := PurePosixPath(file).parts) > 1 and parts[-2].endswith(".dist-info")
    }
    folders = [*prefix.glob("lib/python*/site-packages"), prefix / "Lib" / "site-packages"]
    for info in (found for folder in folders for found in folder.glob("*.dist-info")):
        if info.name in owned or _line(info / "INSTALLER") == "conda":
            continue
        metadata = HeaderParser().parsestr(_text(info / "METADATA"))
        name, version = metadata.get("Name", ""), metadata.get("Version", "")
        if name and version:
            yield PipInstalled(name=canonicalize_name(name), version=version, origin=_origin(info))


def _origin(info: Path) -> str:
    """Say what a distribution was installed from; never the path of a folder of this machine."""
    text = _text(info / "direct_url.json")
    if not text:
        return ""
    try:
        direct = read_json(text)
        url = str(direct.get("url", ""))
        if direct.get("dir_info", {}).get("editable"):
            return "a folder, editable"
        if "vcs_info" in direct:
            return f"{direct['vcs_info'].get('vcs', 'a repository')} {strip_credentials(url)}"
        return "a folder or file" if url.startswith("file:") else strip_credentials(url)
    except (ValueError, AttributeError):
        return "somewhere that it does not say"


def _variables(state: Path) -> dict[str, str]:
    try:
        variables = read_json(_text(state) or "{}").get("env_vars") or {}
        return {str(name): str(value) for name, value in variables.items()}
    except (ValueError, AttributeError):
        return {}


def _line(file: Path) -> str:
    return _text(file).strip()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""

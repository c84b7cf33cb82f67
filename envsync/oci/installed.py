"""Records of installed packages: ``conda-meta/<name>-<version>-<build>.json`` and ``history``.

Tools that scan images find conda packages by these files, and conda takes a folder with a history
for an environment. Both follow from the packages alone: no channel, mirror, cache path or time.
Source: https://github.com/conda/ceps/blob/main/cep-0034.md
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from envsync.model.canonical import canonical_json
from envsync.model.definition import PackageIdentity

_RECORD = re.compile(r"conda-meta/(?:history|[^/]*\.json)")
_FROM_INDEX = (
    *("arch", "build", "build_number", "constrains", "depends", "features", "license"),
    *("license_family", "name", "noarch", "platform", "python_site_packages_path"),
    *("timestamp", "track_features", "version"),
)
_FROM_PATH = (
    *("_path", "path_type", "sha256", "sha256_in_prefix", "size_in_bytes"),
    *("file_mode", "prefix_placeholder", "no_link"),
)


def is_record(path: str) -> bool:
    """Tell whether a path, relative to the prefix, is of the environment's own account."""
    return _RECORD.fullmatch(path) is not None


def record_path(package: PackageIdentity) -> str:
    """Return where the record of a conda package is, relative to the prefix."""
    return f"conda-meta/{package.name}-{package.version}-{package.build}.json"


def record_document(
    package: PackageIdentity,
    *,
    index: Mapping[str, Any],
    paths: Sequence[Mapping[str, Any]],
    file_name: str,
    size: int,
) -> bytes:
    """Return the record of a conda package.

    *index* is the package's ``info/index.json``, *paths* what was linked into the prefix, in the
    form of ``paths_data``, *size* that of the archive in bytes.
    """
    linked = sorted(
        ({key: path[key] for key in _FROM_PATH if path.get(key) is not None} for path in paths),
        key=lambda path: str(path["_path"]).encode(),
    )
    document = {key: index[key] for key in _FROM_INDEX if index.get(key) is not None}
    document |= {
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "subdir": package.subdir,
        "sha256": package.sha256,
        "size": size,
        "fn": file_name,
        "channel": "<unknown>",
        "url": package_url(package),
        "files": [path["_path"] for path in linked],
        "paths_data": {"paths_version": 1, "paths": linked},
        "link": {"source": "", "type": 1},
    }
    return canonical_json(document) + b"\n"


def package_url(package: PackageIdentity) -> str:
    """Return the package as a purl, which names it without naming a channel or mirror.

    Source: https://github.com/package-url/purl-spec/blob/main/types-doc/conda-definition.md
    """
    name, version = quote(package.name, safe=""), quote(package.version, safe="")
    build, subdir = quote(package.build, safe=""), quote(package.subdir, safe="")
    return f"pkg:conda/{name}@{version}?build={build}&subdir={subdir}"


def history(packages: Iterable[PackageIdentity]) -> bytes:
    """Return ``conda-meta/history``: one revision, at a constant time, with all conda packages."""
    lines = [
        f"+{package.subdir}::{package.name}-{package.version}-{package.build}"
        for package in sorted(packages)
        if package.manager == "conda"
    ]
    return "\n".join(["==> 1980-01-01 00:00:00 <==", "# cmd: envsync", *lines, ""]).encode()

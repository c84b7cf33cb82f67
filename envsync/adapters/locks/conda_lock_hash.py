"""conda-lock's content hash of what a lock was asked for, so that conda-lock knows the lock again.

``conda-lock lock --check-input-hash`` compares it. Importing conda-lock takes half a second, more
than a solve, so requests that are written in the usual ways are hashed here as conda-lock does it;
for any other spelling conda-lock's own functions are asked. A test compares the two.
Source: https://github.com/conda/conda-lock/blob/main/conda_lock/content_hash.py
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from envsync.errors import InvalidInput
from envsync.model.channels import strip_credentials
from envsync.model.match_spec import Problem
from envsync.model.requirement_line import read_requirement_line
from envsync.model.spec import CondaFile

_CONDA = re.compile(
    r"(?:(?P<channel>[a-z][a-z0-9-]*)::)?(?P<name>[a-z0-9_][a-z0-9_.-]*)"
    r"(?:\s*=(?P<fuzzy>[0-9]+(?:\.[0-9]+)*)"
    r"|\s*(?P<range>(?:>=|<=|>|<|!=)[0-9][0-9a-z.]*(?:,(?:>=|<=|>|<|!=)[0-9][0-9a-z.]*)*)"
    r"|\s+(?P<star>[0-9]+(?:\.[0-9]+)*\.\*)"
    r"|\s*==(?P<exact>[0-9]+(?:\.[0-9]+)*))?"
)
_PIP = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"(?:\[(?P<extras>[a-z0-9-]+(?:,\s*[a-z0-9-]+)*)\])?\s*"
    r"(?P<ranges>(?:==|>=|<=|>|<)\s*[0-9]+(?:\.[0-9]+)*"
    r"(?:\s*,\s*(?:>=|<=|>|<|!=)\s*[0-9]+(?:\.[0-9]+)*)*)?"
)
# A name or a URL in which conda-lock finds no credentials to replace.
_CHANNEL = re.compile(
    r"[A-Za-z0-9._/-]+|(?:https?|file)://[A-Za-z0-9.:]*(?:/(?!t/)[A-Za-z0-9._-]*)*"
)
# What conda-lock assumes of machines; it is part of its hash.
_ASSUMED = {
    "linux-64": [("unix", "0"), ("linux", "5.10"), ("archspec", "1 x86_64"), ("glibc", "2.28"),
                 ("cuda", "11.4")],
    "linux-aarch64": [("unix", "0"), ("linux", "5.10"), ("archspec", "1 aarch64"),
                      ("glibc", "2.28"), ("cuda", "11.4")],
    "osx-64": [("unix", "0"), ("archspec", "1 x86_64"), ("osx", "11.0"), ("osx", "10.15")],
    "osx-arm64": [("unix", "0"), ("archspec", "1 arm64"), ("osx", "11.0")],
    "win-64": [("win", "0"), ("archspec", "1 x86_64"), ("cuda", "11.4")],
}  # fmt: skip
_TIMESTAMP = 1577854800000


def content_hashes(
    conda: CondaFile, channels: tuple[str, ...], platforms: tuple[str, ...]
) -> dict[str, str]:
    """Return conda-lock's hash by platform; implements `envsync.ports.locks.ContentHashes`."""
    channels = tuple(map(strip_credentials, channels))
    specs = _specs(conda)
    if specs is None or not all(map(_CHANNEL.fullmatch, channels)):
        return _by_conda_lock(conda, channels, platforms)
    # conda-lock's order: by manager and name, of one name the last that was written.
    last = {(spec["manager"], spec["name"]): spec for spec in specs}
    ordered = [last[key] for key in sorted(last, key=lambda key: (str(key[0]), str(key[1])))]
    listed = [json.dumps({"url": c, "used_env_vars": []}, separators=(",", ":")) for c in channels]
    return {
        platform: _hash(
            {
                "channels": listed,
                "specs": ordered,
                "virtual_package_hash": {
                    "noarch": _machine("noarch"),
                    platform: _machine(platform),
                },
            }
        )
        for platform in platforms
    }


def _specs(conda: CondaFile) -> list[dict[str, object]] | None:
    """Return the dependencies as conda-lock would parse them; None when that is not certain."""
    found = []
    for text in conda.dependencies:
        match = _CONDA.fullmatch(text.strip())
        if match is None:
            return None
        fuzzy = f"{match['fuzzy']}.*" if match["fuzzy"] else ""
        version = fuzzy or match["range"] or match["star"] or match["exact"] or ""
        found.append({**_spec(match["name"], "conda", version), "conda_channel": match["channel"]})
    for text in _without_wheels(conda):
        match = _PIP.fullmatch(text.strip())
        if match is None:
            return None
        name = re.sub(r"[-_.]+", "-", match["name"]).lower()
        ranges = re.sub(r"\s", "", match["ranges"] or "*").split(",")
        extras = re.sub(r"\s", "", match["extras"] or "").split(",")
        found.append(_spec(name, "pip", ",".join(sorted(ranges)), sorted(filter(None, extras))))
    if conda.pip:
        found.append(_spec("pip", "conda", "*"))
    return found


def _without_wheels(conda: CondaFile) -> list[str]:
    """Return the lines of the pip section that do not name a wheel of the repository."""
    if not conda.wheels:
        return list(conda.pip)
    found = [(text, read_requirement_line(text)) for text in conda.pip]
    return [text for text, line in found if isinstance(line, Problem) or line.kind != "wheel"]


def _spec(name: str, manager: str, version: str, extras: Sequence[str] = ()) -> dict[str, object]:
    return {
        "name": name,
        "manager": manager,
        "category": "main",
        "extras": list(extras),
        "version": version,
        "build": None,
        "conda_channel": None,
        "hash": None,
    }


def _machine(platform: str) -> dict[str, object]:
    packages = {}
    for short, text in _ASSUMED.get(platform, ()):
        version, _, build = text.partition(" ")
        # The build number stands in the build string since conda-lock 2, by mistake and for good.
        full = f"{build}_0" if build else "0"
        packages[f"__{short}-{version}-{full}.tar.bz2"] = {
            "name": f"__{short}",
            "version": version,
            "build_string": build,
            "build_number": 0,
            "noarch": "",
            "depends": [],
            "timestamp": _TIMESTAMP,
            "package_type": "virtual_system",
            "build": full,
            "subdir": platform,
        }
    return {"info": {"subdir": platform}, "packages": packages}


def _hash(document: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _by_conda_lock(
    conda: CondaFile, channels: Sequence[str], platforms: Sequence[str]
) -> dict[str, str]:
    """Ask conda-lock itself, through an environment file that says what the spec says."""
    from conda_lock.content_hash import compute_content_hashes
    from conda_lock.src_parser import make_lock_spec
    from conda_lock.virtual_package import default_virtual_package_repodata

    dependencies: list[object] = list(conda.dependencies)
    if conda.pip:
        # Options, paths and the like are no requirements for conda-lock either.
        lines = [line for line in _without_wheels(conda) if not line.startswith("-")]
        dependencies.append({"pip": lines})
    with tempfile.TemporaryDirectory(prefix="envsync-hash-") as folder:
        source = Path(folder) / "environment.yml"
        # JSON is YAML too.
        source.write_text(json.dumps({"channels": list(channels), "dependencies": dependencies}))
        names = Path(folder) / "names.json"
        names.write_text("{}")
        try:
            spec = make_lock_spec(
                src_files=[source], platform_overrides=list(platforms), mapping_url=str(names)
            )
        except (RuntimeError, ValueError, AssertionError) as error:
            raise InvalidInput(
                "conda-lock cannot read the dependencies", detail=str(error)
            ) from error
    hashes = compute_content_hashes(spec, default_virtual_package_repodata())
    return {str(platform): str(value) for platform, value in hashes.items()}

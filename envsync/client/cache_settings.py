"""How large the cache may become, as its owner says it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from envsync.errors import InvalidInput

DEFAULT = "20GB"
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def package_folders(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where conda, mamba and micromamba keep package archives, by their own variables.

    Source: https://docs.conda.io/projects/conda/en/stable/user-guide/configuration/settings.html
    """
    named = [part for part in environ.get("CONDA_PKGS_DIRS", "").split(",") if part.strip()]
    roots = [environ.get("MAMBA_ROOT_PREFIX", ""), _root_of(environ.get("CONDA_EXE", ""))]
    found = [*(Path(part.strip()) for part in named), *(Path(r) / "pkgs" for r in roots if r)]
    if home := environ.get("HOME"):
        found.append(Path(home) / ".conda" / "pkgs")
    return tuple(dict.fromkeys(found))


def _root_of(program: str) -> str:
    return str(Path(program).parent.parent) if program else ""


def cache_limit(environ: Mapping[str, str]) -> int:
    """Return the bytes that packages may have in the cache; InvalidInput for what is no size."""
    text = environ.get("ENVSYNC_CACHE_SIZE") or DEFAULT
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(
            f"{text!r} is not a size",
            detail="ENVSYNC_CACHE_SIZE and --limit say how large the cache may become.",
            hint="Write it as 5GB, 500MB or 0.",
        )
    return int(float(match["number"]) * _UNITS[match["unit"].lower()])

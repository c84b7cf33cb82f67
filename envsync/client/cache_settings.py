"""How large the cache may become, as its owner says it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from envsync.errors import InvalidInput

DEFAULT = "20GB"
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


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

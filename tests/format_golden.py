"""Golden values of an image format: what changes one of them needs another format number.

``ENVSYNC_WRITE_GOLDEN=1 pytest tests/test_tar.py …`` writes what is found instead of comparing.
"""

from __future__ import annotations

import json
from pathlib import Path

from envsync.model.definition import FORMAT
from tests.parts.cache import ENVIRONMENT

_FILE = Path(__file__).parent / "data" / f"format-{FORMAT}.json"


def check(name: str, found: object) -> None:
    """Compare *found*, a JSON value, with what is pinned under *name*."""
    pinned = json.loads(_FILE.read_text(encoding="utf-8")) if _FILE.exists() else {}
    if ENVIRONMENT.get("ENVSYNC_WRITE_GOLDEN"):
        pinned[name] = found
        _FILE.write_text(json.dumps(pinned, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    assert pinned.get(name) == found, (
        f"{name}: the bytes of images change; if that is meant, raise "
        "envsync.model.definition.FORMAT"
    )

"""What a run of the tests counted, for the table in docs/trust.md.

With ``ENVSYNC_TRUST_COUNTS`` set to a folder each count is one line of JSON there; ``python -m
tests.trust`` adds them up.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.parts.cache import ENVIRONMENT

VARIABLE = "ENVSYNC_TRUST_COUNTS"


def count(row: str, **numbers: int) -> None:
    """Add to the numbers of a row, such as ``R1``; each number is called by what it counts."""
    folder = ENVIRONMENT.get(VARIABLE)
    if not folder:
        return
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    with (place / f"{row}-{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(numbers) + "\n")

"""JSON that somebody else wrote: read, or a ValueError; never an error of another kind."""

from __future__ import annotations

import json
import math
from typing import Any


def read_json(text: str | bytes) -> Any:
    """Return the value of a JSON document.

    Raises ValueError for what is not JSON (``NaN`` is not), for numbers that no float can hold, and
    for a document that is nested too deeply to be read.
    """
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is too large")
    return number

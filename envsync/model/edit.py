"""Changes to a YAML document, by the keys that lead to a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change: the value at *path*, or None to remove the key."""

    path: tuple[str, ...]
    value: str | bool | Mapping[str, str] | None

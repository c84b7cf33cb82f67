"""Canonical JSON and hashes of it: one spelling for one value.

The form is RFC 8785 for the values used here (no floats): keys sorted, no white space, UTF-8.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]


def canonical_json(value: Json) -> bytes:
    """Return the one UTF-8 spelling of *value*.

    Raises TypeError for a float anywhere, and for what is nested too deeply to be written.
    """
    try:
        return json.dumps(
            _plain(value),
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
        ).encode()
    except RecursionError:
        raise TypeError("it is nested too deeply") from None


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of *data* as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def hash_json(value: Json) -> str:
    """Return the SHA-256 of the canonical JSON of *value*, in hexadecimal."""
    return sha256_hex(canonical_json(value))


def _plain(value: Json) -> object:
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("canonical JSON has text keys only")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")

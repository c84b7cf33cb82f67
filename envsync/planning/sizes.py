"""Numbers of bytes in words."""

from __future__ import annotations


def size(count: int) -> str:
    """Return a number of bytes in words: ``12.3 MB``, by powers of ten."""
    if count < 1000:
        return f"{count} bytes"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"

"""What a copy came to, as text and as JSON."""

from __future__ import annotations

from envsync.cli.output import record_document
from envsync.operations.copy import Copied


def copied_text(copied: Copied) -> str:
    """Return the account for people."""
    record = copied.record
    return f"{record.name}:{record.version} is at {copied.place}\n    {record.digest}"


def copied_document(copied: Copied) -> dict[str, object]:
    """Return the account as the values of a JSON document."""
    return {
        "format_version": "1.0",
        "name": copied.record.name,
        "place": copied.place,
        "tags": list(copied.tags),
        "version": record_document(copied.record),
    }

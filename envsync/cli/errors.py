"""How errors look: summary, detail and hint for people, one JSON document for programs."""

from __future__ import annotations

import json
from typing import Any

import click

from envsync.errors import EnvsyncError, InvalidInput


def report(error: EnvsyncError, *, as_json: bool) -> int:
    """Print an error and return its exit code."""
    if as_json:
        document = {"format_version": "1.0", "error": error_document(error)}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo(error_text(error), err=True)
    return error.exit_code


def error_text(error: EnvsyncError, label: str = "error") -> str:
    """Return an error as people read it."""
    lines = [f"{click.style(label, fg='red', bold=True)}: {error.summary}"]
    lines += [f"  {line}" for line in error.detail.splitlines()]
    lines += [f"  {line}" for line in error.hint.splitlines()]
    return "\n".join(lines)


def error_document(error: EnvsyncError) -> dict[str, Any]:
    """Return an error as the values of a JSON document."""
    document: dict[str, Any] = {
        "kind": type(error).__name__,
        "summary": error.summary,
        "detail": error.detail,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    if isinstance(error, InvalidInput):
        document["faults"] = [
            {
                "file": fault.where.file,
                "line": fault.where.line,
                "column": fault.where.column,
                "message": fault.message,
                "hint": fault.hint,
            }
            for fault in error.faults
        ]
    return document

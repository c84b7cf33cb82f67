"""How errors look: summary, detail and hint for people, one JSON document for programs."""

from __future__ import annotations

import errno
import json
from typing import Any

import click

from envsync.cli.output import printable
from envsync.errors import EnvsyncError, Fault, InvalidInput, NotAllowed, Position, Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def of_the_system(error: OSError) -> EnvsyncError | None:
    """Return in our words what the operating system refused; None when that is a bug of ours."""
    if error.errno in _FULL:
        return Unavailable(
            "the disk is full", detail=str(error), hint="Free some space and run it again."
        )
    if error.errno in _FORBIDDEN:
        return NotAllowed("a file may not be read or written", detail=str(error))
    return None


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
    lines = [f"{click.style(label, fg='red', bold=True)}: {printable(error.summary)}"]
    lines += [f"  {line}" for line in printable(error.detail).split("\n") if line]
    lines += [f"  {line}" for line in printable(error.hint).split("\n") if line]
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
        document["faults"] = [fault_document(fault) for fault in error.faults]
    return document


def fault_document(fault: Fault) -> dict[str, Any]:
    """Return one fault of a document as JSON values."""
    return {
        **place_document(fault.where),
        "message": fault.message,
        "hint": fault.hint,
    }


def place_document(where: Position) -> dict[str, Any]:
    """Return a place in a file as JSON values."""
    return {"file": where.file, "line": where.line, "column": where.column}

"""What ``envsync archive`` and ``envsync restore`` say, as text and as JSON."""

from __future__ import annotations

import json

import click

from envsync.cli.session import Session
from envsync.operations.lifecycle import Flagged


def echo_flagged(session: Session, found: Flagged) -> None:
    """Print what archiving or restoring came to."""
    if session.format == "json":
        click.echo(json.dumps(_document(found), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(found)))


def _lines(found: Flagged) -> list[str]:
    what = f"{found.name}:{found.version}" if found.version else found.name
    remarks = [f"    {remark}" for remark in found.remarks]
    state = "archived" if found.archived else "not archived"
    if not found.changed:
        return [f"{what} is {state} already; nothing was changed.", *remarks]
    latest = f"version {found.latest}" if found.latest else "no version"
    verb = "archive" if found.archived else "restore"
    return [
        f"{what} is {state} now, in {found.path}",
        f"    {found.name}@latest is {latest}",
        *remarks,
        "For everybody, and for plan and apply, once it is committed:",
        f'    git add {found.path} && git commit -m "{verb} {what}" -- {found.path}',
    ]


def _document(found: Flagged) -> dict[str, object]:
    return {
        "format_version": "1.0",
        "name": found.name,
        "version": found.version or None,
        "path": found.path,
        "archived": found.archived,
        "changed": found.changed,
        "latest": found.latest or None,
        "remarks": list(found.remarks),
    }

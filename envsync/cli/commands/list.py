"""``envsync list``: environments and their latest versions."""

from __future__ import annotations

import json

import click

from envsync.adapters.worktree import WorkTree
from envsync.cli.output import day, record_document, table, warn
from envsync.cli.session import Session
from envsync.operations.look import Row, list_environments


@click.command("list")
@click.argument("names", nargs=-1)
@click.pass_context
def command(context: click.Context, names: tuple[str, ...]) -> None:
    """List environments and their latest versions.

    NAMES narrow it; globs work. Environments without a spec are listed while they have records.
    """
    session: Session = context.obj
    past, warning = session.past(session.committed_config())
    rows = list_environments(WorkTree(session.root), past, names)
    if warning:
        warn(warning)
    if session.format == "json":
        document = {"format_version": "1.0", "environments": [_document(row) for row in rows]}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo("There are no environments yet. Make one:\n    envsync new NAME")
        return
    head = ("NAME", "KIND", "LATEST", "VERSIONS", "MADE FROM", "DATE", "DESCRIPTION")
    click.echo(table(head, [_row(row) for row in rows]))


def _row(row: Row) -> tuple[str, ...]:
    description = " ".join(row.description.split())[:60]
    if row.latest is None:
        return (row.name, row.kind, "-", "0", "-", "-", description)
    made = (row.latest.version, str(row.versions), row.latest.commit[:12], day(row.latest.created))
    return (row.name, row.kind, *made, description)


def _document(row: Row) -> dict[str, object]:
    return {
        "name": row.name,
        "kind": row.kind,
        "description": row.description,
        "versions": row.versions,
        "latest": record_document(row.latest) if row.latest else None,
    }

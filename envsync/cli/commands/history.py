"""``envsync history``: the versions of one environment."""

from __future__ import annotations

import json

import click

from envsync.cli.output import day, record_document, table, warn
from envsync.cli.session import Session


@click.command("history")
@click.argument("name")
@click.pass_context
def command(context: click.Context, name: str) -> None:
    """List the versions of environment NAME, the newest first."""
    session: Session = context.obj
    past, warning = session.past(session.committed_config())
    records = past.of(name)[::-1]
    if warning:
        warn(warning)
    if not records:
        raise past.without_versions(name)
    if session.format == "json":
        document = {
            "format_version": "1.0",
            "name": name,
            "versions": [record_document(record) for record in records],
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    rows = []
    for record in records:
        commit = past.git.commit(record.commit)
        made = (record.version, day(record.created), record.commit[:12], commit.author)
        rows.append((*made, record.digest[:19], commit.subject[:60]))
    click.echo(table(("VERSION", "DATE", "COMMIT", "BY", "DIGEST", "WHAT"), rows))

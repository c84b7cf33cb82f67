"""``envsync history``: the versions of one environment."""

from __future__ import annotations

import json

import click

from envsync.cli.output import day, record_document, table, warn
from envsync.cli.session import Session
from envsync.model.record import Record
from envsync.model.reference import is_plain, parse_environment_argument
from envsync.operations.look import Past


@click.command("history")
@click.argument("name")
@click.pass_context
def command(context: click.Context, name: str) -> None:
    """List the versions of environment NAME, the newest first, archived ones too.

    NAME:VERSION or NAME@latest is that version only.
    """
    session: Session = context.obj
    past, warning = session.past(session.committed_config())
    if warning:
        warn(warning)
    records = _records(past, name)
    life = past.lifecycle(records[0].name)
    if session.format == "json":
        document = {
            "format_version": "1.0",
            "name": records[0].name,
            "versions": [
                {**record_document(record), "archived": life.hides(record.version)}
                for record in records
            ],
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    rows = []
    for record in records:
        commit = past.git.commit(record.commit)
        made = (record.version, day(record.created), record.commit[:12], commit.author)
        archived = "(archived) " if life.hides(record.version) else ""
        rows.append((*made, record.digest[:19], archived + commit.subject[:60]))
    click.echo(table(("VERSION", "DATE", "COMMIT", "BY", "DIGEST", "WHAT"), rows))


def _records(past: Past, text: str) -> tuple[Record, ...]:
    reference = parse_environment_argument(text)
    if reference.version or not is_plain(text):
        return (past.find(reference),)
    past.require_own(reference)
    records = past.of(reference.name)[::-1]
    if not records:
        raise past.without_versions(reference.name)
    return records

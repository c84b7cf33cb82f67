"""``envsync list``: environments and their latest versions, or the versions of one."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from envsync.adapters.git.worktree import WorkTree
from envsync.cli.output import day, record_document, table, warn
from envsync.cli.session import Session
from envsync.errors import Misuse
from envsync.model.reference import parse_environment_argument
from envsync.operations.look import Row, VersionRow, list_environments, list_versions


@click.command("list")
@click.argument("names", nargs=-1)
@click.option("--name", metavar="NAME", help="List the versions of NAME.")
@click.option("--include-archived", is_flag=True, help="List what is archived, too.")
@click.option("--archived-only", is_flag=True, help="List only what is archived.")
@click.pass_context
def command(
    context: click.Context,
    names: tuple[str, ...],
    name: str | None,
    include_archived: bool,
    archived_only: bool,
) -> None:
    """List environments and their latest versions, or with --name the versions of one.

    NAMES narrow it; globs work. Environments without a spec are listed while they have records.
    What is archived is left out.
    """
    if name is not None and names:
        raise Misuse(
            "--name and NAMES cannot be given together",
            hint="--name lists the versions of one environment.",
        )
    if include_archived and archived_only:
        raise Misuse("--include-archived and --archived-only cannot be given together")
    shown = {True} if archived_only else {True, False} if include_archived else {False}
    session: Session = context.obj
    past, warning = session.past(session.committed_config())
    tree = WorkTree(session.root)
    if warning:
        warn(warning)
    for broken in past.lifecycles.broken.values():
        warn(str(broken))
    if name is not None:
        versions = list_versions(tree, past, parse_environment_argument(name))
        kept = [row for row in versions if row.archived in shown]
        hidden = len(versions) - len(kept)
        if session.format == "json":
            _dump({"name": versions[0].record.name if versions else name}, "versions", kept)
        else:
            click.echo(_versions(kept) or f"{name} has no versions to list.")
            _say_hidden(hidden, "version", archived_only)
        return
    rows = list_environments(tree, past, names)
    found = [row for row in rows if row.archived in shown]
    if session.format == "json":
        _dump({}, "environments", found)
        return
    if not rows:
        click.echo("There are no environments yet. Make one:\n    envsync new NAME")
        return
    head = ("NAME", "KIND", "LATEST", "VERSIONS", "MADE FROM", "DATE", "DESCRIPTION")
    if found:
        click.echo(table(head, [_row(row) for row in found]))
    else:
        click.echo("No environment is archived." if archived_only else "There is nothing to list.")
    _say_hidden(len(rows) - len(found), "environment", archived_only)


def _say_hidden(number: int, what: str, archived_only: bool) -> None:
    if number and not archived_only:
        which = f"{number} archived {what}{'' if number == 1 else 's'}"
        click.echo(f"{which} left out (--include-archived)", err=True)


def _dump(
    document: dict[str, object], key: str, rows: Sequence[Row] | Sequence[VersionRow]
) -> None:
    found = [_document(row) if isinstance(row, Row) else _version(row) for row in rows]
    click.echo(
        json.dumps({"format_version": "1.0", **document, key: found}, indent=2, ensure_ascii=False)
    )


def _row(row: Row) -> tuple[str, ...]:
    description = _short(row.description, row.archived)
    if row.latest is None:
        return (row.name, row.kind, "-", str(row.versions), "-", "-", description)
    made = (row.latest.version, str(row.versions), row.latest.commit[:12], day(row.latest.created))
    return (row.name, row.kind, *made, description)


def _short(description: str, archived: bool) -> str:
    return ("(archived) " if archived else "") + " ".join(description.split())[:60]


def _versions(rows: Sequence[VersionRow]) -> str:
    if not rows:
        return ""
    lines = [
        (
            row.record.version,
            day(row.record.created),
            row.record.commit[:12],
            row.record.digest[:19],
            _short(row.description, row.archived),
        )
        for row in rows
    ]
    return table(("VERSION", "DATE", "MADE FROM", "DIGEST", "DESCRIPTION"), lines)


def _document(row: Row) -> dict[str, object]:
    return {
        "name": row.name,
        "kind": row.kind,
        "description": row.description,
        "archived": row.archived,
        "versions": row.versions,
        "archived_versions": list(row.archived_versions),
        "latest": record_document(row.latest) if row.latest else None,
    }


def _version(row: VersionRow) -> dict[str, object]:
    return {
        **record_document(row.record),
        "archived": row.archived,
        "description": row.description,
        "tags": dict(row.tags),
    }

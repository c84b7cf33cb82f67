"""``envsync diff``: what differs between two versions."""

from __future__ import annotations

import json

import click

from envsync.adapters.git.worktree import WorkTree
from envsync.cli.output import coloured, warn
from envsync.cli.session import Session
from envsync.model.reference import parse_environment_argument
from envsync.operations.look import Difference, difference
from envsync.planning.changes_text import changes_text
from envsync.planning.plan_document import change_document


@click.command("diff")
@click.argument("before")
@click.argument("after", required=False)
@click.pass_context
def command(context: click.Context, before: str, after: str | None) -> None:
    """Show what differs from BEFORE to AFTER, both NAME:VERSION or NAME@latest.

    Without AFTER: from the version to the working folder. A plain NAME means its latest version.
    """
    session: Session = context.obj
    past, warning = session.past(session.committed_config())
    if warning:
        warn(warning)
    newer = parse_environment_argument(after) if after is not None else WorkTree(session.root)
    found = difference(past, parse_environment_argument(before), newer)
    if session.format == "json":
        click.echo(json.dumps(_document(found), indent=2, ensure_ascii=False))
        return
    lines = [f"{found.before} → {found.after}", *(f"    {r.text}" for r in found.reasons)]
    lines += changes_text(found.packages)
    if len(lines) == 1:
        lines.append("    nothing differs")
    click.echo(coloured("\n".join(lines)))


def _document(found: Difference) -> dict[str, object]:
    return {
        "format_version": "1.0",
        "before": found.before,
        "after": found.after,
        "reasons": [{"code": reason.code, "text": reason.text} for reason in found.reasons],
        "packages": [change_document(change) for change in found.packages],
    }

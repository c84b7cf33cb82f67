"""``envsync import``: a tree of Azure ML files, or an archive that ``envsync copy`` made."""

from __future__ import annotations

from pathlib import Path

import click

from envsync.adapters.new_files import NewFiles
from envsync.adapters.strict_yaml import parse_document
from envsync.adapters.worktree import WorkTree
from envsync.cli.import_output import import_json, import_text
from envsync.cli.session import Session
from envsync.operations.import_tree import ImportChoices, import_tree

_PARTLY = 3


@click.command("import")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--jobs", is_flag=True, help="Also environments that stand within jobs.")
@click.pass_context
def command(context: click.Context, source: Path, jobs: bool) -> None:
    """Import the Azure ML environments of the folder SOURCE into environments/.

    Nothing is overwritten. What is not taken over is told, with its place and the reason.
    """
    session: Session = context.obj
    root = session.root
    folder = source.resolve()
    inside = folder.relative_to(root).as_posix() if folder.is_relative_to(root) else None
    report = import_tree(
        WorkTree(folder),
        WorkTree(root),
        parse_document,
        NewFiles(root),
        ImportChoices(jobs=jobs, inside=inside),
    )
    click.echo(import_json(report) if session.format == "json" else import_text(report))
    context.exit(_PARTLY if report.failed else 0)

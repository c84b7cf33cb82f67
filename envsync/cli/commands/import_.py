"""``envsync import``: a tree of Azure ML files, or an archive that ``envsync copy`` made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from envsync.adapters.files.new_files import NewFiles
from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.cli.copying import copied_document, copied_text
from envsync.cli.import_output import import_json, import_text
from envsync.cli.output import warn
from envsync.cli.progress import progress
from envsync.cli.session import Session
from envsync.errors import Misuse
from envsync.operations.copy import import_archive
from envsync.operations.import_tree import ImportChoices, import_tree

_PARTLY = 3


@click.command("import")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--jobs", is_flag=True, help="Also environments that stand within jobs.")
@click.pass_context
def command(context: click.Context, source: Path, jobs: bool) -> None:
    """Import the Azure ML environments of the folder SOURCE into environments/.

    Nothing is overwritten. What is not taken over is told, with its place and the reason.
    When SOURCE is an archive that `envsync copy` made, its image goes into the registry.
    """
    session: Session = context.obj
    if source.is_file():
        if jobs:
            raise Misuse("--jobs belongs to a folder of Azure ML files")
        _import_archive(session, source)
        return
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


def _import_archive(session: Session, source: Path) -> None:
    from envsync.adapters.registry.oci_archive import OpenArchive

    archive = OpenArchive(source)
    config = session.committed_config()
    registry, repository = session.registry(config)
    # What is known here decides: there may be no network to ask for more.
    known = session.git(config).known_records().records
    with progress(session) as shown:
        copied = import_archive(archive, registry, repository, known, shown)
    name, version = copied.record.name, copied.record.version
    copied = replace(copied, place=f"{session.image(config, name)}:{version}")
    if copied.record.tag not in {record.tag for record in known}:
        warn(f"git here has no record {copied.record.tag}; fetch it, or bring the repository too")
    if session.format == "json":
        click.echo(json.dumps(copied_document(copied), indent=2, ensure_ascii=False))
    else:
        click.echo(copied_text(copied))

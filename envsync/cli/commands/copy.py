"""``envsync copy``: a version's image to another registry, or into an archive file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from envsync.cli.copying import copied_document, copied_text
from envsync.cli.output import warn
from envsync.cli.progress import progress
from envsync.cli.session import Session
from envsync.model.copy_target import ArchiveTarget, parse_copy_target
from envsync.model.reference import parse_environment_argument
from envsync.operations.copy import copy_to_archive, copy_to_registry
from envsync.operations.locate import place_of


@click.command("copy")
@click.argument("reference")
@click.argument("target")
@click.pass_context
def command(context: click.Context, reference: str, target: str) -> None:
    """Copy the image of NAME:VERSION to TARGET, every digest as it is.

    TARGET is HOST/NAMESPACE or HOST/REPOSITORY:TAG of another registry, or an archive file:
    archive.tar, oci-archive:PATH.
    """
    session: Session = context.obj
    parsed = parse_environment_argument(reference)
    config = session.committed_config()
    past, warning = session.past(config)
    if warning:
        warn(warning)
    record = past.find(parsed)
    to = parse_copy_target(target, record.name, record.version)
    source = place_of(past, session.registries(config), record, remote=bool(config.registry))
    with progress(session) as shown:
        if isinstance(to, ArchiveTarget):
            from envsync.adapters.registry.oci_archive import ArchiveFile

            write = ArchiveFile(Path(to.path))
            copied = copy_to_archive(record, source, write, to.tag, to.path, shown)
        else:
            registry = session.hosts().at(to.host)
            copied = copy_to_registry(record, source, registry, to.repository, to.tag, shown)
    if session.format == "json":
        click.echo(json.dumps(copied_document(copied), indent=2, ensure_ascii=False))
    else:
        click.echo(copied_text(copied))

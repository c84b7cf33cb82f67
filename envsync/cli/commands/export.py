"""``envsync export``: an environment as another tool has it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from envsync.adapters.files.new_files import NewFiles
from envsync.cli.exporting import source_of
from envsync.cli.output import warn
from envsync.cli.session import Session
from envsync.errors import InvalidInput, Misuse
from envsync.model.exports.source import Exported
from envsync.operations.export import FORMATS, export


@click.command("export")
@click.argument("reference")
@click.option("--as", "form", type=click.Choice(list(FORMATS)), required=True, help="The format.")
@click.option("--platform", default="", help="Only this platform, such as linux-64.")
@click.option("--out", type=click.Path(path_type=Path), help="New file, or folder for several.")
@click.pass_context
def command(
    context: click.Context, reference: str, form: str, platform: str, out: Path | None
) -> None:
    """Write NAME, NAME:VERSION or NAME@latest in the format of another tool.

    A single file goes to standard output unless --out is given.
    """
    session: Session = context.obj
    exported = export(source_of(session, reference), form, platform)
    written = _write(exported, form, out)
    if session.format == "json":
        document = {
            "format_version": "1.0",
            "as": form,
            "files": written or {name: data.decode() for name, data in exported.files.items()},
            "not_carried_over": list(exported.lost),
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for lost in exported.lost:
        warn(f"not carried over: {lost}")
    if written:
        for path in written:
            click.echo(f"wrote  {path}")
        return
    (content,) = exported.files.values()
    click.echo(content.decode(), nl=False)


def _write(exported: Exported, form: str, out: Path | None) -> list[str]:
    """Write the files where they are wanted; return their paths, none for standard output."""
    folder = len(exported.files) > 1 or form == "azureml-folder"
    if out is None:
        if folder and click.get_current_context().obj.format != "json":
            names = ", ".join(exported.files)
            raise Misuse(
                f"This is {len(exported.files)} files: {names}",
                hint="Name a folder for them: --out FOLDER"
                + ("" if form == "azureml-folder" else "\nor choose one: --platform PLATFORM"),
            )
        return []
    single = not folder and not out.is_dir()
    root = out.parent if single else out
    files = {out.name: next(iter(exported.files.values()))} if single else exported.files
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{root} cannot be made", detail=str(error)) from error
    NewFiles(root).create(files)
    return [str(root / name) for name in sorted(files)]

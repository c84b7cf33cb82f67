"""``envsync new``: write a starter spec."""

from __future__ import annotations

import json
from pathlib import Path

import click

from envsync.adapters.new_files import NewFiles
from envsync.adapters.strict_yaml import parse_document
from envsync.adapters.worktree import WorkTree
from envsync.errors import InvalidInput
from envsync.operations.copied_files import SourceFile
from envsync.operations.new import NewEnvironment, create_environment

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("new")
@click.argument("name")
@click.option("--image", metavar="REF", default="", help="Base image; alone, the whole image.")
@click.option("--conda", type=_FILE, help="Conda environment file to copy.")
@click.option("--pip", type=_FILE, help="Requirements file to copy.")
@click.option("--build", type=_FOLDER, help="Folder of this repository with a Dockerfile.")
@click.option("--python", metavar="VERSION", default="", help="Version of Python, such as 3.12.")
@click.option("--description", default="", help="What the environment is for.")
@click.pass_context
def command(
    context: click.Context,
    name: str,
    image: str,
    conda: Path | None,
    pip: Path | None,
    build: Path | None,
    python: str,
    description: str,
) -> None:
    """Write the spec of a new environment NAME into environments/NAME.

    Without options it has Python on a small Debian image.
    """
    root: Path = context.obj.root
    new = NewEnvironment(
        name=name,
        image=image,
        conda=_source(conda),
        pip=_source(pip),
        build=_inside(root, build) if build else "",
        python=python,
        description=description,
    )
    created = create_environment(WorkTree(root), parse_document, NewFiles(root), new)
    if context.obj.format == "json":
        document = {"format_version": "1.0", "name": name, "created": created}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for path in created:
        click.echo(f"created  {path}")
    click.echo(f"Next:\n    envsync lock {name}")


def _source(file: Path | None) -> SourceFile | None:
    if file is None:
        return None
    resolved = file.resolve()
    return SourceFile(tree=WorkTree(resolved.parent), path=resolved.name)


def _inside(root: Path, folder: Path) -> str:
    resolved = folder.resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise InvalidInput(
            f"{folder} is not in this repository",
            detail="A build context is part of the commit that an image is built from.",
            hint="Copy it into the repository first, and give that folder.",
        )
    return resolved.relative_to(root.resolve()).as_posix()

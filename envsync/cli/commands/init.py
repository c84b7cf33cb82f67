"""``envsync init``: make a folder a repository that uses envsync."""

from __future__ import annotations

import json

import click

from envsync.adapters.files.new_files import NewFiles
from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git import repository as git
from envsync.adapters.git.worktree import WorkTree
from envsync.operations.init import initialise


@click.command("init")
@click.option(
    "--registry",
    metavar="HOST/NAMESPACE",
    default="",
    help="Where images go; default: this folder.",
)
@click.option("--image", metavar="REF", default="", help="Base image of the example environment.")
@click.pass_context
def command(context: click.Context, registry: str, image: str) -> None:
    """Make this folder a repository with settings and an example environment.

    What is there already stays as it is, so it can be run again.
    """
    root = context.obj.root
    made_git = git.find_root(root, context.obj.environ) is None
    done = initialise(
        WorkTree(root), parse_document, NewFiles(root), registry=registry, image=image
    )
    if made_git:
        git.create(root)
    if context.obj.format == "json":
        document = {
            "format_version": "1.0",
            "git_created": made_git,
            "created": done.created,
            "changed": done.changed,
            "kept": done.kept,
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    if made_git:
        click.echo("created  .git")
    for word, paths in (
        ("created", done.created), ("changed", done.changed), ("kept", done.kept),
    ):  # fmt: skip
        for path in paths:
            click.echo(f"{word:8} {path}")
    if done.created:
        click.echo("Next:\n    envsync lock")
    else:
        click.echo("Everything was there already.")

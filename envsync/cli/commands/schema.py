"""``envsync schema``: print a JSON Schema, for editors and for programs that read plans."""

from __future__ import annotations

from importlib.resources import files

import click

SCHEMAS = {
    "environment": "schemas/environment.schema.json",
    "config": "schemas/envsync.schema.json",
    "plan": "planning/plan.schema.json",
    "progress": "cli/progress.schema.json",
}
"""What can be asked for, and its place in the package."""


@click.command("schema")
@click.argument("document", type=click.Choice(list(SCHEMAS)), default="environment")
def command(document: str) -> None:
    """Print the JSON Schema of a document: environment.yaml, envsync.yaml (config), a plan, or the
    events that long commands print on standard error with --format json.

    Editors check and complete a YAML file that names its schema in the first line:

    # yaml-language-server: $schema=../../.vscode/environment.schema.json
    """
    text = files("envsync").joinpath(SCHEMAS[document]).read_text(encoding="utf-8")
    click.echo(text, nl=False)

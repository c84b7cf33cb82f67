"""``envsync logs``: what an engine said while it built."""

from __future__ import annotations

import json

import click

from envsync.cli.output import warn
from envsync.cli.session import Session
from envsync.client.dockerfile_parts import build_logs
from envsync.model.reference import parse_environment_argument
from envsync.operations.logs import find_log


@click.command("logs")
@click.argument("reference")
@click.pass_context
def command(context: click.Context, reference: str) -> None:
    """Print what the engine said while it built NAME or NAME:VERSION on this machine.

    A plain NAME is what HEAD asks for, whether its build failed or not; if that was not built here,
    its latest version.
    """
    session: Session = context.obj
    config = session.committed_config()
    past, warning = session.past(config)
    if warning:
        warn(warning)
    wanted = parse_environment_argument(reference)
    found = find_log(session.git(config), session.readers(), past, build_logs(session), wanted)
    if session.format == "json":
        document = {
            "format_version": "1.0",
            "name": found.name,
            "version": found.version or None,
            "definition": found.definition,
            "lines": found.text.splitlines(),
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    click.echo(found.text, nl=False)

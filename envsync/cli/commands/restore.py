"""``envsync restore``: show again what was archived."""

from __future__ import annotations

import click

from envsync.cli.lifecycle_output import echo_flagged
from envsync.cli.output import warn
from envsync.cli.session import Session
from envsync.model.reference import is_plain, parse_environment_argument
from envsync.operations.lifecycle import restore


@click.command("restore")
@click.argument("reference")
@click.pass_context
def command(context: click.Context, reference: str) -> None:
    """Show NAME or NAME:VERSION again, which was archived.

    A version of a name that is archived cannot be restored by itself. Edits lifecycle/NAME.yaml;
    committing that makes it everybody's.
    """
    session: Session = context.obj
    parsed = parse_environment_argument(reference)
    past, warning = session.past(session.committed_config())
    if warning:
        warn(warning)
    past.require_own(parsed)
    version = None if is_plain(reference) else parsed
    echo_flagged(session, restore(session.desk(), past, parsed.name, version))

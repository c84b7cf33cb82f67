"""``envsync archive``: hide a name or a version."""

from __future__ import annotations

import click

from envsync.cli.lifecycle_output import echo_flagged
from envsync.cli.output import warn
from envsync.cli.session import Session
from envsync.model.reference import is_plain, parse_environment_argument
from envsync.operations.lifecycle import archive


@click.command("archive")
@click.argument("reference")
@click.pass_context
def command(context: click.Context, reference: str) -> None:
    """Hide NAME, with its versions and those to come, or NAME:VERSION, from list and latest.

    Nothing is deleted: what is archived can still be shown, compared and run by its version. Edits
    lifecycle/NAME.yaml; committing that makes it everybody's.
    """
    session: Session = context.obj
    parsed = parse_environment_argument(reference)
    past, warning = session.past(session.committed_config())
    if warning:
        warn(warning)
    past.require_own(parsed)
    version = None if is_plain(reference) else parsed
    echo_flagged(session, archive(session.desk(), past, parsed.name, version))

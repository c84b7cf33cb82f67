"""``envsync status``: in short, how environments, locks and the registry stand."""

from __future__ import annotations

import json

import click

from envsync.cli.commands.plan import exit_code
from envsync.cli.output import coloured, table, warn
from envsync.cli.session import Session
from envsync.operations.plan import make_plan
from envsync.planning.plan import EnvironmentPlan
from envsync.planning.plan_text import SYMBOLS, verdict


@click.command("status")
@click.argument("names", nargs=-1)
@click.pass_context
def command(context: click.Context, names: tuple[str, ...]) -> None:
    """Show a line for each environment: its version, and whether git and the registry agree.

    NAMES narrow it; globs work. Changes nothing.
    """
    session: Session = context.obj
    config = session.committed_config()
    plan = make_plan(
        session.git(config), session.registries(config), session.readers(), names=names
    ).plan
    if session.format == "json":
        document = {
            "format_version": "1.0",
            "commit": plan.commit,
            "registry": plan.registry,
            "environments": [
                {
                    "name": e.name,
                    "state": e.state,
                    "version": e.before_version,
                    "reasons": [reason.code for reason in e.reasons],
                }
                for e in plan.environments
            ],
            "uncommitted": list(plan.uncommitted),
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        if plan.environments:
            head = (" ", "NAME", "VERSION", "STATE", "WHY")
            click.echo(coloured(table(head, [_row(e) for e in plan.environments])))
        click.echo(verdict(plan))
        if plan.uncommitted:
            warn(f"not committed: {', '.join(plan.uncommitted[:20])}")
    context.exit(exit_code(plan, detailed=False))


def _row(plan: EnvironmentPlan) -> tuple[str, ...]:
    why = "" if plan.state == "in_sync" else plan.reasons[0].text.splitlines()[0]
    state = plan.state.replace("_", " ")
    return (SYMBOLS[plan.state], plan.name, plan.before_version or "-", state, why)

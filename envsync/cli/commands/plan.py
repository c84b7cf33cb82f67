"""``envsync plan``: what apply would do, and why."""

from __future__ import annotations

import json
from pathlib import Path

import click

from envsync.cli.output import coloured
from envsync.cli.session import Session
from envsync.errors import Unavailable
from envsync.failpoints import reach
from envsync.operations.outcome import refusal, winning_code
from envsync.operations.plan import make_plan
from envsync.planning.plan import CHANGING, Plan
from envsync.planning.plan_document import plan_document
from envsync.planning.plan_text import plan_text


@click.command("plan")
@click.argument("names", nargs=-1)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Save the plan here.")
@click.option(
    "--policy-from",
    metavar="REF",
    default="",
    help="Judge by the policy of this revision; with --base that is the branch.",
)
@click.option(
    "--base",
    metavar="REF",
    default="",
    help="Only what HEAD changes against this branch, such as origin/main.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there are changes.")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    help="What to print; markdown is for the comment on a pull request.",
)
@click.pass_context
def command(
    context: click.Context,
    names: tuple[str, ...],
    out: Path | None,
    policy_from: str,
    base: str,
    detailed_exitcode: bool,
    shape: str,
) -> None:
    """Show what apply would do, and why. Changes nothing.

    NAMES of environments narrow it; globs work. The plan is of the commit HEAD: what is not
    committed is named and not part of it. In a pull request, --policy-from names the branch that
    it goes into: whoever asks for a change must not say what is allowed.
    """
    session: Session = context.obj
    config = session.committed_config()
    git, registries = session.places(config, policy_from=policy_from, base=base)
    planned = make_plan(
        git,
        registries,
        session.readers(),
        names=names,
        base=base,
        policy_from=policy_from or base,
    )
    document = json.dumps(plan_document(planned.plan), indent=2, ensure_ascii=False)
    if out is not None:
        _save(out, document)
    if shape == "json":
        click.echo(document)
    elif shape == "markdown":
        from envsync.planning.plan_markdown import plan_markdown

        click.echo(plan_markdown(planned.plan), nl=False)
    else:
        click.echo(coloured(plan_text(planned.plan)))
    context.exit(exit_code(planned.plan, detailed=detailed_exitcode))


def exit_code(plan: Plan, *, detailed: bool) -> int:
    """Return the code of a plan: what stands in its way, else whether there are changes."""
    errors = [refusal(e).error for e in plan.environments if e.state not in CHANGING]
    codes = {error.exit_code for error in errors if error is not None}
    if detailed and plan.changing:
        codes.add(2)
    return winning_code(codes)


def _save(path: Path, document: str) -> None:
    aside = path.with_name(f".{path.name}.new")
    try:
        aside.write_text(document + "\n", encoding="utf-8")
        reach("plan-write.before")
        aside.replace(path)
        reach("plan-write.after")
    except OSError as error:
        raise Unavailable(f"{path} cannot be written", detail=str(error)) from error

"""``envsync apply``: build and publish what differs, and record it in git."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from envsync.cli.errors import error_document, error_text
from envsync.cli.output import warn
from envsync.cli.progress import progress
from envsync.cli.session import Session
from envsync.errors import InvalidInput, StalePlan
from envsync.operations.apply import Approve, apply
from envsync.operations.outcome import Outcome
from envsync.operations.plan import Planned
from envsync.planning.plan import EnvironmentPlan

SHORTEST_ID = 8


@click.command("apply")
@click.argument("names", nargs=-1)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Carry out this saved plan, and nothing that is not in it.",
)
@click.option("--plan-id", default="", help="Refuse to do anything but the plan with this id.")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), default=2, help="Environments built at once."
)
@click.pass_context
def command(
    context: click.Context, names: tuple[str, ...], plan_file: Path | None, plan_id: str, jobs: int
) -> None:
    """Build and publish what differs from the commit HEAD, and record each version in git.

    NAMES of environments narrow it; globs work. Running it again after it was interrupted finishes
    the job.
    """
    session: Session = context.obj
    config = session.committed_config()
    approve: Approve | None = None
    if plan_file is not None:
        approve = _saved(plan_file)
    elif plan_id:
        approve = _identified(plan_id)
    with progress(session) as shown:
        outcome = apply(session.workshop(config, shown, jobs), names, approve=approve)
    if session.format == "json":
        click.echo(json.dumps(outcome_document(outcome), indent=2, ensure_ascii=False))
    else:
        _print(session, outcome)
    context.exit(outcome.exit_code)


def _identified(plan_id: str) -> Approve:
    def approve(planned: Planned) -> Mapping[str, EnvironmentPlan]:
        now = planned.plan.id
        if len(plan_id) < SHORTEST_ID or not now.startswith(plan_id.lower()):
            raise StalePlan(
                "the plan is not the one that was reviewed",
                detail=f"Reviewed: {plan_id}. Now it would be {now[:16]}.",
                hint="Review it again:\n    envsync plan",
            )
        return {e.name: e for e in planned.plan.changing}

    return approve


def _saved(path: Path) -> Approve:
    """Approve what a saved plan has, environment by environment; others stay as they are."""
    reviewed = _read(path)

    def approve(planned: Planned) -> Mapping[str, EnvironmentPlan]:
        now = {e.name: e for e in planned.plan.environments}
        # What is in sync by now was done since, by somebody who carried out the same plan.
        stale = sorted(
            name
            for name, identity in reviewed.items()
            if name not in now or (now[name].state != "in_sync" and now[name].id != identity)
        )
        if stale:
            raise StalePlan(
                f"the saved plan is out of date for {', '.join(stale)}",
                detail="What would be done to them now is not what was reviewed.",
                hint=f"Review it again:\n    envsync plan --out {path}",
            )
        return {e.name: e for e in planned.plan.changing if e.name in reviewed}

    return approve


def _read(path: Path) -> Mapping[str, str]:
    try:
        document: Any = json.loads(path.read_bytes())
        if str(document["format_version"]).split(".")[0] != "1":
            raise ValueError(f"format {document['format_version']}, this envsync reads 1.x")
        return {
            str(e["name"]): str(e["id"])
            for e in document["environments"]
            if any(action for action in e["actions"])
        }
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{path} is not a saved plan",
            detail=str(error),
            hint=f"Make one:\n    envsync plan --out {path}",
        ) from error


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """Return how apply ended as the values of a JSON document."""
    return {
        "format_version": "1.0",
        "commit": outcome.commit,
        "exit_code": outcome.exit_code,
        "environments": [
            {
                "name": result.name,
                "state": result.state,
                "did": result.did,
                "version": result.version,
                "digest": result.digest,
                "error": error_document(result.error) if result.error else None,
            }
            for result in outcome.results
        ],
    }


def _print(session: Session, outcome: Outcome) -> None:
    done = [r for r in outcome.results if r.state == "done"]
    for result in done:
        click.echo(
            f"{click.style('✓', fg='green')} {result.name} {result.version}  {result.digest}"
        )
    for result in outcome.results:
        if result.error is not None:
            click.echo(error_text(result.error), err=True)
    unchanged = sum(r.state == "unchanged" for r in outcome.results)
    failed = sum(r.state == "failed" for r in outcome.results)
    uncommitted = session.git().uncommitted(("environments", "locks", "envsync.yaml"))
    if uncommitted:
        warn(f"not committed, so not applied: {', '.join(uncommitted[:20])}")
    if not done and not failed:
        click.echo(f"Nothing to do: {unchanged} in sync.")
        return
    click.echo(f"Applied: {len(done)} done, {unchanged} in sync, {failed} failed.")

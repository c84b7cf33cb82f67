"""``envsync apply``: build and publish what differs, and record it in git."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from envsync.cli.errors import error_document, error_text
from envsync.cli.output import warn
from envsync.cli.progress import progress
from envsync.cli.session import Session
from envsync.errors import InvalidInput, Misuse, StalePlan
from envsync.model.config import Config
from envsync.model.json_text import read_json
from envsync.operations.apply import Approve, apply
from envsync.operations.approval import only
from envsync.operations.build_job import BuildJob
from envsync.operations.outcome import Outcome
from envsync.operations.plan import Planned
from envsync.planning.plan import CHANGING, EnvironmentPlan
from envsync.ports.progress import Progress

_WAITING = 64
"""Environments that are built elsewhere at once: here they only wait."""


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
@click.option(
    "--executor",
    "address",
    default="",
    metavar="ADDRESS",
    help="Build in other processes: dask://host:port, or processes://4.",
)
@click.option(
    "--verify-layers",
    is_flag=True,
    help="Make every layer anew, and compare those that the registry has.",
)
@click.pass_context
def command(
    context: click.Context,
    names: tuple[str, ...],
    plan_file: Path | None,
    plan_id: str,
    jobs: int,
    address: str,
    verify_layers: bool,
) -> None:
    """Build and publish what differs from the commit HEAD, and record each version in git.

    NAMES of environments narrow it; globs work. Running it again after it was interrupted finishes
    the job.
    """
    session: Session = context.obj
    config = session.committed_config()
    approve: Approve | None = None
    if plan_file is not None and (names or plan_id):
        raise Misuse(
            "a saved plan says itself which environments it is about",
            hint="Leave out the names and --plan-id.",
        )
    if plan_file is not None:
        approve = _saved(plan_file)
    elif plan_id:
        approve = only(plan_id)
    if address and verify_layers:
        raise Misuse("--verify-layers makes layers in this process", hint="Leave out --executor.")
    with progress(session) as shown, _elsewhere(session, config, shown, address) as elsewhere:
        workshop = session.workshop(
            config,
            shown,
            max(jobs, _WAITING) if address else jobs,
            verify_layers=verify_layers,
            elsewhere=elsewhere,
        )
        outcome = apply(workshop, names, approve=approve)
    if session.format == "json":
        click.echo(json.dumps(outcome_document(outcome), indent=2, ensure_ascii=False))
    else:
        _print(session, outcome)
    context.exit(outcome.exit_code)


@contextmanager
def _elsewhere(
    session: Session, config: Config, shown: Progress, address: str
) -> Iterator[Callable[[BuildJob], str] | None]:
    """Give what carries jobs out in other processes; None for this one."""
    if not address:
        yield None
        return
    from envsync.cli.worker import work
    from envsync.client.elsewhere import Site, open_executor, through

    if not config.registry and not address.startswith("processes:"):
        raise InvalidInput(
            "other machines cannot reach a registry that is a folder of this one",
            hint="Name one in envsync.yaml:\n    registry: host/namespace",
        )
    registry, _ = session.registry(config)
    root = "" if config.registry else str(session.root)
    with open_executor(address) as executor:
        yield through(executor, work, Site(config=config, root=root), registry, shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reviewed:
    """What a saved plan says about one environment."""

    id: str
    before: str
    after: str
    definition: str

    def covers(self, now: EnvironmentPlan) -> bool:
        """Tell whether *now* is what was reviewed, or what an interrupted apply left of it."""
        if now.state not in CHANGING:
            return True  # done since, or refused for a reason of its own
        goal = (now.after_version, now.definition) == (self.after, self.definition)
        return self.id == now.id or (goal and now.before_version in {self.before, self.after})


def _saved(path: Path) -> Approve:
    """Approve what a saved plan has, environment by environment; others stay as they are."""
    reviewed = _read(path)

    def approve(planned: Planned) -> Mapping[str, EnvironmentPlan]:
        now = {e.name: e for e in planned.plan.environments}
        stale = sorted(
            name for name, seen in reviewed.items() if name not in now or not seen.covers(now[name])
        )
        if stale:
            raise StalePlan(
                f"the saved plan is out of date for {', '.join(stale)}",
                detail="What would be done to them now is not what was reviewed.",
                hint=f"Review it again:\n    envsync plan --out {path}",
            )
        return {e.name: e for e in planned.plan.changing if e.name in reviewed}

    return approve


def _read(path: Path) -> Mapping[str, _Reviewed]:
    try:
        document: Any = read_json(path.read_bytes())
        if str(document["format_version"]).split(".")[0] != "1":
            raise ValueError(f"format {document['format_version']}, this envsync reads 1.x")
        return {
            str(e["name"]): _Reviewed(
                id=str(e["id"]),
                before=str(e["before"]["version"]),
                after=str(e["after"]["version"]),
                definition=str(e["after"]["definition"]),
            )
            for e in document["environments"]
            if any(action for action in e["actions"])
        }
    except (ValueError, KeyError, TypeError, OSError) as error:
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
                "note": result.note,
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
        if result.note:
            warn(f"{result.name} {result.version}: {result.note}")
    unchanged = sum(r.state == "unchanged" for r in outcome.results)
    failed = sum(r.state == "failed" for r in outcome.results)
    if outcome.uncommitted:
        warn(f"not committed, so not applied: {', '.join(outcome.uncommitted[:20])}")
    if not done and not failed:
        click.echo(f"Nothing to do: {unchanged} in sync.")
        return
    click.echo(f"Applied: {len(done)} done, {unchanged} in sync, {failed} failed.")

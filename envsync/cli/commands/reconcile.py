"""``envsync reconcile``: follow a branch, and keep the registry as it says."""

from __future__ import annotations

import json
import random
import re
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from envsync.cli.commands.apply import outcome_document
from envsync.cli.errors import error_document, error_text
from envsync.cli.output import warn
from envsync.cli.progress import progress
from envsync.cli.session import Session
from envsync.errors import Misuse

if TYPE_CHECKING:
    from envsync.client.reconciling import Reconciling
    from envsync.operations.reconcile import Tick
    from envsync.operations.refresh import Refreshed

_DURATION = re.compile(r"(?P<number>[1-9][0-9]*)(?P<unit>[smh])")
_UNITS = {"s": 1, "m": 60, "h": 3600}


@click.command("reconcile")
@click.argument("names", nargs=-1)
@click.option("--once", is_flag=True, help="Do it once, as cron and CI want it.")
@click.option(
    "--interval", default="", metavar="DURATION", help="Do it again and again: every 5m, 30s, 1h."
)
@click.option("--branch", default="", help="Follow this branch of the remote.")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), default=2, help="Environments built at once."
)
@click.option(
    "--listen", default="", metavar="HOST:PORT", help="Answer /healthz, /readyz and /metrics there."
)
@click.option(
    "--metrics-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write Prometheus metrics there after each time.",
)
@click.option(
    "--log",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How events are written to standard error with --interval.",
)
@click.pass_context
def command(
    context: click.Context,
    names: tuple[str, ...],
    once: bool,
    interval: str,
    branch: str,
    jobs: int,
    listen: str,
    metrics_file: Path | None,
    log: str,
) -> None:
    """Lock what needs it on the remote's branch, push the locks, apply, and record.

    It works in a clone of its own: the working folder is not touched. NAMES of environments narrow
    it; globs work.
    """
    from envsync.client.reconciling import reconciling

    session: Session = context.obj
    if once == bool(interval):
        raise Misuse("say either --once or --interval", hint="envsync reconcile --interval 5m")
    if listen and (once or not re.fullmatch(r"(\S*):([0-9]{1,5})", listen)):
        raise Misuse("--listen takes host:port, and goes with --interval")
    work = reconciling(session, names, branch, jobs)
    with work.clone.opened():
        if interval:
            _serve(session, work, _seconds(interval), listen, metrics_file, log)
            return
        began = time.monotonic()
        with progress(session) as shown:
            tick, refreshed = work.tick(shown)
    if metrics_file is not None:
        from envsync.cli.service import Metrics

        metrics = Metrics()
        metrics.ticked(tick, time.monotonic() - began)
        metrics.write(metrics_file)
    if session.format == "json":
        click.echo(json.dumps(_document(tick, refreshed), indent=2, ensure_ascii=False))
    else:
        _print(tick, refreshed)
    context.exit(tick.exit_code)


def _serve(
    session: Session,
    work: Reconciling,
    seconds: float,
    listen: str,
    metrics_file: Path | None,
    log: str,
) -> None:
    from envsync.cli.service import Health, Log, Metrics, Service, listening
    from envsync.ports.progress import Silent

    metrics = Metrics()
    health = Health(interval=seconds, clock=time.monotonic)
    service = Service(
        tick=lambda resting: work.tick(Silent(), resting),
        interval=seconds,
        log=Log(as_json=log == "json"),
        metrics=metrics,
        health=health,
        sleep=session.sleep,
        chance=random.SystemRandom().uniform,
        metrics_file=metrics_file,
    )
    with listening(listen, metrics, health) if listen else nullcontext():
        try:
            service.run()
        finally:
            service.log("service.stopped")


def _seconds(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Misuse(f"{text!r} is not a duration", hint="Write 30s, 5m or 1h.")
    return int(match["number"]) * _UNITS[match["unit"]]


def _print(tick: Tick, refreshed: tuple[Refreshed, ...]) -> None:
    mark = click.style("✓", fg="green")
    if tick.locked:
        click.echo(f"{mark} locks pushed: {', '.join(tick.locked)}  {tick.commit[:12]}")
    if tick.push_error is not None:
        click.echo(error_text(tick.push_error, "locks were not pushed"), err=True)
    for result in tick.outcome.results:
        if result.state == "done":
            click.echo(f"{mark} {result.name} {result.version}  {result.digest}")
        elif result.error is not None:
            click.echo(error_text(result.error, f"{result.name} failed"), err=True)
        if result.note:
            warn(f"{result.name} {result.version}: {result.note}")
    for one in refreshed:
        if one.did == "proposed":
            click.echo(f"{mark} {one.name} refreshed on branch {one.branch}")
        elif one.did == "committed":
            click.echo(f"{mark} {one.name} refreshed  {one.commit[:12]}")
        elif one.did == "left":
            warn(f"{one.branch} has commits of people: it is left as it is")
        elif one.error is not None:
            click.echo(error_text(one.error, f"{one.name} could not be refreshed"), err=True)
    states = [str(result.state) for result in tick.outcome.results]
    said = [
        f"{states.count(state)} {word}"
        for state, word in (("done", "done"), ("unchanged", "in sync"), ("failed", "failed"))
        if states.count(state)
    ]
    click.echo(f"Reconciled {tick.commit[:12]}: {', '.join(said) or 'no environments'}.")


def _document(tick: Tick, refreshed: tuple[Refreshed, ...]) -> dict[str, object]:
    return {
        **outcome_document(tick.outcome),
        "commit": tick.commit,
        "exit_code": tick.exit_code,
        "locked": list(tick.locked),
        "push_error": error_document(tick.push_error) if tick.push_error else None,
        "refreshed": [
            {
                "name": one.name,
                "did": one.did,
                "branch": one.branch,
                "error": error_document(one.error) if one.error else None,
            }
            for one in refreshed
        ],
    }

"""``envsync lock``: turn unpinned dependencies into locks, or check that the locks still hold."""

from __future__ import annotations

import datetime
from pathlib import Path

import click

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.adapters.locks.conda_lock_file import parse_lock
from envsync.cli.lock_output import check_json, check_text, report_json, report_text
from envsync.errors import Misuse
from envsync.operations.load import Repository, load_repository
from envsync.operations.lock import check_locks, lock_environments
from envsync.operations.lock_report import LockCheck, check_exit_code
from envsync.operations.lock_work import LockChoices

_ALL = "*"


@click.command("lock")
@click.argument("names", nargs=-1)
@click.option(
    "--check", is_flag=True, help="Only say whether the locks hold; exit 2 if one does not."
)
@click.option(
    "--upgrade",
    metavar="[PACKAGE,...]",
    is_flag=False,
    flag_value=_ALL,
    multiple=True,
    help="Choose anew: everything, base images too, or only the named packages.",
)
@click.option(
    "--exclude-newer",
    metavar="DATE",
    help="Choose only from what was published by DATE (2025-03-31, or a time with its zone).",
)
@click.pass_context
def command(
    context: click.Context,
    names: tuple[str, ...],
    check: bool,
    upgrade: tuple[str, ...],
    exclude_newer: str | None,
) -> None:
    """Lock the environments NAMES, or all: exact packages and base images, for every platform.

    A lock that still satisfies its spec is left as it is, byte for byte.
    """
    if check and (upgrade or exclude_newer):
        raise Misuse("--check changes nothing", hint="Leave --upgrade and --exclude-newer out.")
    choices = _choices(upgrade, exclude_newer)
    root: Path = context.obj.root
    tree = WorkTree(root)
    repository = load_repository(tree, parse_document, names)
    rules = context.obj.lock_rules(repository.config)
    as_json = context.obj.format == "json"
    specs = list(repository.specs.values())
    if check:
        checks = _with_broken_checks(check_locks(specs, tree, parse_lock, rules), repository)
        click.echo(check_json(checks) if as_json else check_text(checks))
        context.exit(check_exit_code(checks))
    # Solvers and registries are loaded only where something may be solved.
    from envsync.cli.progress import progress

    with progress(context.obj) as shown:
        tools = context.obj.lock_tools(shown)
        report = lock_environments(specs, tree, rules, tools, choices)
        report = report.with_broken(repository.broken)
    click.echo(report_json(report) if as_json else report_text(report))
    context.exit(report.exit_code)


def _choices(upgrade: tuple[str, ...], exclude_newer: str | None) -> LockChoices:
    packages = {name.strip().lower() for text in upgrade for name in text.split(",")} - {""}
    return LockChoices(
        upgrade=_ALL in packages,
        packages=frozenset(packages - {_ALL}),
        exclude_newer=_date(exclude_newer) if exclude_newer else None,
    )


def _date(text: str) -> datetime.datetime:
    """Read a date, which is meant with its whole day in UTC, or a time with a zone."""
    try:
        if len(text) == len("2025-03-31"):
            day = datetime.date.fromisoformat(text)
            return datetime.datetime.combine(day, datetime.time.max, datetime.UTC)
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Misuse(
            f"{text!r} is neither a date nor a time with a zone",
            hint="Write 2025-03-31 or 2025-03-31T12:00:00Z.",
        )
    return moment.astimezone(datetime.UTC)


def _with_broken_checks(
    checks: tuple[LockCheck, ...], repository: Repository
) -> tuple[LockCheck, ...]:
    broken = (LockCheck(name=name, error=error) for name, error in repository.broken.items())
    return tuple(sorted([*checks, *broken], key=lambda check: check.name))

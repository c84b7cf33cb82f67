"""``envsync validate``: report every fault of settings and environments."""

from __future__ import annotations

import json

import click

from envsync.adapters.git.worktree import WorkTree
from envsync.cli.errors import fault_document
from envsync.cli.session import Session
from envsync.errors import InvalidInput
from envsync.operations.validate import Validation, validate


@click.command("validate")
@click.argument("names", nargs=-1)
@click.pass_context
def command(context: click.Context, names: tuple[str, ...]) -> None:
    """Check envsync.yaml and environments, and report every fault found.

    With a policy, what is locked is judged too, as if it was committed today.

    NAMES of environments narrow it; globs work.
    """
    session: Session = context.obj
    found = validate(WorkTree(session.root), session.readers(), names, session.now().date())
    click.echo(_json(found) if context.obj.format == "json" else _text(found))
    if found.faults:
        context.exit(InvalidInput.exit_code)


def _json(found: Validation) -> str:
    document = {
        "format_version": "1.0",
        "valid": not found.faults,
        "environments": [{"name": name, "valid": name not in found.broken} for name in found.names],
        "faults": [fault_document(fault) for fault in found.faults],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _text(found: Validation) -> str:
    lines = [str(fault) for fault in found.faults]
    environments = _count(len(found.names), "environment")
    if not found.faults:
        return f"{environments} checked: no faults."
    faults = _count(len(found.faults), "fault")
    return "\n".join([*lines, f"{environments} checked: {faults}, {len(found.broken)} broken."])


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"

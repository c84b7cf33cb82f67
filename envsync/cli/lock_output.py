"""What ``envsync lock`` says, as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from envsync.cli.errors import error_document
from envsync.errors import EnvsyncError
from envsync.model.canonical import Json
from envsync.operations.lock_report import LockCheck, LockOutcome, LockReport
from envsync.planning.changes_text import FOLD, changes_text, counted
from envsync.planning.freshness import Stale
from envsync.planning.plan_document import change_document


def report_text(report: LockReport) -> str:
    """Return the report for people; its last line is the verdict."""
    lines = [line for outcome in report.environments for line in _outcome(outcome)]
    counts = Counter(_word(outcome) for outcome in report.environments)
    parts = [f"{counts[word]} {word}" for word in ("locked", "unchanged", "failed") if counts[word]]
    lines.append(f"Locks: {', '.join(parts) or 'nothing to lock'}.")
    return "\n".join(lines)


def check_text(checks: Sequence[LockCheck]) -> str:
    """Return the answer of ``--check`` for people; its last line is the verdict."""
    lines = []
    stale = [check for check in checks if not check.fresh]
    for check in stale:
        lines.append(f"! {check.name}")
        lines += [f"    {reason}" for reason in check.why]
        lines += _error(check.error)
    if not stale:
        return f"{_environments(len(checks))}: every lock satisfies its spec."
    names = " ".join(check.name for check in stale if check.why)
    if names:
        lines.append(f"Lock them:\n    envsync lock {names}")
    lines.append(f"{len(stale)} of {_environments(len(checks))} must be locked.")
    return "\n".join(lines)


def report_json(report: LockReport) -> str:
    """Return the report for programs."""
    return _dump(
        {
            "format_version": "1.0",
            "exit_code": report.exit_code,
            "environments": [
                {
                    "name": outcome.name,
                    "outcome": outcome.outcome,
                    "wrote": outcome.wrote,
                    "source": outcome.source,
                    "why": [_stale(reason) for reason in outcome.why],
                    "base": {"before": outcome.base[0], "after": outcome.base[1]}
                    if outcome.base
                    else None,
                    "changes": [change_document(change) for change in outcome.changes],
                    "warnings": list(outcome.warnings),
                    "error": error_document(outcome.error) if outcome.error else None,
                }
                for outcome in report.environments
            ],
        }
    )


def check_json(checks: Sequence[LockCheck]) -> str:
    """Return the answer of ``--check`` for programs."""
    return _dump(
        {
            "format_version": "1.0",
            "fresh": all(check.fresh for check in checks),
            "environments": [
                {
                    "name": check.name,
                    "fresh": check.fresh,
                    "why": [_stale(reason) for reason in check.why],
                    "error": error_document(check.error) if check.error else None,
                }
                for check in checks
            ],
        }
    )


def _outcome(outcome: LockOutcome) -> list[str]:
    name = outcome.name
    if outcome.error is not None:
        return [f"! {name}", *_error(outcome.error)]
    if not outcome.wrote:
        return [f"= {name}"]
    origin = f" (as {outcome.source} is)" if outcome.source else ""
    lines = [f"~ {name}: {counted(outcome.changes) or 'no package changed'}{origin}"]
    lines += [f"    because {reason}" for reason in outcome.why]
    if outcome.base:
        before, after = (digest[:19] or "none" for digest in outcome.base)
        lines.append(f"    base image {before} → {after}")
    fold = FOLD if any(c.change != "added" for c in outcome.changes) else 0
    lines += changes_text(outcome.changes, fold=fold)
    lines += [f"    warning: {text}" for text in outcome.warnings]
    return lines


def _word(outcome: LockOutcome) -> str:
    if outcome.error is not None:
        return "failed"
    return "locked" if outcome.wrote else "unchanged"


def _error(error: EnvsyncError | None) -> list[str]:
    return [f"    {line}" for line in str(error).splitlines()] if error is not None else []


def _environments(number: int) -> str:
    return f"{number} environment" if number == 1 else f"{number} environments"


def _stale(reason: Stale) -> Json:
    return {"kind": reason.kind, "platform": reason.platform, "text": reason.text}


def _dump(document: Json) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)

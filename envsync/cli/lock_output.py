"""What ``envsync lock`` says, as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from envsync.errors import EnvsyncError
from envsync.model.canonical import Json
from envsync.model.package_changes import CHANGE_CLASSES, PackageChange, PackageState
from envsync.operations.lock_report import LockCheck, LockOutcome, LockReport
from envsync.planning.freshness import Stale

_SHOWN = 20
"""Changes of packages that the spec does not name are counted beyond this many."""
_SYMBOLS = {"added": "+", "removed": "-"}


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
                    "error": _error_document(outcome.error),
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
                    "error": _error_document(check.error),
                }
                for check in checks
            ],
        }
    )


def change_document(change: PackageChange) -> Json:
    """Return one package's change as it stands in JSON."""
    return {
        "name": change.name,
        "manager": change.manager,
        "change": change.change,
        "before_version": change.before_version,
        "after_version": change.after_version,
        "direct": change.direct,
        "why": list(change.why),
        "channel_changed": change.channel_changed,
        "platforms": {
            detail.platform: {"before": _state(detail.before), "after": _state(detail.after)}
            for detail in change.details
        },
    }


def _outcome(outcome: LockOutcome) -> list[str]:
    name = outcome.name
    if outcome.error is not None:
        return [f"! {name}", *_error(outcome.error)]
    if not outcome.wrote:
        return [f"= {name}"]
    counts = Counter(change.change for change in outcome.changes)
    parts = [f"{counts[kind]} {kind}" for kind in CHANGE_CLASSES if counts[kind]]
    origin = f" (as {outcome.source} is)" if outcome.source else ""
    lines = [f"~ {name}: {', '.join(parts) or 'no package changed'}{origin}"]
    lines += [f"    because {reason}" for reason in outcome.why]
    if outcome.base:
        before, after = (digest[:19] or "none" for digest in outcome.base)
        lines.append(f"    base image {before} -> {after}")
    direct = [change for change in outcome.changes if change.direct]
    others = [change for change in outcome.changes if not change.direct]
    lines += [f"    {_change(change)}" for change in (*direct, *others[:_SHOWN])]
    if len(others) > _SHOWN:
        lines.append(f"    and {len(others) - _SHOWN} more that these require")
    lines += [f"    warning: {text}" for text in outcome.warnings]
    return lines


def _change(change: PackageChange) -> str:
    symbol = _SYMBOLS.get(change.change, "~")
    moved = " -> ".join(filter(None, (change.before_version, change.after_version)))
    if change.change == "build":
        moved = f"{change.after_version} (another build)"
    notes: list[str] = [change.change] if symbol == "~" and change.change != "build" else []
    notes += [f"required by {change.why[-1]}"] if change.why else []
    notes += ["from another channel"] if change.channel_changed else []
    where = ", ".join(change.platforms)
    tail = f"  ({', '.join(notes)})" if notes else ""
    return f"{symbol} {change.name} {moved}  [{where}]{tail}"


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


def _state(state: PackageState | None) -> Json:
    if state is None:
        return None
    return {
        "version": state.version,
        "build": state.build,
        "channel": state.channel,
        "sha256": state.sha256,
    }


def _error_document(error: EnvsyncError | None) -> Json:
    if error is None:
        return None
    return {
        "summary": error.summary,
        "detail": error.detail,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def _dump(document: Json) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)

"""What an import did, as text and as JSON."""

from __future__ import annotations

import json

from envsync.cli.errors import fault_document, place_document
from envsync.errors import Fault
from envsync.operations.import_tree import ImportReport

_FEW = 8
"""References are listed one by one up to this number."""


def import_text(report: ImportReport) -> str:
    """Return the account for people."""
    lines = []
    for one in report.imported:
        lines.append(f"+ {one.name}  from {one.where}")
        if one.renamed:
            lines.append(f"    renamed: {one.renamed}")
        lines += [f"    not carried over: {_note(note)}" for note in one.notes]
    lines += [f"= {same.name}  from {same.where}, which says the same" for same in report.same]
    lines += _skipped(report.skipped)
    if report.uses:
        names = list(report.uses)
        more = f", and {len(names) - _FEW} more" if len(names) > _FEW else ""
        lines.append(f"Jobs use environments from elsewhere: {', '.join(names[:_FEW])}{more}")
    number = len(report.imported)
    word = "environment" if number == 1 else "environments"
    total = f"{report.files} files read: {number} {word} imported"
    parts = [f"{len(report.same)} the same", f"{len(report.skipped)} skipped"]
    lines.append(f"{total}, {', '.join(parts)}.")
    if report.imported:
        lines.append("Next:\n    envsync lock")
    return "\n".join(lines)


def import_json(report: ImportReport) -> str:
    """Return the account for programs."""
    document = {
        "format_version": "1.0",
        "files_read": report.files,
        "imported": [
            {
                "name": one.name,
                "from": place_document(one.where),
                "files": list(one.files),
                "renamed": one.renamed,
                "not_carried_over": [fault_document(note) for note in one.notes],
            }
            for one in report.imported
        ],
        "same": [{"name": same.name, "from": place_document(same.where)} for same in report.same],
        "skipped": [fault_document(fault) for fault in report.skipped],
        "failed": report.failed,
        "used_from_elsewhere": {
            reference: [place_document(where) for where in places]
            for reference, places in report.uses.items()
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _skipped(faults: list[Fault]) -> list[str]:
    """Return a line for each, but only a few of those that say the same."""
    together: dict[tuple[str, str], list[Fault]] = {}
    for fault in faults:
        together.setdefault((fault.message, fault.hint), []).append(fault)
    lines = []
    for (message, hint), same in together.items():
        if len(same) == 1:
            lines.append(f"- {_note(same[0])}")
            continue
        lines.append(f"- {message}: {len(same)} times")
        lines += [f"      {fault.where}" for fault in same[:_FEW]]
        if len(same) > _FEW:
            lines.append(f"      … and {len(same) - _FEW} more (--format json lists them)")
        if hint:
            lines.append(f"      {hint}")
    return lines


def _note(note: Fault) -> str:
    hint = f"\n      {note.hint}" if note.hint else ""
    return f"{note.where}: {note.message}{hint}"

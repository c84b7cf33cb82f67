"""What a verification finds: where git, the registry and the commits no longer say the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["note", "drift", "unknown", "conflict"]
"""
- note: to be known, and nothing is wrong
- drift: something is missing that can be brought back exactly
- unknown: git or the registry did not answer
- conflict: two of them contradict each other; a person must decide
"""

Remedy = Literal["republish", "retag", "report", "person"]

Kind = Literal[
    "image_missing",
    "image_damaged",
    "image_invalid",
    "image_label_mismatch",
    "image_not_reproducible",
    "platform_missing",
    "content_tag_missing",
    "content_tag_moved",
    "version_tag_missing",
    "version_tag_moved",
    "latest_behind",
    "latest_moved",
    "referrer_missing",
    "unmanaged_tag",
    "orphan_repository",
    "published_not_recorded",
    "record_missing",
    "record_broken",
    "record_moved",
    "record_unreachable",
    "commit_missing",
    "definition_mismatch",
    "base_image_moved",
    "not_allowed",
    "unavailable",
]

_OF: dict[Kind, tuple[Severity, Remedy]] = {
    "image_missing": ("drift", "republish"),
    "image_damaged": ("drift", "republish"),
    "image_invalid": ("conflict", "person"),
    "image_label_mismatch": ("conflict", "person"),
    "image_not_reproducible": ("conflict", "person"),
    "platform_missing": ("drift", "republish"),
    "content_tag_missing": ("drift", "retag"),
    "content_tag_moved": ("conflict", "retag"),
    "version_tag_missing": ("drift", "retag"),
    "version_tag_moved": ("conflict", "retag"),
    "latest_behind": ("drift", "retag"),
    "latest_moved": ("conflict", "retag"),
    "referrer_missing": ("note", "retag"),
    "orphan_repository": ("note", "report"),
    "unmanaged_tag": ("note", "report"),
    "published_not_recorded": ("note", "report"),
    "record_missing": ("conflict", "person"),
    "record_broken": ("conflict", "person"),
    "record_moved": ("conflict", "person"),
    "record_unreachable": ("note", "report"),
    "commit_missing": ("note", "report"),
    "definition_mismatch": ("conflict", "person"),
    "base_image_moved": ("note", "report"),
    "not_allowed": ("unknown", "report"),
    "unavailable": ("unknown", "report"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as git recorded it."""

    kind: Kind
    name: str
    version: str = ""
    text: str

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return _OF[self.kind][0]

    @property
    def remedy(self) -> Remedy:
        """What mends it; ``verify --repair`` does *republish* and *retag*."""
        return _OF[self.kind][1]


_CODES: tuple[tuple[Kind | None, Severity, int], ...] = (
    (None, "conflict", 5),
    ("not_allowed", "unknown", 7),
    ("unavailable", "unknown", 8),
    (None, "drift", 2),
)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return the exit code of the release protocol: the worst of what was found."""
    found = list(findings)
    for kind, severity, code in _CODES:
        if any(one.severity == severity and kind in {None, one.kind} for one in found):
            return code
    return 0


_MARKS: dict[Severity, str] = {"note": "-", "drift": "~", "unknown": "?", "conflict": "!"}


def findings_text(findings: Sequence[Finding]) -> list[str]:
    """Return findings as people read them, by environment."""
    lines = []
    for name in dict.fromkeys(finding.name for finding in findings):
        lines.append(name)
        for one in findings:
            if one.name == name:
                where = f" {one.version}" if one.version else ""
                lines.append(f"  {_MARKS[one.severity]}{where} {one.text}  ({one.kind})")
    return lines


def counted(findings: Sequence[Finding]) -> str:
    """Return how many there are of each severity: ``1 conflict, 2 drift``."""
    words: dict[Severity, str] = {
        "conflict": "in conflict",
        "unknown": "unknown",
        "drift": "missing",
        "note": "to note",
    }
    counts = {key: sum(one.severity == key for one in findings) for key in words}
    return ", ".join(f"{count} {words[key]}" for key, count in counts.items() if count)

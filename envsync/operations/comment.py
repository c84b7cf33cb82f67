"""Comment: keep one comment on a pull request, which says what the newest plan says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envsync.ports.forge import Comment, Forge


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What became of the comment."""

    how: Literal["created", "edited", "unchanged"]
    comment: Comment


def say(forge: Forge, marker: str, body: str) -> Said:
    """Edit our comment that starts with *marker*, or make it.

    A comment that somebody else wrote is never touched, whatever it starts with. The whole is tried
    again after a failure, with a new look at what is there: the forge may have taken a comment
    whose answer got lost.
    """
    return forge.patiently(lambda: _say(forge, marker, body))


def _say(forge: Forge, marker: str, body: str) -> Said:
    found = next(
        (one for one in forge.comments() if one.own and one.body.lstrip().startswith(marker)), None
    )
    if found is None:
        return Said(how="created", comment=forge.create(body))
    # GitHub gives line ends as a browser sends them, GitLab takes white space off the end.
    if "\n".join(found.body.split("\r\n")).strip() == body.strip():
        return Said(how="unchanged", comment=found)
    return Said(how="edited", comment=forge.edit(found, body))

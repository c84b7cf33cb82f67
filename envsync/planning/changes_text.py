"""Package changes as lines of text, the same wherever they are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envsync.model.package_changes import PackageChange

FOLD = 20
"""Packages that nobody asked for by name are counted, not listed, beyond this number."""

NEW_BUILD = "new build"
"""What people are told of the same version with another build string, or other bytes."""

_SYMBOL = {"added": "+", "removed": "-"}


def changes_text(changes: Sequence[PackageChange], *, fold: int = FOLD) -> Iterator[str]:
    """Yield a line for each package that the spec names, and for the others while they are few.

    Platforms are told where the packages do not all move on the same ones.
    """
    direct = [change for change in changes if change.direct]
    others = [change for change in changes if not change.direct]
    shown = direct if len(others) > fold else [*direct, *others]
    width = max((len(change.name) for change in shown), default=0)
    everywhere = len({change.platforms for change in changes}) == 1
    for change in shown:
        yield _line(change, width, platforms=not everywhere)
    if len(shown) < len(changes):
        yield f"    … and {len(others)} packages that these need ({counted(others)})"


def counted(changes: Sequence[PackageChange]) -> str:
    """Return how many packages moved and how far: ``2 added, 1 minor``.

    One that comes from elsewhere now is counted as that as well: it must not hide among the others.
    """
    # Whoever has changes to count has loaded it; a plan without any does not.
    from envsync.model.package_changes import CHANGE_CLASSES

    counts = Counter(change.change for change in changes)
    builds = NEW_BUILD if counts["build"] == 1 else f"{NEW_BUILD}s"
    words = {kind: builds if kind == "build" else kind for kind in CHANGE_CLASSES}
    told = ", ".join(f"{counts[kind]} {words[kind]}" for kind in CHANGE_CLASSES if counts[kind])
    moved = sum(change.channel_changed for change in changes)
    return f"{told}; {moved} of these from another channel or host" if moved else told


def _line(change: PackageChange, width: int, *, platforms: bool) -> str:
    moved = " → ".join(filter(None, (change.before_version, change.after_version)))
    if change.change == "build":
        moved = f"{change.after_version}, {NEW_BUILD}"
    notes: list[str] = [] if change.change in {*_SYMBOL, "build"} else [change.change]
    if change.manager == "pip":
        notes.append("pip")
    notes += [f"from {after}, before from {before}" for before, after in change.channel_moves]
    if platforms:
        notes.append(f"[{', '.join(change.platforms)}]")
    if change.why:
        notes.append(f"needed by {change.why[-1]}")
    tail = "".join(f"  {note}" for note in notes)
    line = f"    {_SYMBOL.get(change.change, '~')} {change.name:<{width}}  {moved}{tail}"
    return " ".join(line.splitlines())

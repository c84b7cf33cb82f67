"""``reconcile:`` of ``envsync.yaml``: what happens without anybody asking."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from envsync.model.document import Faults, Node, as_bool, as_mapping, as_text, check_keys, shown

LockPolicy = Literal["stale", "never"]
Propose = Literal["branch", "commit"]

KEYS = ("branch", "lock", "refresh")
REFRESH_KEYS = ("every", "base_image", "cooldown", "propose")

_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_DAYS = re.compile(r"(?P<days>[1-9][0-9]{0,3})d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """When a lock that is satisfied is made again all the same, and what becomes of it."""

    every: int = 0
    """Days after which a lock is old; 0: never."""
    base_image: bool = False
    """Whether a base image's tag that moved makes a lock old."""
    cooldown: int = 0
    """Days that a package must have been published before it is chosen."""
    propose: Propose = "branch"
    """A branch for each environment, for people to merge; or a commit on the branch itself."""

    @property
    def wanted(self) -> bool:
        """Whether anything makes a lock old."""
        return bool(self.every or self.base_image)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconcile:
    """What ``envsync reconcile`` does by itself."""

    branch: str = ""
    """Of the remote; '' is the one that its HEAD names."""
    lock: LockPolicy = "stale"
    """stale: locks that do not satisfy their spec are made, committed and pushed; never: they are
    left to people."""
    refresh: Refresh = Refresh()


def read_reconcile(node: Node | None, faults: Faults) -> Reconcile:
    """Read the section; what it does not say has its default."""
    default = Reconcile()
    section = as_mapping(node, "'reconcile'", faults)
    if section is None:
        return default
    check_keys(section, KEYS, "'reconcile'", faults, {})
    branch = as_text(section.get("branch"), "'branch'", faults)
    if branch is not None and _BRANCH.fullmatch(branch.text) is None:
        faults.add(branch.where, f"A branch cannot be called {shown(branch.text)}")
        branch = None
    lock = _choice(section.get("lock"), "'lock'", ("stale", "never"), faults)
    return Reconcile(
        branch=branch.text if branch else "",
        lock="never" if lock == "never" else "stale",
        refresh=_refresh(section.get("refresh"), faults),
    )


def _refresh(node: Node | None, faults: Faults) -> Refresh:
    section = as_mapping(node, "'refresh'", faults)
    if section is None:
        return Refresh()
    check_keys(section, REFRESH_KEYS, "'refresh'", faults, {})
    propose = _choice(section.get("propose"), "'propose'", ("branch", "commit"), faults)
    return Refresh(
        every=_days(section.get("every"), "'every'", faults),
        base_image=bool(as_bool(section.get("base_image"), "'base_image'", faults)),
        cooldown=_days(section.get("cooldown"), "'cooldown'", faults),
        propose="commit" if propose == "commit" else "branch",
    )


def _choice(node: Node | None, what: str, known: tuple[str, ...], faults: Faults) -> str:
    text = as_text(node, what, faults)
    if text is None or text.text in known:
        return text.text if text else ""
    faults.add(
        text.where, f"{shown(text.text)} is not what {what} can be", f"Write {' or '.join(known)}."
    )
    return ""


def _days(node: Node | None, what: str, faults: Faults) -> int:
    text = as_text(node, what, faults)
    if text is None:
        return 0
    match = _DAYS.fullmatch(text.text)
    if match is None:
        faults.add(text.where, f"{shown(text.text)} is not a number of days", "Write it as 7d.")
        return 0
    return int(match["days"])

"""Refresh: locks that satisfy their specs, made again because they are old or their base moved."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from envsync.errors import EnvsyncError
from envsync.model.config import LOCKS
from envsync.model.reconcile import Refresh
from envsync.operations.lock_report import LockReport
from envsync.operations.reconcile import lock_message
from envsync.ports.upstream import Upstream

BRANCHES = "envsync/refresh/"
_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresher:
    """What a refresh is done with."""

    upstream: Upstream
    settings: Refresh
    moved: Callable[[Sequence[str]], frozenset[str]]
    """Of environments, those whose base image's tag names another image now."""
    upgrade: Callable[[str, datetime.datetime | None], LockReport]
    """Locks an environment anew, from what was published until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """What became of a refresh of one environment."""

    name: str
    did: str
    """``proposed``, ``committed``, ``unchanged``, or ``left``: people work on its branch."""
    branch: str = ""
    commit: str = ""
    """What the branch itself is at now, when it was committed there."""
    error: EnvsyncError | None = None


def refresh(
    tools: Refresher, names: Sequence[str], commit: str, now: float
) -> tuple[Refreshed, ...]:
    """Refresh those of *names* whose locks are old at *now*; the copy stands at *commit*, locked.

    One failing environment blocks no other.
    """
    settings = tools.settings
    if not settings.wanted:
        return ()
    moved = tools.moved(names) if settings.base_image else frozenset()
    old = {
        name
        for name in names
        if settings.every
        and 0 < tools.upstream.touched(f"{LOCKS}/{name}") <= now - settings.every * _DAY
    }
    newest = None
    if settings.cooldown:
        until = now - settings.cooldown * _DAY
        newest = datetime.datetime.fromtimestamp(until, datetime.UTC)
    done = []
    for name in sorted(old | moved):
        try:
            done.append(_one(tools, name, newest))
        except EnvsyncError as error:
            done.append(Refreshed(name=name, did="failed", error=error))
        commit = done[-1].commit or commit
        tools.upstream.back_to(commit)
    return tuple(done)


def _one(tools: Refresher, name: str, newest: datetime.datetime | None) -> Refreshed:
    report = tools.upgrade(name, newest)
    for outcome in report.environments:
        if outcome.error is not None:
            raise outcome.error
    if not any(outcome.wrote for outcome in report.environments):
        return Refreshed(name=name, did="unchanged")
    made = tools.upstream.commit(lock_message(report, "Refresh"), [LOCKS])
    if not made:
        return Refreshed(name=name, did="unchanged")
    if tools.settings.propose == "commit":
        # Whoever was quicker is seen by the next tick, which begins anew.
        if tools.upstream.push(made) == "moved":
            return Refreshed(name=name, did="unchanged")
        return Refreshed(name=name, did="committed", commit=made)
    branch = f"{BRANCHES}{name}"
    did = "proposed" if tools.upstream.propose(branch, made) else "left"
    return Refreshed(name=name, did=did, branch=branch)


def branches(done: Sequence[Refreshed]) -> Mapping[str, str]:
    """Return the branches that hold proposals, by environment."""
    return {one.name: one.branch for one in done if one.did == "proposed"}

"""Flags: what in a plan a reviewer should look at, the most dangerous first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from envsync.planning.plan import EnvironmentPlan

if TYPE_CHECKING:
    from envsync.model.package_changes import PackageChange

FlagCode = Literal[
    "bytes_changed",
    "channel_changed",
    "downgrade",
    "major",
    "platform_removed",
    "base_image_changed",
    "new_package",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One risk, and the packages that it is about."""

    code: FlagCode
    text: str
    """What it is and why it matters, in our words; nothing of it comes from a branch."""
    packages: tuple[str, ...] = ()


_OF_PACKAGES: tuple[tuple[FlagCode, str, Callable[[PackageChange], bool]], ...] = (
    (
        "bytes_changed",
        "same version and build, other bytes: was the package replaced where it comes from?",
        lambda change: any(
            d.before is not None
            and d.after is not None
            and (d.before.version, d.before.build, d.before.channel)
            == (d.after.version, d.after.build, d.after.channel)
            for d in change.details
        ),
    ),
    (
        "channel_changed",
        "another channel or host: other people make and publish these packages",
        lambda change: change.channel_changed,
    ),
    (
        "downgrade",
        "older version: fixes that the newer one had may be missing",
        lambda change: change.change == "downgrade",
    ),
    (
        "major",
        "new major version: code that uses it may have to change",
        lambda change: change.change == "major",
    ),
)

_OF_REASONS: tuple[tuple[FlagCode, str, frozenset[str]], ...] = (
    (
        "platform_removed",
        "platform removed: who runs on it gets no newer version",
        frozenset({"platform_removed"}),
    ),
    (
        "base_image_changed",
        "base image changed: the system below the packages is another one",
        frozenset({"base_image_changed", "image_changed"}),
    ),
)


def flags_of(plan: EnvironmentPlan, *, compared: bool) -> tuple[Flag, ...]:
    """Return what to look at; *compared* says that it is compared with a branch."""
    return tuple(_flags(plan, compared))


def _flags(plan: EnvironmentPlan, compared: bool) -> Iterator[Flag]:
    for code, text, is_one in _OF_PACKAGES:
        found = _names(plan, is_one)
        if found:
            yield Flag(code=code, text=text, packages=found)
    codes = {reason.code for reason in plan.reasons}
    for code, text, of in _OF_REASONS:
        if codes & of:
            yield Flag(code=code, text=text)
    # In an environment that is new itself every package is, and none stands out.
    if "environment_new" not in codes and (compared or plan.before_version):
        added = _names(plan, lambda change: change.change == "added")
        if added:
            text = "new package: this environment did not have it before"
            yield Flag(code="new_package", text=text, packages=added)


def _names(plan: EnvironmentPlan, is_one: Callable[[PackageChange], bool]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(change.name for change in plan.changes if is_one(change)))

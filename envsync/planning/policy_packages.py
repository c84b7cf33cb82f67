"""Rules about packages and their locks: which, under which licence, how old and how new."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator

from envsync.model.licenses import allowed_by, forbidden_by, is_spdx, named_by
from envsync.model.lock import LockedPackage
from envsync.model.match_spec import match_spec_name
from envsync.model.package_changes import direct_names
from envsync.model.policy import Breach, Licenses
from envsync.planning.policy_case import Case, few, listed

_RUNS = re.compile(r"[-_.]+")


def forbidden_packages(case: Case) -> Iterator[Breach]:
    """Yield packages that nothing may lock; without versions already what the spec asks for."""
    for item in case.policy.forbidden:
        name, versions = _split(item.text)
        found: dict[str, list[str]] = {}
        for package in case.packages:
            if _same(package.name, name) and _matches(case, package, versions):
                found.setdefault(_called(package), []).append(package.platform)
        for called, platforms in found.items():
            where = ", ".join(sorted(set(platforms)))
            hint = (
                case.relock("Choose another version", called.partition(" ")[0])
                if versions
                else "Take out what asks for it, and lock again."
            )
            yield case.breach(
                "packages", item.where, f"has {item.text}", f"{called} is locked ({where})", hint,
                "forbidden",
            )  # fmt: skip
        direct = {one for names in direct_names(case.spec.conda).values() for one in names}
        if not versions and not found and any(_same(one, name) for one in direct):
            yield case.breach(
                "packages", item.where, f"has {item.text}", f"{case.written} asks for it",
                "Take it out.", "forbidden",
            )  # fmt: skip


def required_packages(case: Case) -> Iterator[Breach]:
    """Yield packages that a lock lacks; an environment without conda packages is not asked."""
    for platform, packages in case.lock.packages.items() if case.lock else ():
        for item in case.policy.required:
            name, versions = _split(item.text)
            found = [package for package in packages if _same(package.name, name)]
            if any(_matches(case, package, versions) for package in found):
                continue
            what = f"{_called(found[0])} is locked" if found else f"{name} is not locked"
            yield case.breach(
                "packages", item.where, f"has {item.text}", f"{what} ({platform})",
                case.relock(f"Add '{item.text}' to {case.written} and lock again"), "required",
            )  # fmt: skip


def _split(text: str) -> tuple[str, str]:
    """Return the name in a match spec, and the rest of it."""
    name = match_spec_name(text)
    return name, text.strip()[len(name) :].strip()


def _same(one: str, other: str) -> bool:
    """Tell whether two names are one, as an index compares them: it must not matter who brings it.

    Source: https://packaging.python.org/en/latest/specifications/name-normalization/
    """
    return _RUNS.sub("-", one).lower() == _RUNS.sub("-", other).lower()


def _matches(case: Case, package: LockedPackage, versions: str) -> bool:
    return not versions or case.rules.matches(f"{package.name} {versions}", package)


def _called(package: LockedPackage) -> str:
    return f"{package.name} {package.version}"


def licenses(case: Case) -> Iterator[Breach]:
    """Yield packages with a licence that is not allowed, forbidden, or not known."""
    rule = case.policy.licenses
    if rule is None:
        return
    for text, names in sorted(_by_license(case, rule).items()):
        if _unknown(rule, text):
            if rule.unknown == "refuse":
                yield _unknown_license(case, rule, text, names)
            continue
        hint = case.relock("Take out what asks for it and lock again")
        if forbidden_by([item.text for item in rule.forbidden], text):
            alone = [item for item in rule.forbidden if forbidden_by([item.text], text)]
            items = alone[:1] or rule.forbidden
            yield case.breach(
                "licenses", items[0].where, f"has {listed([item.text for item in items])}",
                f"{few(names, 'is', 'are')} {text}", hint, "forbidden",
            )  # fmt: skip
        if rule.allowed is not None and not allowed_by(rule.allowed.texts, text):
            yield case.breach(
                "licenses", rule.allowed.where, f"has {listed(rule.allowed.texts)}",
                f"{few(names, 'is', 'are')} {text}", hint, "allowed",
            )  # fmt: skip


def unknown_licenses(case: Case) -> Iterator[Breach]:
    """Yield packages whose licence is not known, where the policy lets them pass with a word."""
    rule = case.policy.licenses
    if rule is None or rule.unknown != "warn":
        return
    for text, names in sorted(_by_license(case, rule).items()):
        if _unknown(rule, text):
            yield _unknown_license(case, rule, text, names)


def _by_license(case: Case, rule: Licenses) -> dict[str, list[str]]:
    known = case.lock.image.licenses if case.lock else {}
    found: dict[str, list[str]] = {}
    for package in case.packages:
        text = rule.of.get(package.name) or known.get(package.file_name, "")
        found.setdefault(text, []).append(package.name)
    return found


def _unknown(rule: Licenses, text: str) -> bool:
    """Tell whether neither the SPDX list nor the policy knows a licence."""
    patterns = [*(rule.allowed.texts if rule.allowed else ()), *(i.text for i in rule.forbidden)]
    return not text or not (is_spdx(text) or named_by([p for p in patterns if p != "*"], text))


def _unknown_license(case: Case, rule: Licenses, text: str, names: list[str]) -> Breach:
    what = f"{few(names, 'has', 'have')} " + (
        f"{text!r}, which is no SPDX licence" if text else "no known licence"
    )
    return case.breach(
        "licenses", rule.unknown_at, f"is {rule.unknown}", what,
        f"Find out, and write below 'licenses':\n    of: {{{names[0]}: MIT}}", "unknown",
    )  # fmt: skip


def lock_age(case: Case) -> Iterator[Breach]:
    """Yield a lock that is too old, that does not say how old it is, or that is of the future.

    Days are compared as texts: nothing in a lock can break that.
    """
    rule = case.policy.max_lock_age
    if rule is None or case.lock is None or case.day is None:
        return
    chosen = case.lock.image.chosen
    # A day more: where it is written and where it is judged, the clocks differ a little.
    if not chosen:
        found = "its lock does not say when it was made"
    elif chosen > (case.day + datetime.timedelta(days=1)).isoformat():
        found = f"its lock is of {chosen}, which is to come"
    elif chosen < (case.day - datetime.timedelta(days=rule.days)).isoformat():
        found = f"its lock is of {chosen}, and it is judged on {case.day}"
    else:
        return
    yield case.breach(
        "max_lock_age", rule.where, f"is {rule}", found,
        f"Choose everything anew:\n    envsync lock {case.spec.name} --upgrade",
    )  # fmt: skip


def cooldown(case: Case) -> Iterator[Breach]:
    """Yield packages that were released too short a time ago, where their day is known."""
    rule = case.policy.cooldown
    if rule is None or case.lock is None or case.day is None:
        return
    newest = (case.day - datetime.timedelta(days=rule.days)).isoformat()
    days = case.lock.image.released
    young: dict[str, list[LockedPackage]] = {}
    for package in case.packages:
        if (day := days.get(package.file_name, "")) > newest:
            young.setdefault(day, []).append(package)
    for day, packages in sorted(young.items()):
        called = sorted(map(_called, packages))
        names = sorted({package.name for package in packages})
        yield case.breach(
            "cooldown", rule.where, f"is {rule}",
            f"{few(called, 'was', 'were')} released on {day}, and it is judged on {case.day}",
            case.relock("Choose again among what is old enough", *names),
        )  # fmt: skip

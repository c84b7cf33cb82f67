"""A plan from its JSON document, which somebody else may have written: nothing in it is believed.

What follows from other parts of the document (flags, ids, how far a package moved, what the state
means for the checks) is worked out again and not read.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from envsync.errors import InvalidInput
from envsync.model.json_schema import schema_faults
from envsync.model.json_text import read_json
from envsync.model.names import is_name
from envsync.model.package_changes import (
    PackageChange,
    PackageState,
    PlatformChange,
    classify,
)
from envsync.planning.checks import checks_of
from envsync.planning.plan import Action, Base, Check, Effort, EnvironmentPlan, Plan, Reason
from envsync.planning.plan_document import FORMAT_VERSION

SIZE_LIMIT = 20 * 1024 * 1024
"""Bytes of a plan file; a plan of 1,000 changed environments has a fraction of it."""

_FAULTS_SHOWN = 10
_SIDES = ("before", "after")


def read_plan(data: bytes, schema: Mapping[str, Any], label: str) -> Plan:
    """Return the plan in *data*; InvalidInput says what is wrong with *label*.

    *schema* is ``plan.schema.json``.
    """
    document = _document(data, label)
    version = document.get("format_version")
    if isinstance(version, str) and _newer(version):
        raise InvalidInput(
            f"{label} was made by a newer envsync",
            detail=f"It has format {version[:20]}, this envsync reads up to {FORMAT_VERSION}.",
            hint="Use the same version of envsync for both steps.",
        )
    found = list(itertools.islice(schema_faults(document, schema), _FAULTS_SHOWN))
    found += [
        f"environments[{number}].name: is not the name of an environment"
        for number, environment in enumerate(document["environments"] if not found else ())
        # The folder of one that cannot be built may be called anything.
        if environment["state"] != "invalid" and not is_name(environment["name"])
    ]
    found += [] if found else itertools.islice(_torn(document), _FAULTS_SHOWN)
    if found:
        raise _wrong(label, "\n".join(found[:_FAULTS_SHOWN]))
    return _plan(document)


def _torn(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield which packages do not move in one way on all their platforms, as each entry must."""
    for number, environment in enumerate(document["environments"]):
        for place, package in enumerate(environment["packages"]):
            moves = {
                tuple(None if d[side] is None else d[side]["version"] for side in _SIDES)
                for d in package["platforms"]
            }
            if len(moves) != 1 or moves == {(None, None)}:
                where = f"environments[{number}].packages[{place}].platforms"
                yield f"{where}: do not say one version before and one after"


def _newer(version: str) -> bool:
    try:
        return [int(part) for part in version.split(".")] > [1, int(FORMAT_VERSION[2:])]
    except ValueError:
        return False


def _document(data: bytes, label: str) -> dict[str, Any]:
    if len(data) > SIZE_LIMIT:
        raise _wrong(label, f"It has more than {SIZE_LIMIT} bytes.")
    try:
        document = read_json(data)
    except ValueError as error:
        raise _wrong(label, f"It is not JSON: {str(error)[:200]}") from None
    if not isinstance(document, dict):
        raise _wrong(label, "It is not a JSON object.")
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _wrong(label, "It has half a character: \\ud800 to \\udfff.") from None
    return document


def _wrong(label: str, detail: str) -> InvalidInput:
    hint = "Make one:\n    envsync plan --base origin/main --out plan.json"
    return InvalidInput(f"{label} is not a saved plan", detail=detail, hint=hint)


def _plan(document: Mapping[str, Any]) -> Plan:
    base = document.get("base")
    return Plan(
        commit=document["commit"],
        registry=document["registry"],
        environments=tuple(map(_environment, document["environments"])),
        removed=tuple(document["removed"]),
        uncommitted=tuple(document["uncommitted"]),
        base=Base(**base) if base is not None else None,
        policy_from=document.get("policy", {}).get("from", ""),
        policy_changed=document.get("policy", {}).get("changed", False),
    )


def _environment(document: Mapping[str, Any]) -> EnvironmentPlan:
    effort = document["effort"]
    plan = EnvironmentPlan(
        name=document["name"],
        state=document["state"],
        reasons=tuple(Reason(**reason) for reason in document["reasons"]),
        actions=tuple(Action(**action) for action in document["actions"]),
        before_version=document["before"]["version"],
        after_version=document["after"]["version"],
        before_definition=document["before"]["definition"],
        definition=document["after"]["definition"],
        digest=document["digest"],
        copy_from=document["copy_from"],
        platforms=tuple(document["platforms"]),
        changes=tuple(map(_change, document["packages"])),
        effort=Effort(**effort) if effort is not None else None,
        hint=document["hint"],
        notices=tuple(Reason(**notice) for notice in document.get("notices", ())),
    )
    own = checks_of(plan)
    found = (Check(**check) for check in document.get("checks", ()))
    return replace(plan, checks=tuple(check for check in found if check not in own))


def _change(document: Mapping[str, Any]) -> PackageChange:
    asked = document.get("asked", {"before": "", "after": ""})
    first = document["platforms"][0]
    before, after = (first[side] and first[side]["version"] for side in _SIDES)
    return PackageChange(
        name=document["name"],
        manager=document["manager"],
        change=classify(before, after),
        before_version=before or "",
        after_version=after or "",
        direct=document["direct"],
        why=tuple(document["why"]),
        details=tuple(
            PlatformChange(
                platform=detail["platform"],
                before=_state(detail["before"]),
                after=_state(detail["after"]),
            )
            for detail in document["platforms"]
        ),
        asked_before=asked["before"],
        asked_after=asked["after"],
    )


def _state(document: Mapping[str, Any] | None) -> PackageState | None:
    return None if document is None else PackageState(**document)

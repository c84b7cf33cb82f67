"""Plans as text and as JSON: golden for every state, valid by the schema that is shipped."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import envsync.planning
from envsync.model.lock import LockedPackage, Manager
from envsync.model.package_changes import package_changes
from envsync.model.reading import ABSENT, Present
from envsync.planning.diff import blocked_plan, diff, unknown_plan
from envsync.planning.plan import CHANGING, Effort, EnvironmentPlan, Plan, Reason
from envsync.planning.plan_document import plan_document
from envsync.planning.plan_text import plan_text, verdict
from envsync.planning.sizes import size
from envsync.planning.states import Blocked, Observed
from tests.golden import Golden
from tests.test_diff import OTHER, REFUSED, SILENT, conflicts, desired, published, record

SCHEMA = json.loads((Path(envsync.planning.__file__).parent / "plan.schema.json").read_bytes())
VALIDATOR = Draft202012Validator(SCHEMA)
DIRECT: dict[Manager, frozenset[str]] = {
    "conda": frozenset({"python", "numpy", "old-tool"}),
    "pip": frozenset({"requests"}),
}


def package(
    name: str, version: str, *, build: str = "0", manager: Manager = "conda",
    platform: str = "linux-64", channel: str = "conda-forge", needs: tuple[str, ...] = (),
) -> LockedPackage:  # fmt: skip
    file = f"{name}-{version}-{build}"
    return LockedPackage(
        manager=manager,
        name=name,
        version=version,
        build=build,
        platform=platform,
        url=f"https://conda.anaconda.org/{channel}/{platform}/{file}.conda",
        sha256=f"{file}{channel}{platform}".encode().hex().ljust(64, "0")[:64],
        depends=dict.fromkeys(needs, ""),
    )


def moved(transitive: int = 3) -> dict[str, tuple[LockedPackage, ...]]:
    """Return what was locked before, with so many packages that nobody asked for."""
    names = tuple(f"lib{number:02d}" for number in range(transitive))
    return {
        "linux-64": (
            package("python", "3.11.8"),
            package("numpy", "1.26.4", needs=names),
            package("old-tool", "1.0"),
            package("openssl", "3.2.0", channel="conda-forge"),
            package("requests", "2.31.0", manager="pip"),
            *(package(name, "1.0.0") for name in names),
        )
    }


def now(transitive: int = 3) -> dict[str, tuple[LockedPackage, ...]]:
    names = tuple(f"lib{number:02d}" for number in range(transitive))
    return {
        "linux-64": (
            package("python", "3.12.1"),
            package("numpy", "2.0.0", needs=(*names, "blas")),
            package("blas", "1.0"),
            package("openssl", "3.2.0", build="1"),
            package("requests", "2.30.0", manager="pip"),
            *(package(name, "1.0.1") for name in names),
        )
    }


def explained(plan: EnvironmentPlan, transitive: int = 3) -> EnvironmentPlan:
    """Add what operations find out about a plan that changes something."""
    before = {"create": {}, "republish": now(transitive)}.get(plan.state, moved(transitive))
    return replace(
        plan,
        changes=package_changes(before, now(transitive), DIRECT),
        effort=Effort(bytes_to_push=123_456_789, layers_to_push=3, layers=40),
    )


def states() -> Mapping[str, EnvironmentPlan]:
    """Return a plan for each state, and for each reason of a conflict."""
    wanted = desired()
    agreed = published(wanted, record(wanted))
    old = record(desired("old"))
    two_lines = "conda.yaml:3:5: 'nunpy' is no package\nconda.yaml:4:5: 'skypi' is no package"
    found = {
        "create": explained(diff(wanted, Observed(name="train"))),
        "new-version": explained(diff(wanted, Observed(name="train", records=(old,)))),
        "new-version-30-packages": explained(
            diff(wanted, Observed(name="train", records=(old,))), 30
        ),
        "reuse-published": diff(wanted, replace(published(wanted), version_tag=ABSENT)),
        "reuse-of-another": diff(wanted, Observed(name="train", sibling=Present("serve"))),
        "republish": explained(diff(wanted, Observed(name="train", records=(record(wanted),)))),
        "retag": diff(wanted, replace(agreed, version_tag=ABSENT)),
        "in-sync": diff(wanted, agreed),
        "unknown": unknown_plan("train", SILENT),
        "not-allowed": unknown_plan("train", REFUSED, SILENT),
        "invalid": blocked_plan(
            Blocked(name="train", reason="spec_invalid", detail=two_lines, hint="Mend it.")
        ),
        "lock-missing": blocked_plan(
            Blocked(
                name="train",
                reason="lock_missing",
                detail="it was never locked",
                hint="Lock it and commit locks/train/:\n    envsync lock train",
            )
        ),
        "image": diff(
            desired(kind="image", copied=False), published(desired(kind="image", copied=False))
        ),
    }
    for number, (code, asked, observed) in enumerate(conflicts()):
        found[f"conflict-{number}-{code.replace('_', '-')}"] = diff(asked, observed)
    return found


STATES = states()


def plan_of(*environments: EnvironmentPlan, **more: Any) -> Plan:
    return Plan(
        commit="c0ffee" * 6 + "c0ff",
        registry="registry.test/team/envs",
        environments=environments,
        **more,
    )


def both(plan: Plan) -> str:
    """Return the text and, after a line, the JSON of a plan, which is valid."""
    document = plan_document(plan)
    VALIDATOR.validate(document)
    return f"{plan_text(plan)}\n\n{json.dumps(document, indent=1, ensure_ascii=False)}"


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("state", STATES)
def test_every_state_as_text_and_as_json(state: str, golden: Golden) -> None:
    text = both(plan_of(STATES[state]))
    golden.check(f"plan/{state}", text.partition("\n{\n")[0] if "30" in state else text)


def test_every_state_is_there() -> None:
    words = SCHEMA["$defs"]["environment"]["properties"]["state"]["enum"]
    assert {plan.state for plan in STATES.values()} == set(words)
    assert {plan.state for plan in STATES.values() if plan.actions} == CHANGING


def test_many_environments_at_once(golden: Golden) -> None:
    numbered = [replace(STATES["in-sync"], name=f"env-{number:02d}") for number in range(25)]
    named = [replace(plan, name=name) for name, plan in STATES.items()]
    plan = plan_of(
        *sorted([*named, *numbered], key=lambda one: one.name),
        removed=("gone", "long-gone"),
        uncommitted=("environments/new/environment.yaml", "envsync.yaml"),
    )
    text = plan_text(plan)
    golden.check("plan/many", text)
    assert text.splitlines()[-1] == verdict(plan), "the verdict is the last line"
    VALIDATOR.validate(plan_document(plan))


def test_no_environments(golden: Golden) -> None:
    golden.check("plan/none", both(plan_of()))


def test_packages_that_nobody_asked_for_are_counted_beyond_twenty() -> None:
    few, many = (plan_text(plan_of(explained(STATES["new-version"], n))) for n in (10, 30))
    assert "lib09" in few
    assert "lib09" not in many
    assert "needed by numpy" in few
    for text in (few, many):
        assert "python" in text
        assert "1.26.4 → 2.0.0" in text
    assert "and 32 packages that these need" in many


def test_the_command_that_carries_a_plan_out_stands_alone_on_its_line() -> None:
    plan = plan_of(STATES["create"])
    assert f"    envsync apply --plan-id {plan.id[:16]}" in plan_text(plan).splitlines()
    assert "envsync apply" not in plan_text(plan_of(STATES["in-sync"]))


def test_the_id_of_a_plan_is_of_what_changes_in_it() -> None:
    one, other = STATES["create"], replace(STATES["retag"], name="serve")
    assert plan_of(one, other).id == plan_of(other, one, STATES["in-sync"]).id
    assert plan_of(one).id != plan_of(one, other).id
    assert plan_of(one).id == replace(plan_of(one), commit="d" * 40, uncommitted=("x",)).id
    assert plan_of().id == plan_of(STATES["in-sync"], STATES["unknown"]).id


def test_documents_say_nothing_of_clocks() -> None:
    assert plan_document(plan_of(STATES["create"])) == plan_document(plan_of(STATES["create"]))
    text = json.dumps(plan_document(plan_of(*STATES.values())))
    assert not any(word in text for word in ("time", 'date"', "created"))


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (123_456, "123.5 kB"),
        (5_000_000, "5.0 MB"),
        (7_000_000_000, "7.0 GB"),
        (2 * 10**12, "2.0 TB"),
    ],
)
def test_sizes_in_words(count: int, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize("digest", ["sha256:x", "abc", None])
def test_the_schema_refuses_what_a_plan_never_says(digest: object) -> None:
    document = json.loads(json.dumps(plan_document(plan_of(STATES["reuse-published"]))))
    assert VALIDATOR.is_valid(document)
    document["environments"][0]["digest"] = digest
    assert not VALIDATOR.is_valid(document)


def test_reasons_have_codes_of_their_own() -> None:
    codes = {reason.code for plan in STATES.values() for reason in plan.reasons}
    assert all(code.replace("_", "").isalpha() for code in codes)
    assert OTHER not in str(codes)
    assert Reason(code="first_version", text="there is no version yet") in STATES["create"].reasons


def test_a_plan_that_changes_nothing_needs_nothing_that_knows_packages() -> None:
    probe = (
        "import sys, envsync.planning.plan_text, envsync.planning.plan_document,"
        "envsync.cli.commands.plan; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    packages = {"packaging", "rattler", "envsync.model.package_changes", "envsync.model.own_wheels"}
    assert packages & set(done.stdout.split()) == set()

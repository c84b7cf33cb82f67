"""Plans as files: what `plan --out` writes the commenting job reads back, and believes no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from envsync.cli.commands.comment import read_saved
from envsync.errors import InvalidInput
from envsync.model.names import is_name
from envsync.model.package_changes import (
    PackageChange,
    PackageState,
    PlatformChange,
    classify,
    package_changes,
)
from envsync.planning.flags import FlagCode, flags_of
from envsync.planning.plan import (
    Action,
    Base,
    Check,
    CheckVerdict,
    Effort,
    EnvironmentPlan,
    Plan,
    Reason,
    State,
    Verb,
)
from envsync.planning.plan_document import plan_document
from envsync.planning.plan_markdown import plan_markdown
from envsync.planning.plan_reader import read_plan
from tests.parts.rendered import github_html, rendered
from tests.reliability.counts import count
from tests.team import Team
from tests.test_plan_output import DIRECT, SCHEMA, STATES, explained, package, plan_of

VALIDATOR = Draft202012Validator(SCHEMA)
BASE = Base(ref="origin/main", commit="a" * 40, fork="b" * 40)


def written(plan: Plan) -> bytes:
    """Return the file that the command writes."""
    return json.dumps(plan_document(plan), indent=2, ensure_ascii=False).encode()


def read(data: bytes) -> Plan:
    return read_plan(data, SCHEMA, "plan.json")


def flagged() -> dict[str, EnvironmentPlan]:
    """Return a plan with each flag."""
    plan = STATES["new-version"]
    moves = {
        "bytes_changed": (("1.0", "0", "conda-forge"), ("1.0", "0", "conda-forge")),
        "channel_changed": (("1.0", "0", "conda-forge"), ("1.0", "0", "somebody")),
        "downgrade": (("1.1", "0", "conda-forge"), ("1.0", "0", "conda-forge")),
        "major": (("1.1", "0", "conda-forge"), ("2.0", "0", "conda-forge")),
        "new_package": (None, ("2.0", "0", "conda-forge")),
    }
    found: dict[str, EnvironmentPlan] = {}
    for code, sides in moves.items():
        before, after = (
            {
                "linux-64": tuple(
                    replace(
                        package("lib", side[0], build=side[1], channel=side[2]), sha256=mark * 64
                    )
                    for side in [one]
                    if side is not None
                )
            }
            for one, mark in zip(sides, "ab", strict=True)
        )
        found[code] = replace(plan, changes=package_changes(before, after, DIRECT))
    for code in ("platform_removed", "base_image_changed"):
        found[code] = replace(plan, reasons=(*plan.reasons, Reason(code=code, text="x")))
    return found


def same(plan: Plan) -> None:
    """Check that a plan is read back as it was written, and says the same."""
    data = written(plan)
    again = read(data)
    assert plan_document(again) == plan_document(plan)
    assert written(again) == data
    assert again.id == plan.id
    assert plan_markdown(again) == plan_markdown(plan)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("base", [None, BASE], ids=["a commit", "a branch"])
def test_each_state_is_read_as_it_was_written(state: str, base: Base | None) -> None:
    same(plan_of(STATES[state], base=base))


def test_every_flag_has_a_plan() -> None:
    assert set(flagged()) == set(get_args(FlagCode))


@pytest.mark.parametrize("flag", flagged())
def test_each_flag_is_read_as_it_was_written(flag: str) -> None:
    environment = flagged()[flag]
    plan = plan_of(environment, base=BASE)
    assert flag in {one.code for one in flags_of(environment, compared=True)}
    same(plan)
    document = json.loads(written(plan))
    assert flag in {one["code"] for one in document["environments"][0]["flags"]}


# By chance ----------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
HASHES = st.sampled_from(["", "a" * 64, "0123456789abcdef" * 4])
NAMES = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,20}", fullmatch=True)


@st.composite
def changes(draw: st.DrawFn) -> PackageChange:
    before, after = draw(st.tuples(st.none() | TEXTS, st.none() | TEXTS).filter(any_of))
    platforms = draw(st.lists(TEXTS, min_size=1, max_size=3, unique=True).map(sorted))

    def state(version: str | None) -> PackageState | None:
        if version is None:
            return None
        return PackageState(
            version=version, build=draw(TEXTS), channel=draw(TEXTS), sha256=draw(HASHES)
        )

    return PackageChange(
        name=draw(TEXTS),
        manager=draw(st.sampled_from(["conda", "pip"])),
        change=classify(before, after),
        before_version=before or "",
        after_version=after or "",
        direct=draw(st.booleans()),
        why=tuple(draw(st.lists(TEXTS, max_size=3))),
        details=tuple(
            PlatformChange(platform=platform, before=state(before), after=state(after))
            for platform in platforms
        ),
        asked_before=draw(TEXTS),
        asked_after=draw(TEXTS),
    )


def any_of(pair: tuple[str | None, str | None]) -> bool:
    return pair != (None, None)


REASONS = st.builds(Reason, code=TEXTS, text=TEXTS)
CHECKS = st.builds(
    Check,
    name=TEXTS,
    verdict=st.sampled_from(get_args(CheckVerdict)),
    text=TEXTS.map("found: {}".format),
)
EFFORTS = st.builds(
    Effort,
    bytes_to_push=st.integers(0, 10**12),
    layers_to_push=st.integers(0, 100),
    layers=st.integers(0, 127),
)


@st.composite
def environments(draw: st.DrawFn) -> EnvironmentPlan:
    state = draw(st.sampled_from(get_args(State)))
    return EnvironmentPlan(
        name=draw(TEXTS if state == "invalid" else NAMES),
        state=state,
        reasons=tuple(draw(st.lists(REASONS, min_size=1, max_size=3))),
        actions=tuple(
            draw(st.lists(st.builds(Action, verb=st.sampled_from(get_args(Verb)), target=TEXTS)))
        ),
        before_version=draw(TEXTS),
        after_version=draw(TEXTS),
        before_definition=draw(HASHES),
        definition=draw(HASHES),
        digest=draw(st.sampled_from(["", f"sha256:{'c' * 64}"])),
        copy_from=draw(TEXTS),
        platforms=tuple(draw(st.lists(TEXTS, max_size=3))),
        changes=tuple(draw(st.lists(changes(), max_size=4))),
        effort=draw(st.none() | EFFORTS),
        hint=draw(TEXTS),
        notices=tuple(draw(st.lists(REASONS, max_size=2))),
        checks=tuple(draw(st.lists(CHECKS, max_size=2))),
    )


PLANS = st.builds(
    Plan,
    commit=st.sampled_from(["c0ffee" * 6 + "c0ff", "d" * 64]),
    registry=TEXTS,
    environments=st.lists(environments(), max_size=3).map(tuple),
    removed=st.lists(TEXTS, max_size=3).map(tuple),
    uncommitted=st.lists(TEXTS, max_size=3).map(tuple),
    policy_from=st.sampled_from(["", "e" * 40]),
    policy_changed=st.booleans(),
    base=st.none() | st.builds(Base, ref=TEXTS, commit=st.just("a" * 40), fork=st.just("b" * 40)),
)


@settings(max_examples=200)
@given(plan=PLANS)
def test_any_plan_is_read_as_it_was_written(plan: Plan) -> None:
    VALIDATOR.validate(plan_document(plan))
    assert read(written(plan)) == plan
    same(plan)
    assert rendered(github_html(plan_markdown(plan))).faults() == []
    count("X12", **{"plans by chance": 1})


VALUES: tuple[Any, ...] = (
    None, True, -1, 10**30, 1.5, "", "@everyone", "x\n/close", "` @everyone", "a{before}b",
    "\ud800", "9" * 5000, [], {}, [None], "in_sync", "patch", "a" * 64, "x" * 100_000,
)  # fmt: skip


@st.composite
def tampered(draw: st.DrawFn) -> bytes:
    """A plan file in which one value was replaced, removed or added."""
    environment = draw(st.sampled_from([*STATES.values(), *flagged().values()]))
    document = json.loads(written(plan_of(environment, base=draw(st.sampled_from([None, BASE])))))
    node: Any = document
    key: Any = None
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw(st.sampled_from(keys)) if keys else None
        inner = node[key] if keys else None
        if not (isinstance(inner, dict | list) and inner and draw(st.integers(0, 5))):
            break
        node = inner
    what = draw(st.sampled_from(["replace", "remove", "add"]))
    if what == "add" or key is None:
        node.append(draw(st.sampled_from(VALUES))) if isinstance(node, list) else node.update(
            more=1
        )
    elif what == "remove":
        del node[key]
    else:
        node[key] = draw(st.sampled_from(VALUES))
    return json.dumps(document).encode()


@settings(max_examples=500)
@given(data=tampered())
def test_a_plan_that_was_tampered_with_is_refused_or_worked_out_again(data: bytes) -> None:
    try:
        plan = read(data)
    except InvalidInput:
        count("X7", **{"plans tampered": 1, "plans refused": 1})
        return
    document = plan_document(plan)
    VALIDATOR.validate(document)
    assert plan_document(read(written(plan))) == document
    assert rendered(github_html(plan_markdown(plan))).faults() == []
    count("X7", **{"plans tampered": 1, "plans worked out again": 1})


DERIVED: dict[str, Callable[[Any], object]] = {
    "plan_id": lambda d: d.update(plan_id="0" * 64),
    "changes": lambda d: d.update(changes=0),
    "id": lambda d: d["environments"][0].update(id="0" * 64),
    "flags": lambda d: d["environments"][0].update(flags=[]),
    "checks": lambda d: d["environments"][0].update(checks=[]),
    "class": lambda d: [p.update({"class": "patch"}) for p in _packages(d)],
    "before_version": lambda d: [p.update(before_version="2.30.0") for p in _packages(d)],
    "after_version": lambda d: [p.update(after_version="2.31.0") for p in _packages(d)],
    "channel_changed": lambda d: [p.update(channel_changed=True) for p in _packages(d)],
}
"""What follows from the rest of the file, and a way to lie about it."""


def _packages(document: Any) -> list[Any]:
    found: list[Any] = document["environments"][0]["packages"]
    return found


@pytest.mark.parametrize("field", DERIVED)
def test_what_follows_from_the_rest_is_worked_out_again(field: str) -> None:
    plan = plan_of(explained(STATES["new-version"]), base=BASE)
    document = json.loads(written(plan))
    DERIVED[field](document)
    assert document != json.loads(written(plan))
    assert read(json.dumps(document).encode()) == plan
    count("X7", **{"plans tampered": 1, "plans worked out again": 1})


def _two_moves(package: Any) -> None:
    one = json.loads(json.dumps(package["platforms"][0]))
    one["platform"], one["after"]["version"] = "linux-aarch64", "0.1"
    package["platforms"].append(one)


TORN: dict[str, Callable[[Any], object]] = {
    "no platform": lambda p: p.update(platforms=[]),
    "two versions": _two_moves,
    "nothing on both sides": lambda p: p["platforms"][0].update(before=None, after=None),
}


@pytest.mark.parametrize("case", TORN)
def test_a_package_moves_in_one_way_or_the_file_is_refused(case: str) -> None:
    document = json.loads(written(plan_of(explained(STATES["new-version"]))))
    TORN[case](_packages(document)[0])
    with pytest.raises(InvalidInput) as caught:
        read(json.dumps(document).encode())
    assert "environments[0].packages[0].platforms" in caught.value.detail
    count("X7", **{"plans tampered": 1, "plans refused": 1})


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_half_characters_are_refused(text: str) -> None:
    document = {**json.loads(written(plan_of(STATES["create"]))), "registry": text}
    with pytest.raises(InvalidInput):
        read(json.dumps(document).encode())


# With the commands --------------------------------------------------------------------------------


def through_a_file(team: Team, folder: Path, *options: str) -> Plan:
    """Plan into a file; what the comment says of it is what the plan says by itself."""
    out = folder / "plan.json"
    done = team.envsync("plan", "--out", str(out), "--format", "markdown", *options)
    shown = team.envsync("comment", "--plan", str(out), "--show")
    assert (shown.code, shown.out) == (0, done.out)
    plan = read_saved(out, "plan.json")
    assert json.loads(out.read_bytes()) == plan_document(plan)
    return plan


def test_every_state_goes_through_a_file(server_team: Team, tmp_path: Path) -> None:
    team, seen = server_team, set[str]()
    assert team.registry is not None

    def state() -> str:
        (environment,) = through_a_file(team, tmp_path, "train").environments
        seen.add(environment.state)
        return environment.state

    team.ask("train", "tiny-00003")
    assert state() == "create"
    assert team.envsync("apply").code == 0
    assert state() == "in_sync"
    team.delete_tag("train", "1")
    assert state() == "retag"
    assert team.envsync("apply").code == 0
    team.ask("other", "tiny-00004")
    assert team.envsync("apply").code == 0
    team.ask("train", "tiny-00004")
    assert state() == "reuse"
    team.ask("train", "tiny-00005")
    assert state() == "new_version"
    team.spec("train", "tiny-00006")
    team.repository.commit("not locked")
    assert state() == "invalid"
    team.ask("train", "tiny-00003")
    team.delete_tag("train", "1")
    assert team.envsync("apply").code == 0
    team.wipe_registry()
    assert state() == "republish"
    team.registry.down()
    assert state() == "unknown"
    team.registry.up()
    team.ask("train", "tiny-00003", text="version: '1'")
    assert team.envsync("apply").code == 0
    team.ask("train", "tiny-00007", text="version: '1'")
    assert state() == "conflict"
    assert seen == set(get_args(State))
    count("X7", **{"states through a file": len(seen)})


@pytest.mark.parametrize("name", ["b\udcff", "two words", "@everyone", "-option"])
def test_a_folder_may_be_called_anything(folder_team: Team, tmp_path: Path, name: str) -> None:
    assert not is_name(name)
    folder_team.ask("train", "tiny-00003")
    folder_team.repository.git("branch", "base")
    path = folder_team.root / "environments" / name / "environment.yaml"
    path.parent.mkdir()
    path.write_text("name: x\nimage: scratch\n")
    (folder_team.root / "environments" / "\udcfe").write_text("not committed")
    folder_team.repository.git("add", "--", "environments")
    folder_team.repository.git("reset", "-q", "--", "environments/\udcfe")
    folder_team.repository.git("commit", "-qm", "a folder")
    plan = through_a_file(folder_team, tmp_path, "--base", "base")
    (environment,) = plan.environments
    assert environment.state == "invalid"
    assert rendered(github_html(plan_markdown(plan))).faults() == []
    folder_team.repository.git("branch", "with-folder")
    folder_team.repository.git("rm", "-rq", "--", f"environments/{name}")
    folder_team.repository.git("commit", "-qm", "no folder")
    assert len(through_a_file(folder_team, tmp_path, "--base", "with-folder").removed) == 1

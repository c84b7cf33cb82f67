"""The plan as a pure function: its laws, every state, and what its id depends on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envsync.model.canonical import sha256_hex
from envsync.model.definition import Definition, PackageIdentity, PlatformDefinition
from envsync.model.reading import ABSENT, Absent, Present, Reading, Unknown
from envsync.model.record import Record
from envsync.planning.diff import blocked_plan, diff, unknown_plan, version_to_be
from envsync.planning.plan import CHANGING, Action, EnvironmentPlan, Reason
from envsync.planning.states import Blocked, Desired, Observed, in_order, latest, moment

REFUSED = Unknown(why="not allowed", reason="the registry wants a login")
SILENT = Unknown(why="unavailable", reason="the registry does not answer")
OTHER = "sha256:" + "9" * 64


def definition_of(label: str, kind: str = "conda") -> Definition:
    if kind == "image":
        return Definition(kind="image", image_digest=f"sha256:{sha256_hex(label.encode())}")
    package = PackageIdentity(
        manager="conda",
        name=label,
        version="1.0",
        build="0",
        subdir="noarch",
        sha256=sha256_hex(label.encode()),
    )
    platform = PlatformDefinition(platform="linux-64", base_digest="", packages=(package,))
    return Definition(kind="conda", platforms=(platform,))


def digest_of(wanted: Desired) -> str:
    """Building is a pure function of the definition; so is this one."""
    if wanted.kind == "image":
        return wanted.base_digest
    return f"sha256:{sha256_hex(wanted.definition_hash.encode())}"


def desired(
    label: str = "one",
    *,
    name: str = "train",
    version: str | None = None,
    kind: str = "conda",
    copied: bool = True,
) -> Desired:
    definition = definition_of(label, kind)
    return Desired(
        name=name,
        kind=definition.kind,
        definition_hash=definition.hash,
        format=definition.format,
        request="e" * 64,
        version=version,
        platforms=("linux-64",),
        lock_sha256="a" * 64,
        image="",
        base_digest=definition.image_digest,
        copied=copied,
    )


def record(wanted: Desired, version: str = "1", created: int = 1_700_000_000) -> Record:
    return Record(
        name=wanted.name,
        version=version,
        definition=wanted.definition_hash,
        request=wanted.request,
        digest=digest_of(wanted),
        platforms=wanted.platforms,
        lock_sha256=wanted.lock_sha256,
        base_digest=wanted.base_digest,
        format=1,
        commit="c" * 40,
        created=created,
    )


def published(wanted: Desired, *records: Record) -> Observed:
    """Everything of *wanted* is in the registry."""
    digest = Present(digest_of(wanted))
    tag: Reading[str] = digest if wanted.copied else ABSENT
    return Observed(name=wanted.name, records=records, content=digest, version_tag=tag)


def verbs(plan: EnvironmentPlan) -> list[str]:
    return [action.verb for action in plan.actions]


@dataclass(slots=True)
class World:
    """Git's records and a registry, as values; carrying an action out changes them."""

    records: tuple[Record, ...] = ()
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    """(environment, tag) to digest."""

    def copy(self) -> World:
        return World(self.records, dict(self.tags))

    def of(self, name: str) -> tuple[Record, ...]:
        return in_order(tuple(r for r in self.records if r.name == name))

    def look(self, wanted: Desired) -> Observed:
        def read(name: str, tag: str) -> Reading[str]:
            found = self.tags.get((name, tag))
            return Present(found) if found else ABSENT

        own, content_tag = self.of(wanted.name), wanted.content_tag
        if not wanted.copied:
            return Observed(name=wanted.name, records=own, content=Present(wanted.base_digest))
        siblings = [n for n, tag in self.tags if tag == content_tag and n != wanted.name]
        return Observed(
            name=wanted.name,
            records=own,
            content=read(wanted.name, content_tag),
            version_tag=read(wanted.name, version_to_be(wanted, own)),
            sibling=Present(siblings[0]) if siblings else ABSENT,
        )

    def carry(self, wanted: Desired, plan: EnvironmentPlan, action: Action, date: int) -> bool:
        """Carry out one action of *plan*; tell whether anything moved."""
        before = self.copy()
        name, digest = wanted.name, digest_of(wanted)
        if action.verb == "publish":
            self.tags[name, action.target] = digest
        elif action.verb == "record":
            own = self.of(name)
            assert action.target == f"env/{name}/{plan.after_version}"
            assert plan.after_version not in {r.version for r in own}, "a record is written once"
            made = replace(record(wanted), version=plan.after_version, created=moment(date, own))
            self.records += (made,)
        elif action.verb == "tag":
            recorded = {r.version for r in self.of(name)}
            assert plan.after_version in recorded, "nothing is tagged before it is recorded"
            if action.target == "latest":
                newest = latest(self.of(name))
                assert newest is not None
                assert newest.version == plan.after_version, "latest never goes back"
            tag = f"git-{plan.after_version}" if action.target == "git" else action.target
            self.tags[name, tag] = digest
        return self != before

    def converge(self, wanted: Desired, date: int) -> list[Action]:
        """Carry out everything that a plan says; return the actions that moved something."""
        plan = diff(wanted, self.look(wanted))
        return [a for a in plan.actions if self.carry(wanted, plan, a, date)]


worlds = st.lists(
    st.tuples(
        st.sampled_from(["one", "two", "three"]),
        st.sampled_from(["train", "serve"]),
        st.sampled_from([None, None, None, "1.0", "7"]),
        st.integers(-5, 5),
    ),
    max_size=6,
)
"""What was asked for and carried out, one after another; dates of commits go back and forth."""

wishes = st.builds(
    desired, st.sampled_from(["one", "two", "three", "four"]), version=st.sampled_from([None, "7"])
)


def lived(history: list[tuple[str, str, str | None, int]]) -> World:
    world = World()
    for label, name, version, date in history:
        world.converge(desired(label, name=name, version=version), 1_700_000_000 + date)
    return world


@given(worlds, wishes)
def test_after_a_plan_is_carried_out_the_next_one_is_empty(
    history: list[tuple[str, str, str | None, int]], wanted: Desired
) -> None:
    world = lived(history)
    plan = diff(wanted, world.look(wanted))
    world.converge(wanted, 1_700_000_000)
    again = diff(wanted, world.look(wanted))
    assert again.state == ("conflict" if plan.state == "conflict" else "in_sync")
    assert again.actions == ()


@given(worlds, wishes, st.integers(-10, 10), st.data())
def test_every_prefix_of_a_plan_leaves_exactly_the_rest_to_do(
    history: list[tuple[str, str, str | None, int]], wanted: Desired, date: int, data: st.DataObject
) -> None:
    world, when = lived(history), 1_700_000_000 + date
    plan = diff(wanted, world.look(wanted))
    done = data.draw(st.integers(0, len(plan.actions)))
    whole, killed = world.copy(), world.copy()
    for action in plan.actions[:done]:
        killed.carry(wanted, plan, action, when)
        whole.carry(wanted, plan, action, when)
    rest = [a for a in plan.actions[done:] if whole.carry(wanted, plan, a, when)]
    assert killed.converge(wanted, when) == rest
    assert killed == whole


@given(worlds, wishes)
def test_a_wiped_registry_is_filled_again_with_the_same_digests_and_no_new_version(
    history: list[tuple[str, str, str | None, int]], wanted: Desired
) -> None:
    world = lived(history)
    world.converge(wanted, 1_700_000_000)
    records, before = world.records, dict(world.tags)
    if diff(wanted, world.look(wanted)).state == "conflict":
        return
    world.tags.clear()
    plan = diff(wanted, world.look(wanted))
    assert plan.state == "republish"
    world.converge(wanted, 1_700_000_000)
    assert world.records == records
    # An explicit version may be an old one, which latest then does not go back to.
    assert world.tags.items() <= before.items()
    assert world.tags[wanted.name, plan.after_version] == plan.digest


readings = st.sampled_from([ABSENT, REFUSED, SILENT, Present(OTHER), Present("")])


@given(
    wanted=st.builds(
        desired,
        st.just("one"),
        version=st.sampled_from([None, "1", "3"]),
        kind=st.sampled_from(["conda", "image"]),
        copied=st.booleans(),
    ),
    known=st.lists(st.sampled_from(["one", "two"]), max_size=3),
    content=readings,
    tag=readings,
    sibling=readings,
)
def test_a_failed_read_never_becomes_a_decision(
    wanted: Desired, known: list[str], content: Reading[str], tag: Reading[str],
    sibling: Reading[str],
) -> None:  # fmt: skip
    here = Present(digest_of(wanted))
    records = tuple(
        record(desired(label, kind=wanted.kind), str(number), number)
        for number, label in enumerate(known, start=1)
    )
    observed = Observed(
        name="train",
        records=records,
        content=here if content == Present("") else content,
        version_tag=here if tag == Present("") else tag,
        sibling=Present("serve") if sibling == Present("") else sibling,
    )
    plan = diff(wanted, observed)
    if any(isinstance(read, Unknown) for read in (content, tag)):
        assert plan.actions == ()
        assert plan.state in ("unknown", "conflict")
        codes = {reason.code for reason in plan.reasons}
        assert plan.state == "conflict" or codes <= {"not_allowed", "unavailable"}
    if "build" in verbs(plan) or "copy" in verbs(plan):
        assert isinstance(content, Absent), "only a proved absence leads to building"
        builds_new = plan.state in ("create", "new_version", "reuse")
        assert not (builds_new and isinstance(sibling, Unknown))
    if plan.state not in CHANGING:
        assert plan.actions == ()
    else:
        assert plan.actions != ()


def test_what_git_and_the_registry_agree_on_is_in_sync() -> None:
    wanted = desired()
    plan = diff(wanted, published(wanted, record(wanted)))
    assert (plan.state, plan.actions, plan.before_version, plan.after_version) == (
        ("in_sync", (), "1", "1")
    )


def test_the_first_version_is_built_published_recorded_and_tagged_in_this_order() -> None:
    plan = diff(desired(), Observed(name="train"))
    assert plan.state == "create"
    content = desired().content_tag
    assert [(a.verb, a.target) for a in plan.actions] == [
        ("build", content),
        ("publish", content),
        ("record", "env/train/1"),
        ("tag", "git"),
        ("tag", "latest"),
        ("tag", "1"),
    ]


def test_another_definition_is_a_new_version() -> None:
    plan = diff(desired("two"), Observed(name="train", records=(record(desired("one")),)))
    assert (plan.state, plan.before_version, plan.after_version) == ("new_version", "1", "2")
    assert verbs(plan) == ["build", "publish", "record", "tag", "tag", "tag"]


def test_what_is_published_and_not_recorded_is_adopted() -> None:
    wanted = desired()
    plan = diff(wanted, replace(published(wanted), version_tag=ABSENT))
    assert (plan.state, plan.digest) == ("reuse", digest_of(wanted))
    assert verbs(plan) == ["adopt", "record", "tag", "tag", "tag"]


def test_what_another_environment_holds_is_copied_from_it() -> None:
    plan = diff(desired(), Observed(name="train", sibling=Present("serve")))
    assert (plan.state, plan.copy_from) == ("reuse", "serve")
    assert verbs(plan) == ["copy", "publish", "record", "tag", "tag", "tag"]


def test_a_recorded_image_that_is_gone_is_published_again_and_not_recorded_again() -> None:
    wanted = desired()
    plan = diff(wanted, Observed(name="train", records=(record(wanted),)))
    assert (plan.state, plan.digest) == ("republish", record(wanted).digest)
    assert verbs(plan) == ["build", "publish", "tag", "tag", "tag"]


def test_a_missing_version_tag_is_put_again() -> None:
    wanted = desired()
    plan = diff(wanted, replace(published(wanted, record(wanted)), version_tag=ABSENT))
    assert plan.state == "retag"
    assert verbs(plan) == ["tag", "tag", "tag"]
    assert plan.actions[-1].target == "1", "seeing the version's tag proves the ones before it"


def test_an_older_definition_that_becomes_current_again_is_a_new_version_of_the_same_image() -> (
    None
):
    old, new = desired("one"), desired("two")
    records = (record(old, "1", 10), record(new, "2", 20))
    plan = diff(old, replace(published(old, *records), version_tag=ABSENT))
    assert (plan.state, plan.before_version, plan.after_version) == ("reuse", "2", "3")
    assert plan.digest == digest_of(old)
    assert verbs(plan) == ["adopt", "record", "tag", "tag", "tag"]


@pytest.mark.parametrize("dates", list(itertools.permutations([100, 200, 200, 300], 3)))
def test_the_newest_version_is_the_last_one_made_whatever_the_commits_dates(
    dates: tuple[int, ...],
) -> None:
    world = World()
    for label, date in zip(["one", "two", "one"], dates, strict=True):
        world.converge(desired(label), date)
    newest = latest(world.of("train"))
    assert newest is not None
    assert [r.version for r in world.of("train")] == ["1", "2", "3"]
    assert newest.definition == desired("one").definition_hash


@pytest.mark.parametrize(
    ("known", "explicit", "expected"),
    [
        ([], None, "1"),
        (["1"], None, "2"),
        (["1", "2", "10"], None, "11"),
        (["1.0", "rc1"], None, "1"),
        (["007"], None, "8"),
        (["1"], "2.0", "2.0"),
        ([], "5", "5"),
        (["1", "5"], None, "6"),
    ],
)
def test_versions_are_the_next_whole_number_or_what_the_spec_says(
    known: list[str], explicit: str | None, expected: str
) -> None:
    records = tuple(record(desired("old"), version, n) for n, version in enumerate(known))
    plan = diff(desired(version=explicit), Observed(name="train", records=records))
    assert plan.after_version == expected


def test_an_explicit_version_that_is_recorded_with_this_definition_is_in_sync() -> None:
    wanted = desired(version="1.0")
    newer = record(desired("two", version="2.0"), "2.0", 1_800_000_000)
    plan = diff(wanted, published(wanted, record(wanted, "1.0"), newer))
    assert plan.state == "in_sync"


def conflicts() -> Iterator[tuple[str, Desired, Observed]]:
    wanted, other = desired(), desired("other")
    moved = Present(OTHER)
    yield (
        "version_reuse",
        desired(version="1"),
        Observed(name="train", records=(record(other, "1"),)),
    )
    yield (
        "record_broken",
        wanted,
        Observed(name="train", broken_tags={"env/train/1": "it is not an annotated tag"}),
    )
    agreed = published(wanted, record(wanted))
    yield "image_moved", wanted, replace(agreed, content=moved)
    yield "version_tag_moved", wanted, replace(agreed, version_tag=moved)
    yield "version_tag_moved", wanted, replace(agreed, content=ABSENT, version_tag=moved)
    yield "record_missing", wanted, Observed(name="train", version_tag=moved)
    yield "record_missing", wanted, replace(published(wanted), version_tag=moved)
    image = desired(kind="image", copied=False)
    yield "image_missing", image, Observed(name="train")
    yield "image_missing", image, Observed(name="train", records=(record(image),))


@pytest.mark.parametrize(("code", "wanted", "observed"), list(conflicts()))
def test_what_only_a_person_can_decide_is_a_conflict(
    code: str, wanted: Desired, observed: Observed
) -> None:
    plan = diff(wanted, observed)
    assert (plan.state, [reason.code for reason in plan.reasons]) == ("conflict", [code])
    assert plan.actions == ()
    assert plan.hint != ""


def test_a_broken_tag_of_another_version_is_not_in_the_way() -> None:
    broken: Mapping[str, str] = {"env/train/rc": "it is not an annotated tag"}
    assert diff(desired(), Observed(name="train", broken_tags=broken)).state == "create"


def test_an_image_environment_is_recorded_by_the_digest_of_its_image_and_nothing_is_tagged() -> (
    None
):
    wanted = desired(kind="image", copied=False)
    plan = diff(wanted, published(wanted))
    assert (plan.state, plan.digest) == ("create", wanted.base_digest)
    assert verbs(plan) == ["record"]
    assert diff(wanted, published(wanted, record(wanted))).state == "in_sync"


def test_an_image_environment_that_is_copied_is_published_like_any_other() -> None:
    wanted = desired(kind="image")
    assert verbs(diff(wanted, Observed(name="train"))) == [
        *("copy", "publish", "record", "tag", "tag", "tag")
    ]


def test_a_plan_that_cannot_be_made_says_why() -> None:
    plan = unknown_plan("train", REFUSED, SILENT)
    assert [r.code for r in plan.reasons] == ["not_allowed", "unavailable"]
    blocked = blocked_plan(Blocked(name="train", reason="lock_missing", detail="no lock"))
    assert (blocked.state, blocked.reasons[0].code) == ("invalid", "lock_missing")


_PLAN = diff(desired(), Observed(name="train"))


@pytest.mark.parametrize(
    "changed",
    [
        replace(_PLAN, name="serve"),
        replace(_PLAN, state="republish"),
        replace(_PLAN, actions=_PLAN.actions[1:]),
        replace(_PLAN, actions=_PLAN.actions[::-1]),
        replace(_PLAN, before_version="7"),
        replace(_PLAN, after_version="7"),
        replace(_PLAN, before_definition="b" * 64),
        replace(_PLAN, definition="b" * 64),
        replace(_PLAN, digest=OTHER),
        replace(_PLAN, copy_from="serve"),
    ],
    ids=lambda plan: next(
        name for name in plan.__slots__ if getattr(plan, name) != getattr(_PLAN, name)
    ),
)
def test_the_id_is_moved_by_everything_that_would_be_done(changed: EnvironmentPlan) -> None:
    assert changed.id != _PLAN.id


def test_the_id_is_not_moved_by_words_and_estimates() -> None:
    explained = replace(
        _PLAN,
        reasons=(Reason(code="previous_unreadable", text="a shallow clone?"),),
        hint="something else",
        effort=None,
        changes=(),
    )
    assert explained.id == _PLAN.id


def test_every_field_of_a_plan_is_known_to_move_its_id_or_not_to() -> None:
    moving = {
        *("name", "state", "actions", "before_version", "after_version"),
        *("before_definition", "definition", "digest", "copy_from"),
    }
    words = {"reasons", "hint", "effort", "changes", "platforms", "notices", "checks"}
    assert set(EnvironmentPlan.__slots__) == moving | words

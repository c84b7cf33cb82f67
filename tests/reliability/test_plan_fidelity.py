"""R9: what a plan says is what apply then does, nothing more and nothing less, in random states.

And I7 on each: the plan itself changes no file outside of its cache, no ref and no byte of the
registry.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from envsync.adapters.git.repository import GitRepository
from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.model.record import Record
from envsync.oci.descriptor import RawManifest, is_digest
from envsync.planning.plan import CHANGING
from envsync.planning.states import in_order
from envsync.ports.git import Verdict
from tests.reliability.counts import count
from tests.reliability.random_states import NAMES, RECORDS, Walk, shelf
from tests.reliability.scenes import Stage
from tests.team import Done
from tests.test_apply import files
from tests.test_plan_output import VALIDATOR

STEPS = 8
FAST = range(26)
FULL = range(26, 626)

Tags = Mapping[str, Mapping[str, str]]


@dataclass(slots=True)
class Journal:
    """What was written, in the order in which it was, as the actions of a plan would say it."""

    written: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Note what registries and git are told to write meanwhile."""
        put, record = LayoutRegistry.put_manifest, GitRepository.record

        def noted_put(
            registry: LayoutRegistry, repository: str, reference: str, manifest: RawManifest
        ) -> bool:
            listed = put(registry, repository, reference, manifest)
            # Lists of what refers to images follow a version's tags, and no plan names them.
            if not is_digest(reference) and not reference.startswith("sha256-"):
                verb = "publish" if reference.startswith("def-") else "tag"
                self.written[repository].append((verb, reference))
            return listed

        def noted_record(git: GitRepository, records: list[Record]) -> Verdict:
            for one in records:
                self.written[one.name].append(("record", one.tag))
            return record(git, records)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LayoutRegistry, "put_manifest", noted_put)
            patch.setattr(GitRepository, "record", noted_record)
            yield

    def take_in(self, done: Done) -> None:
        """Add, before what was written, where each image came from, as apply's events say."""
        for line in done.err.splitlines():
            event = json.loads(line)
            if event["event"] != "step":
                continue
            written, text = self.written[event["name"]], event["text"]
            if text.startswith("reading ") and ("build", "") not in written:  # once a platform
                written.insert(0, ("build", ""))
            elif text.startswith("taking the image from "):
                written.insert(0, ("copy", text.rpartition(" ")[2]))
            elif text == "verifying what is published":
                written.insert(0, ("adopt", ""))


def promised(plan: Mapping[str, Any], commit: str, made: dict[str, str]) -> list[tuple[str, str]]:
    """Return the journal that a plan of an environment promises.

    *made* is which environment made each definition first: the next one takes it from there.
    """
    found = []
    for action in plan["actions"]:
        verb, target = action["verb"], action["target"]
        if verb == "build":
            source = made.setdefault(target, plan["name"])
            found.append(("build", "") if source == plan["name"] else ("copy", source))
        elif verb == "adopt":
            found.append(("adopt", ""))
        elif (verb, target) == ("tag", "git"):
            found.append(("tag", f"git-{commit[:12]}"))
        else:
            found.append((verb, target))
    # Before tags are put again it is looked whether the image is whole.
    return [("adopt", ""), *found] if plan["state"] == "retag" else found


def outside(walk: Walk) -> object:
    """Return whatever changes when anything is written outside of the cache."""
    team = walk.team
    held = {
        name: stat
        for folder in (team.root, team.arbiter.path)
        for name, stat in files(folder).items()
    }
    return held, walk.refs()


def lies(walk: Walk, plan: Mapping[str, Any], tags: Tags) -> bool:
    """Tell whether the image that a plan would take is of another definition than its tag says."""
    definition = plan["after"]["definition"]
    for action in plan["actions"]:
        if action["verb"] in {"adopt", "copy"}:
            source = action["target"] if action["verb"] == "copy" else plan["name"]
            digest = tags[source][f"def-{definition}"]
            return walk.definition_of(source, digest) != str(definition)
    return False


def records(walk: Walk) -> dict[tuple[str, str], Record]:
    """Return what is recorded where the records are kept."""
    team = walk.team
    where = GitRepository(
        team.arbiter.path, remote="", cache=team.cache, environ=team.environment()
    )
    return {(record.name, record.version): record for record in where.known_records().records}


def assert_faithful(walk: Walk) -> Counter[str]:
    """Plan and apply, and assert that one did what the other said; return the plan's states."""
    team = walk.team
    before, tags_before, refs_before = outside(walk), tags_of(walk), walk.refs()
    planned = team.envsync("plan", "--format=json")
    document = planned.json
    VALIDATOR.validate(document)
    assert outside(walk) == before, "I7"
    plans = {one["name"]: one for one in document["environments"]}
    walk.definitions = {name: one["after"]["definition"] for name, one in plans.items()}
    broken = {name for name, one in plans.items() if lies(walk, one, tags_before)}

    journal = Journal()
    with journal.keeping():
        done = team.envsync("apply", "--format=json")
    journal.take_in(done)
    results = {one["name"]: one for one in done.json["environments"]}
    assert results.keys() == plans.keys()

    now, made = records(walk), dict[str, str]()
    tags, refs = {name: dict(found) for name, found in tags_before.items()}, dict(refs_before[0])
    for name, plan in plans.items():
        result, actions = results[name], plan["actions"]
        assert bool(actions) == (plan["state"] in CHANGING)
        if not actions or name in broken:
            wanted = "unchanged" if plan["state"] == "in_sync" else "failed"
            assert result["state"] == wanted, (name, result)
            # An image that is not what its tag says is looked at, and nothing is written.
            assert {verb for verb, _ in journal.written[name]} <= {"adopt", "copy"}, name
            continue
        assert (result["state"], result["did"]) == ("done", plan["state"]), (name, result)
        version, digest = plan["after"]["version"], result["digest"]
        assert result["version"] == version
        assert plan["digest"] in {"", digest}
        record = now[name, version]
        assert (record.digest, record.definition) == (digest, plan["after"]["definition"])
        assert journal.written[name] == promised(plan, record.commit, made), name
        for action in actions:
            if action["verb"] == "record":
                ref = f"refs/tags/{action['target']}"
                assert (ref in refs, record.commit) == (False, document["commit"])
                refs[ref] = team.arbiter.refs(ref)[ref]
            elif action["verb"] in {"publish", "adopt"}:
                tags[name][action["target"]] = digest
            elif action["verb"] == "tag":
                target = {"git": f"git-{record.commit[:12]}"}.get(
                    action["target"], action["target"]
                )
                tags[name][target] = newest(walk, name, now) if target == "latest" else digest
    assert tags_of(walk) == tags
    assert walk.refs()[0] == refs
    foreign = [{r: o for r, o in one.items() if not r.startswith(RECORDS)} for one in
               (refs_before[1], walk.refs()[1])]  # fmt: skip
    assert foreign[0] == foreign[1]
    codes = {one["error"]["exit_code"] for one in results.values() if one["error"]}
    assert done.code in {*codes, 0 if not codes else 3}
    return Counter("broken" if name in broken else one["state"] for name, one in plans.items())


def newest(walk: Walk, name: str, known: Mapping[tuple[str, str], Record]) -> str:
    """Return the digest of the newest version that no lifecycle file archives."""
    lifecycle = walk.team.root / "lifecycle" / f"{name}.yaml"
    text = lifecycle.read_text() if lifecycle.exists() else ""
    own = in_order(tuple(record for record in known.values() if record.name == name))
    left = [r for r in own if f"'{r.version}': {{archived: true}}" not in text]
    return left[-1].digest


def tags_of(walk: Walk) -> dict[str, dict[str, str]]:
    """Return all tags of the registry."""
    return {name: walk.tags(name) for name in NAMES}


def assert_faithful_all_the_way(
    stage: Stage, folder: Path, variables: dict[str, str], seed: int
) -> None:
    """Walk, and look at each step."""
    team = stage.team("shelf", folder, variables, shelf)
    if seed % 2:
        team.repository.git("remote", "remove", "origin")
        team.remote = None
    walk = Walk(team=team, chance=random.Random(seed))
    for name in NAMES:
        if walk.chance.random() < 0.7:
            walk.ask(name)
    for _ in range(STEPS):
        walk.step()
        try:
            states = assert_faithful(walk)
        except AssertionError as error:
            error.add_note("\n".join(walk.story))
            raise
        walk.story.append(str(dict(states)))
        count(
            "R9",
            states=1,
            environments=states.total(),
            **{"to be changed": sum(n for s, n in states.items() if s in CHANGING)},
            refused=sum(states[s] for s in ("conflict", "invalid", "broken")),
        )


@pytest.mark.parametrize("seed", FAST)
def test_apply_does_what_the_plan_says(
    layout_stage: Stage, tmp_path: Path, git_variables: dict[str, str], seed: int
) -> None:
    assert_faithful_all_the_way(layout_stage, tmp_path / "team", git_variables, seed)


@pytest.mark.full
@pytest.mark.parametrize("seed", FULL)
def test_apply_does_what_the_plan_says_thousands_of_times(
    layout_stage: Stage, tmp_path: Path, git_variables: dict[str, str], seed: int
) -> None:
    assert_faithful_all_the_way(layout_stage, tmp_path / "team", git_variables, seed)

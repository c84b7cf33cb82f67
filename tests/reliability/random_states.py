"""Random states of a team's repository and registry: what people ask for, and what befalls them.

A state is reached by a walk: at each step a few things happen to a few environments, some of them
asked for in a commit, some done to the registry or to the records by hand or by accident.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.parts.gitremote import GitError
from tests.reliability.scenes import BOTH, wipe
from tests.team import Team

NAMES = ("alpha", "beta", "delta", "gamma")
WISHES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("tiny-00001",), ""),
    (("tiny-00001", "tiny-00010"), ""),
    (("tiny-00003",), ""),
    (("tiny-00020",), ""),
    (("tiny-00001",), BOTH),
)
"""Packages that are asked for, and what else stands in the spec."""
VERSIONS = ("", "", "", "1.0", "1.1", "2", "7")
RECORDS = "refs/tags/env/"
_TAG = "org.opencontainers.image.ref.name"


def shelf(team: Team) -> None:
    """Set the scene: lock everything that will be asked for, and fill the cache."""
    for number, (packages, text) in enumerate(WISHES):
        team.ask(f"shelf-{number}", *packages, text=text)
        place = _shelf(team) / str(number)
        shutil.copytree(team.root / "locks" / f"shelf-{number}", place)
    assert team.envsync("apply").code == 0
    for number in range(len(WISHES)):
        _forget(team, f"{RECORDS}shelf-{number}/1")
        team.repository.git("rm", "-rq", f"environments/shelf-{number}", f"locks/shelf-{number}")
    wipe(team)
    team.repository.commit("nothing is asked for")


def _shelf(team: Team) -> Path:
    return team.cache.parent / "shelf"


def _forget(team: Team, ref: str, *, everywhere: bool = True) -> None:
    for where in (team.arbiter, team.repository) if everywhere else (team.arbiter,):
        where.git("update-ref", "-d", ref)


@dataclass(slots=True, kw_only=True)
class Walk:
    """A repository, a registry, and the chance that decides what happens to them."""

    team: Team
    chance: random.Random
    definitions: dict[str, str] = field(default_factory=dict)
    """What each environment asked for at the step before, by a plan."""
    story: list[str] = field(default_factory=list)
    """What happened, for whoever reads a failure."""
    _asked: dict[str, int] = field(default_factory=dict)

    def step(self) -> None:
        """Let a few things happen, and commit what was asked for."""
        for name in self.chance.sample(NAMES, self.chance.choice((1, 1, 2, 3))):
            deed = self.chance.choices(*zip(*_DEEDS, strict=True))[0]
            self.story.append(f"{deed.__name__} {name}")
            deed(self, name)
        if self.team.repository.git("status", "--porcelain") or self.chance.random() < 0.2:
            self.story.append(self.team.repository.commit("what happened"))

    def tags(self, name: str) -> dict[str, str]:
        """Return the digests that the registry's tags of an environment name."""
        index = self.team.layouts / name / "index.json"
        listed = json.loads(index.read_bytes())["manifests"] if index.exists() else []
        tags = {entry["annotations"][_TAG]: entry["digest"] for entry in listed}
        return {tag: digest for tag, digest in tags.items() if not tag.startswith("sha256-")}

    def refs(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return all refs where the records are kept, and here."""
        return self.team.arbiter.refs(), self.team.repository.refs()

    def definition_of(self, name: str, digest: str) -> str:
        """Return the definition that an image says it is of."""
        blob = self.team.layouts / name / "blobs/sha256" / digest.removeprefix("sha256:")
        found: dict[str, Any] = json.loads(blob.read_bytes())
        return str(found["annotations"]["io.envsync.definition-hash"])

    # What is asked for

    def ask(self, name: str) -> None:
        """Ask for an environment, with its lock."""
        self._spec(name, self.chance.randrange(len(WISHES)))
        self._lock(name, self._asked[name])

    def ask_as_another(self, name: str) -> None:
        """Ask for what another environment asks for."""
        others = sorted(set(self._asked.values()))
        self._spec(name, self.chance.choice(others) if others else 0)
        self._lock(name, self._asked[name])

    def ask_without_lock(self, name: str) -> None:
        """Change a spec and lock it no more; who never locked it has no lock."""
        self._spec(name, self.chance.randrange(len(WISHES)))

    def lose_lock(self, name: str) -> None:
        """Remove a lock, or a part of it."""
        part = self.chance.choice((".", "image.yaml", "conda-lock.yml"))
        place = self.team.root / "locks" / name / part
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)

    def break_spec(self, name: str) -> None:
        """Make a spec that cannot be read."""
        path = f"environments/{name}/environment.yaml"
        self.team.repository.write({path: f"name: {name}\nimage: [\n"})

    def withdraw(self, name: str) -> None:
        """Ask for an environment no more."""
        for top in ("environments", "locks"):
            shutil.rmtree(self.team.root / top / name, ignore_errors=True)
        self._asked.pop(name, None)

    def archive(self, name: str) -> None:
        """Say in a lifecycle file which versions are archived, or write one that says nonsense."""
        versions = sorted(v for v in self._versions(name) if self.chance.random() < 0.5)
        lines = [f"  '{version}': {{archived: true}}" for version in versions]
        text = "\n".join(["versions:", *lines] if lines else ["archived: false"])
        if (odds := self.chance.random()) < 0.2:
            text = "archived: true" if odds < 0.1 else "archived: 7"
        self.team.repository.write({f"lifecycle/{name}.yaml": f"{text}\n"})

    def say_nothing_more(self, name: str) -> None:
        """Remove a lifecycle file."""
        (self.team.root / "lifecycle" / f"{name}.yaml").unlink(missing_ok=True)

    def go_back(self, name: str) -> None:
        """Take an environment's files back to what they were in some commit."""
        commits = self.team.repository.git("log", "--format=%H").split()
        commit = self.chance.choice(commits)
        self.withdraw(name)
        for top in ("environments", "locks"):
            try:
                self.team.repository.git("checkout", "-q", commit, "--", f"{top}/{name}")
            except GitError:  # it was not there then
                return

    # What befalls the registry

    def delete_tag(self, name: str) -> None:
        """Delete a tag."""
        if tags := sorted(self.tags(name)):
            self.team.delete_tag(name, self.chance.choice(tags))

    def delete_tags(self, name: str) -> None:
        """Delete tags of one kind, or most of them."""
        kind = self.chance.choice(("def-", "git-", ""))
        for tag in sorted(self.tags(name)):
            if tag.startswith(kind) and self.chance.random() < 0.8:
                self.team.delete_tag(name, tag)

    def move_tag(self, name: str) -> None:
        """Move a tag to another image of the repository."""
        tags = self.tags(name)
        if tags:
            tag = self.chance.choice(sorted(tags))
            self.team.move_tag(name, tag, self.chance.choice(sorted(set(tags.values()))))

    def put_tag(self, name: str) -> None:
        """Put a tag of one's own, or one that envsync would put next."""
        tags = self.tags(name)
        if not tags:
            return
        wanted = self.definitions.get(name)
        own = ["staging", "latest", "1", "2", "3", "1.0", *([f"def-{wanted}"] if wanted else [])]
        self.team.move_tag(
            name, self.chance.choice(own), self.chance.choice(sorted(set(tags.values())))
        )

    def lose_repository(self, name: str) -> None:
        """Lose everything that was ever published of an environment."""
        shutil.rmtree(self.team.layouts / name, ignore_errors=True)

    def lose_registry(self, name: str) -> None:
        """Lose everything that was ever published."""
        wipe(self.team)

    # What befalls the records

    def forget_record(self, name: str) -> None:
        """Delete a record, in the place that decides, and perhaps here as well."""
        if refs := self._records(name):
            everywhere = self.chance.random() < 0.7
            _forget(self.team, self.chance.choice(refs), everywhere=everywhere)

    def forget_copy(self, name: str) -> None:
        """Delete the copies of records here, where somewhere else decides."""
        if self.team.remote:
            for ref in self.team.repository.refs(f"{RECORDS}{name}/"):
                self.team.repository.git("update-ref", "-d", ref)

    def stand_in_the_way(self, name: str) -> None:
        """Make a git tag that is no record where the next version would be recorded."""
        head = self.team.repository.head()
        if self.team.remote:
            self.team.repository.git("push", "-q", "origin", "HEAD:refs/heads/main", "-f")
        numbers = [int(version) for version in self._versions(name) if version.isdigit()]
        ref = f"{RECORDS}{name}/{max(numbers, default=0) + 1}"
        self.team.arbiter.git("update-ref", ref, head)

    def mend(self, name: str) -> None:
        """Do what a person does about a conflict: begin anew under this name."""
        for ref in self._records(name):
            _forget(self.team, ref)
        self.lose_repository(name)
        self.say_nothing_more(name)
        self.ask(name)

    def _versions(self, name: str) -> Iterator[str]:
        return (ref.rpartition("/")[2] for ref in self._records(name))

    def _records(self, name: str) -> list[str]:
        return sorted(self.team.arbiter.refs(f"{RECORDS}{name}/"))

    def _spec(self, name: str, number: int) -> None:
        packages, text = WISHES[number]
        version = self.chance.choice(VERSIONS)
        self.team.spec(name, *packages, text=f"version: '{version}'\n{text}" if version else text)
        self._asked[name] = number

    def _lock(self, name: str, number: int) -> None:
        place = self.team.root / "locks" / name
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(_shelf(self.team) / str(number), place)


_DEEDS: tuple[tuple[Callable[[Walk, str], None], int], ...] = (
    (Walk.ask, 12),
    (Walk.ask_as_another, 5),
    (Walk.ask_without_lock, 2),
    (Walk.lose_lock, 1),
    (Walk.break_spec, 1),
    (Walk.withdraw, 1),
    (Walk.archive, 3),
    (Walk.say_nothing_more, 1),
    (Walk.go_back, 3),
    (Walk.delete_tag, 3),
    (Walk.delete_tags, 2),
    (Walk.move_tag, 2),
    (Walk.put_tag, 2),
    (Walk.lose_repository, 2),
    (Walk.lose_registry, 1),
    (Walk.forget_record, 2),
    (Walk.forget_copy, 1),
    (Walk.stand_in_the_way, 1),
    (Walk.mend, 4),
)
"""What may happen, and how often."""

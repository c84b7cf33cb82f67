"""R12: what each command says in each situation, as text, Markdown and JSON, word for word."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator

from envsync.cli.commands.schema import SCHEMAS
from tests.golden import FOLDER, Golden
from tests.reliability.counts import count
from tests.team import Done, Team
from tests.test_cli import normal

VALIDATORS = {
    name: Draft202012Validator(json.loads(files("envsync").joinpath(SCHEMAS[name]).read_bytes()))
    for name in ("plan", "progress")
}
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})", re.MULTILINE)
FULL = "description: Trains the models\ntags: {team: vision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scribe:
    """Runs commands and keeps what they say."""

    team: Team
    golden: Golden

    def text(self, name: str, *arguments: str) -> Done:
        """Keep both streams and the exit code."""
        done = self.team.envsync(*arguments)
        said = f"$ envsync {' '.join(arguments)}\n{done.out}"
        said += f"--- on standard error\n{done.err}" if done.err else ""
        self._keep(name, f"{said}--- {done.code}\n", "txt")
        return done

    def json(self, name: str, *arguments: str) -> Done:
        """Keep a JSON document; plans and events are valid by the schemas that are shipped."""
        done = self.team.envsync(*arguments, "--format", "json")
        document = json.loads(done.out)
        if arguments[0] == "plan" and "environments" in document:
            VALIDATORS["plan"].validate(document)
        for line in done.err.splitlines():
            VALIDATORS["progress"].validate(json.loads(line))
        self._keep(name, json.dumps(document, indent=2, ensure_ascii=False), "json")
        return done

    def both(self, name: str, *arguments: str) -> None:
        """Keep what a command that changes nothing says in both ways."""
        assert self.text(name, *arguments).code == self.json(name, *arguments).code

    def markdown(self, name: str, *arguments: str) -> None:
        """Keep a comment; each of its fences ends."""
        done = self.team.envsync(*arguments, "--format", "markdown")
        assert open_fences(done.out) == 0
        self._keep(name, done.out, "md")

    def plan(self, name: str, *arguments: str) -> None:
        """Keep a plan in each of its forms."""
        self.both(f"plan-{name}", "plan", *arguments)
        self.markdown(f"plan-{name}", "plan", *arguments)

    def _keep(self, name: str, said: str, kind: str) -> None:
        host = self.team.registry.host if self.team.registry else "no registry"
        said = normal(self.team, said.replace(host, "registry.test"))
        if self.team.remote:
            said = said.replace(str(self.team.remote.path), "<remote>")
        said = re.sub(r"\b\d+(\.\d+)? (B|kB|MB)\b", "<size>", said)
        said = re.sub(r'("(?:bytes_to_push|size|bytes|seconds)": )[\d.]+', r"\g<1>0", said)
        said = re.sub(r'("(?:created|date)": )(\d+|"[^"]*")', r'\g<1>"<when>"', said)
        self.golden.check(f"commands/{name}", said.replace(str(self.team.cache), "<cache>"), kind)


def open_fences(text: str) -> int:
    """Return how many fenced blocks of a Markdown text have no end."""
    end = ""
    for match in _FENCE.finditer(text):
        if not end:
            end = match[1]
        elif match[1].startswith(end):
            end = ""
    return int(bool(end))


def at_one_moment(team: Team) -> Team:
    """Return the team with every commit at one moment.

    What is listed by date is otherwise in another order where two commits share a second.
    """
    dated = {"GIT_COMMITTER_DATE": "1700000000 +0000", "GIT_AUTHOR_DATE": "1700000000 +0000"}
    environment = {**team.repository.environment, **dated}
    return replace(team, repository=replace(team.repository, environment=environment))


@pytest.fixture
def scribe(folder_team: Team, golden: Golden) -> Scribe:
    return Scribe(team=at_one_moment(folder_team), golden=golden)


def test_a_team_begins(scribe: Scribe) -> None:
    team = scribe.team
    for name in ("status", "list", "validate", "verify"):
        scribe.both(f"empty-{name}", name)
    scribe.plan("empty")
    team.spec("train", "tiny-00003", text=FULL)
    scribe.both("never-locked-check", "lock", "--check")
    team.repository.commit("not locked")
    scribe.plan("never-locked")
    scribe.both("never-locked-apply", "apply")
    scribe.json("lock", "lock")
    team.repository.commit("locked")
    scribe.plan("create")
    scribe.both("create-status", "status")
    scribe.both("create-history", "history", "train")
    scribe.json("apply", "apply")
    scribe.both("apply-again", "apply")
    scribe.plan("in-sync")


def test_a_team_goes_on(scribe: Scribe) -> None:
    team = scribe.team
    team.ask("train", "tiny-00003", text=FULL)
    assert team.envsync("apply").code == 0
    team.spec("train", "tiny-00004", "tiny-00020", text=FULL)
    scribe.both("stale-check", "lock", "--check")
    team.repository.commit("changed, not locked")
    scribe.plan("stale-lock")
    team.ask("train", "tiny-00004", "tiny-00020", text=FULL)
    team.ask("serve", "tiny-00003")
    scribe.plan("change-and-reuse")
    scribe.both("error-no-plan-id", "apply", "--plan-id", "0123456789abcdef")
    scribe.both("diff-working", "diff", "train")
    assert team.envsync("apply").code == 0
    for name in ("list", "status", "verify"):
        scribe.both(f"two-{name}", name)
    scribe.both("list-versions", "list", "--name", "train")
    scribe.both("history", "history", "train")
    scribe.both("show", "show", "train")
    scribe.both("show-version", "show", "train:1")
    scribe.both("diff-versions", "diff", "train:1", "train:2")
    scribe.both("which-digest", "which", team.records("train")[0].digest)
    scribe.json("update", "update", "train:1", "--set", "description=The first")
    scribe.json("archive", "archive", "train:2")
    team.repository.commit("the second was bad")
    scribe.plan("latest-behind")
    assert team.envsync("apply").code == 0
    scribe.both("archived-list", "list", "--include-archived")
    scribe.json("restore", "restore", "train:2")


def test_things_go_wrong(scribe: Scribe) -> None:
    team = scribe.team
    for package in ("tiny-00003", "tiny-00004"):
        team.ask("train", package)
        assert team.envsync("apply").code == 0
    for name, *arguments in (
        ("no-environment", "plan", "tain"),
        ("no-version", "show", "train:7"),
        ("no-history", "history", "nobody"),
        ("no-reference", "show", "train:"),
        ("no-archive", "archive", "train:9"),
    ):
        scribe.both(f"error-{name}", *arguments)
    team.delete_tag("train", "2")
    scribe.plan("retag")
    scribe.both("tag-missing-verify", "verify")
    team.move_tag("train", "2", team.tags("train")["1"])
    scribe.plan("tag-moved")
    scribe.both("tag-moved-apply", "apply")
    scribe.both("tag-moved-status", "status")
    scribe.both("tag-moved-verify", "verify")
    scribe.text("tag-moved-repair", "verify", "--repair")
    team.move_tag("train", "7", team.tags("train")["1"])
    team.move_tag("train", "staging", team.tags("train")["1"])
    scribe.both("tags-of-others-verify", "verify")
    team.wipe_registry()
    scribe.plan("republish")
    scribe.both("lost-verify", "verify")
    scribe.json("lost-repair", "verify", "--repair")
    team.repository.write({"environments/train/environment.yaml": "name: train\nimage: [1]\n"})
    scribe.both("broken-spec-validate", "validate")
    team.repository.commit("broken")
    scribe.plan("broken-spec")
    team.repository.write({"envsync.yaml": "registry: [h]\nplatform: linux-64\n"})
    scribe.both("broken-settings-validate", "validate")


def test_nobody_asks(server_team: Team, golden: Golden) -> None:
    team = at_one_moment(server_team)
    scribe = Scribe(team=team, golden=golden)
    team.spec("train", "tiny-00003")
    team.repository.commit("train")
    team.repository.git("push", "-q", "origin", "main")
    scribe.text("reconcile-lock-and-apply", "reconcile", "--once")
    scribe.both("reconcile-nothing", "reconcile", "--once")
    team.repository.git("pull", "-q")
    team.repository.write({"environments/train/environment.yaml": "name: train\nimage: [1]\n"})
    team.repository.commit("broken")
    team.repository.git("push", "-q", "origin", "main")
    scribe.both("reconcile-broken-spec", "reconcile", "--once")


def kept() -> Iterator[tuple[str, str]]:
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            yield path.suffix.removeprefix("."), path.read_text(encoding="utf-8")


def test_there_are_enough_of_each_kind_and_each_is_well_formed() -> None:
    found = list(kept())
    kinds = {kind: [text for one, text in found if one == kind] for kind in ("txt", "md", "json")}
    assert len(found) >= 80
    assert sum(map(len, kinds.values())) == len(found)
    assert min(map(len, kinds.values())) >= 10
    for text in kinds["json"]:
        json.loads(text)
    assert [text for text in kinds["md"] if open_fences(text)] == []
    files_of = {"text": len(kinds["txt"]), "Markdown": len(kinds["md"]), "JSON": len(kinds["json"])}
    count("R12", files=len(found), **files_of)


def test_a_fence_without_an_end_is_seen() -> None:
    assert [open_fences(text) for text in ("", "```\nx\n```\n", "````\n```\n````\n")] == [0, 0, 0]
    assert [open_fences(text) for text in ("```\n", "````\n```\n", "x\n~~~~\n```\n")] == [1, 1, 1]

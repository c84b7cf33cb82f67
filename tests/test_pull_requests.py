"""Plans of branches: what merging one brings, for people who review it, and safe to make."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.team import Team
from tests.test_plan_output import SCHEMA

VALIDATOR = Draft202012Validator(SCHEMA)


@pytest.fixture
def branched(folder_team: Team) -> Team:
    """A team with three applied environments, on a branch of its own."""
    for name, package in (("serve", "tiny-00001"), ("train", "tiny-00003"), ("web", "tiny-00005")):
        folder_team.ask(name, package)
    assert folder_team.envsync("apply").code == 0
    folder_team.repository.git("switch", "--quiet", "-c", "newer")
    return folder_team


def names(team: Team, *options: str) -> list[str]:
    """Return the environments in the plan of HEAD against main."""
    done = team.envsync("plan", "--base", "main", "--format", "json", *options)
    VALIDATOR.validate(done.json)
    return [environment["name"] for environment in done.json["environments"]]


def test_only_what_the_branch_touches_is_planned(branched: Team) -> None:
    assert names(branched) == []
    branched.ask("train", "tiny-00004")
    assert names(branched) == ["train"]
    done = branched.envsync("plan", "--base", "main")
    assert "train: new version 2, was 1" in done.out
    assert "serve" not in done.out
    branched.repository.commit("notes", {"environments/web/README.md": "Web."})
    assert names(branched) == ["train", "web"]
    assert names(branched, "tr*") == ["train"]


def test_what_the_settings_change_is_planned_too(branched: Team) -> None:
    branched.settings("compression: zstd\n")
    branched.repository.commit("zstd")
    assert names(branched) == ["serve", "train", "web"]


def test_what_the_target_did_since_is_not_the_branch_s_doing(branched: Team) -> None:
    branched.ask("train", "tiny-00004")
    branched.repository.git("switch", "--quiet", "main")
    branched.ask("web", "tiny-00006")
    branched.repository.git("switch", "--quiet", "newer")
    assert names(branched) == ["train"]


def test_what_both_changed_is_told(branched: Team) -> None:
    branched.ask("train", "tiny-00004")
    branched.repository.git("switch", "--quiet", "main")
    branched.ask("train", "tiny-00006")
    branched.repository.git("switch", "--quiet", "newer")
    done = branched.envsync("plan", "--base", "main", "--format", "json")
    checks = done.json["environments"][0]["checks"]
    assert [c["verdict"] for c in checks] == ["pass", "pass", "warn"]
    assert "merge main into the branch" in checks[-1]["text"]
    # Against what main locks now: that is what the reviewer's merge would end.
    moved = {package["name"]: package for package in done.json["environments"][0]["packages"]}
    assert moved["tiny-00006"]["class"] == "removed"


def test_packages_are_compared_with_the_target_and_not_with_the_record(branched: Team) -> None:
    branched.repository.git("switch", "--quiet", "main")
    branched.ask("train", "tiny-00004")  # merged, and not applied yet
    branched.repository.git("switch", "--quiet", "-C", "newer")
    branched.ask("train", "tiny-00004", "tiny-00007")
    done = branched.envsync("plan", "--base", "main", "--format", "json")
    (train,) = done.json["environments"]
    assert {p["name"] for p in train["packages"]}.isdisjoint({"tiny-00003", "tiny-00004"})
    assert [p["name"] for p in train["packages"] if p["direct"]] == ["tiny-00007"]
    assert train["packages"][0]["asked"] == {"before": "", "after": "tiny-00007"}
    why = {p["name"]: p["why"] for p in train["packages"] if not p["direct"]}
    assert why["tiny-00006"] == ["tiny-00007"], "the chain from the spec to the parent"
    (as_usual,) = branched.envsync("plan", "train", "--format", "json").json["environments"]
    assert {p["name"] for p in as_usual["packages"]} >= {"tiny-00004", "tiny-00007"}
    assert as_usual["id"] == train["id"], "it is the same work"
    assert as_usual["effort"] == train["effort"], "what is pushed is counted from the record"


def test_new_and_removed_environments(branched: Team) -> None:
    branched.ask("extra", "tiny-00008")
    branched.repository.git("rm", "-rq", "environments/web", "locks/web")
    branched.repository.commit("web is gone")
    done = branched.envsync("plan", "--base", "main", "--format", "json")
    (extra,) = done.json["environments"]
    assert [reason["code"] for reason in extra["reasons"]] == ["first_version", "environment_new"]
    assert extra["flags"] == [], "in a new environment no package stands out as new"
    assert done.json["removed"] == ["web"]
    text = branched.envsync("plan", "--base", "main", "--format", "markdown").out
    assert "Removed from git: `web`" in text


def test_what_is_broken_on_both_sides_is_not_the_branch_s_doing(branched: Team) -> None:
    branched.repository.git("switch", "--quiet", "main")
    branched.spec("web", "tiny-00009")
    branched.repository.commit("not locked")
    branched.repository.git("switch", "--quiet", "-C", "newer")
    branched.ask("train", "tiny-00004")
    assert names(branched) == ["train"]
    assert branched.envsync("plan", "--base", "main").code == 0
    branched.spec("serve", "tiny-00009")
    branched.repository.commit("not locked either")
    done = branched.envsync("plan", "--base", "main", "--format", "markdown")
    assert done.code == 6
    assert "envsync lock serve\n" in done.out


def test_a_policy_that_lets_it_pass_is_named_and_none_is_not(branched: Team) -> None:
    branched.ask("train", "tiny-00004")
    line = "- ✅ `policy`: nothing breaks a rule of 'policy:' in envsync.yaml\n"
    assert line not in branched.envsync("plan", "--base", "main", "--format", "markdown").out
    branched.repository.git("switch", "--quiet", "main")
    branched.settings("policy: {packages: {forbidden: [tiny-00009]}}\n")
    branched.repository.commit("a policy")
    branched.repository.git("switch", "--quiet", "newer")
    branched.repository.git("merge", "--quiet", "--no-edit", "main")
    assert line in branched.envsync("plan", "--base", "main", "--format", "markdown").out
    branched.ask("train", "tiny-00004", "tiny-00007")
    branched.repository.git("switch", "--quiet", "main")
    branched.settings("policy: {packages: {forbidden: [tiny-00007]}}\n")
    branched.repository.commit("a stricter one")
    branched.repository.git("switch", "--quiet", "newer")
    refused = branched.envsync("plan", "--base", "main", "--format", "markdown").out
    assert line not in refused[refused.index("### `train`") :]
    assert "- ❌ `policy`: " in refused


@pytest.mark.parametrize("how", ["--no-ff", "--squash"])
def test_the_command_of_the_comment_does_it_after_the_merge(branched: Team, how: str) -> None:
    branched.repository.git("switch", "--quiet", "main")
    branched.ask("web", "tiny-00006")  # merged, and not applied yet
    branched.repository.git("switch", "--quiet", "-C", "newer")
    branched.ask("train", "tiny-00004")
    comment = branched.envsync("plan", "--base", "main", "--format", "markdown").out
    (command,) = [line for line in comment.splitlines() if line.startswith("envsync apply")]
    branched.repository.git("switch", "--quiet", "main")
    branched.repository.git("merge", "--quiet", how, "-m", "merge", "newer")
    branched.repository.git("commit", "--quiet", "--allow-empty", "-m", "merged")
    assert branched.envsync(*command.split()[1:]).code == 0
    assert branched.versions("train") == ["1", "2"]
    assert branched.versions("web") == ["1"]


def test_a_target_that_is_not_here_is_told(branched: Team) -> None:
    done = branched.envsync("plan", "--base", "origin/release")
    assert done.code == 6
    assert "git fetch origin release" in done.err


def test_a_shallow_clone_of_a_merge_is_enough(branched: Team, tmp_path: Path) -> None:
    branched.ask("train", "tiny-00004")
    main = branched.repository.git("rev-parse", "main").strip()
    branched.repository.git("switch", "--quiet", "main")
    branched.repository.git("merge", "--quiet", "--no-ff", "-m", "merge", "newer")
    shallow = tmp_path / "shallow"
    source = f"file://{branched.root}"
    branched.repository.git("clone", "--quiet", "--depth", "1", source, str(shallow))
    branched.repository.git("-C", str(shallow), "fetch", "--quiet", "--depth", "1", "origin", main)
    done = branched.envsync("-C", str(shallow), "plan", "--base", main, "--format", "json")
    assert [environment["name"] for environment in done.json["environments"]] == ["train"]


def test_the_plan_of_a_branch_asks_only_and_only_about_what_it_touches(server_team: Team) -> None:
    for name in ("serve", "train", "web"):
        server_team.ask(name, "tiny-00003")
    assert server_team.envsync("apply").code == 0
    server_team.repository.git("switch", "--quiet", "-c", "newer")
    server_team.ask("train", "tiny-00004")
    before, refs = server_team.state(), server_team.arbiter.refs()
    done = server_team.envsync("plan", "--base", "main", "--format", "markdown")
    assert (done.code, done.err) == (0, "")
    assert "`train`: new version: `1` → `2`" in done.out
    assert (server_team.state(), server_team.arbiter.refs()) == (before, refs)

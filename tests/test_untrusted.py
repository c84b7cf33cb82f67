"""Branches of strangers (X7): planning one runs nothing of it, writes nothing, and needs no login.

And the ready-made ways to run envsync on pull requests: the action, and pre-commit's hooks.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from envsync import Client
from tests.reliability.counts import count
from tests.team import MUTATING, Team

ROOT = Path(__file__).parents[1]
PROGRAM = Path(sys.executable).with_name("envsync")

_FIRES = "from pathlib import Path\nPath({place!r}).write_text('fired')\n"
MODULES = (
    "sitecustomize.py", "usercustomize.py", "conftest.py", "setup.py", "yaml.py", "click.py",
    "json.py", "envsync/__init__.py", "envsync/__main__.py", "git.py", "tests/conftest.py",
    "environments/train/setup.py", "environments/train/conftest.py",
)  # fmt: skip


HOOKS = (
    "post-checkout", "post-merge", "post-index-change", "reference-transaction", "pre-commit",
    "pre-push", "post-commit", "fsmonitor-watchman",
)  # fmt: skip


def canaries(team: Team, sentinel: Path) -> None:
    """Commit everything that something might run by itself; all of it writes *sentinel*."""
    code = _FIRES.format(place=str(sentinel))
    shell = f"#!/bin/sh\necho $0 $* >> {sentinel}\n"
    files = dict.fromkeys(MODULES, code)
    files |= {
        ".gitattributes": "* filter=canary diff=canary merge=canary\n",
        **{f".githooks/{hook}": shell for hook in HOOKS},
        ".envrc": shell,
        "Makefile": f"all:\n\ttouch {sentinel}\n",
        ".pre-commit-config.yaml": "repos: [{repo: local, hooks: [{id: canary, name: canary,"
        f" language: system, always_run: true, entry: touch {sentinel}}}]}}]\n",
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'setup'\n",
    }
    team.repository.write(files)
    for hook in HOOKS:
        (team.root / ".githooks" / hook).chmod(0o755)
    team.repository.commit("canaries")
    sentinel.unlink(missing_ok=True)


def obey(team: Team, sentinel: Path) -> None:
    """Set git up as people do who let a repository say what is run: hooks, filters, monitors."""
    touch = f"echo $0 $* >> {sentinel}; cat"
    for key, value in {
        "core.hooksPath": ".githooks",
        "core.fsmonitor": ".githooks/fsmonitor-watchman",
        # A filter on the way in is a program of this machine, without which git cannot tell what
        # changed; it is no file of the branch.
        "filter.canary.clean": "cat",
        "filter.canary.smudge": touch,
        "diff.canary.textconv": touch,
        "diff.canary.command": touch,
        "merge.canary.driver": touch,
        "diff.external": touch,
        "core.pager": touch,
        "core.editor": touch,
        "core.sshCommand": touch,
    }.items():
        team.repository.git("config", key, value)
    (team.root / "Makefile").write_text("changed:\n")
    sentinel.unlink(missing_ok=True)


def test_a_plan_of_a_branch_runs_nothing_of_it(server_team: Team, tmp_path: Path) -> None:
    team = server_team
    team.ask("train", "tiny-00003")
    assert team.envsync("apply").code == 0
    team.repository.git("branch", "base")
    team.ask("train", "tiny-00004")
    sentinel = tmp_path / "fired"
    canaries(team, sentinel)
    assert team.registry is not None
    before = [len(team.registry.requests(method)) for method in MUTATING]
    refs = team.arbiter.refs()
    obey(team, sentinel)
    for shape in ("text", "json", "markdown"):
        words = ["plan", "--base", "base", "--format", shape, "--out", str(tmp_path / "plan.json")]
        done = subprocess.run(
            [PROGRAM, *words], cwd=team.root, env=team.environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert not sentinel.exists(), f"ran of the branch: {sentinel.read_text()}"
    assert [len(team.registry.requests(method)) for method in MUTATING] == before
    assert team.arbiter.refs() == refs
    count("X7", canaries=len(MODULES) + len(HOOKS) + 10)


def test_the_policy_of_a_branch_does_not_count(server_team: Team) -> None:
    team = server_team
    team.settings(f"policy:\n  channels: ['{team.channel.as_uri()}']\n")
    team.ask("train", "tiny-00003")
    team.repository.git("branch", "base")
    team.settings("policy: {}\n")
    team.spec("train", "tiny-00003", text="channels: []")
    team.repository.git("checkout", "-q", "--", "environments")
    team.repository.commit("no policy any more")
    done = team.envsync("plan", "--base", "base", "--format", "json")
    assert done.json["policy"]["changed"] is True
    assert done.json["policy"]["from"] == team.repository.git("rev-parse", "base").strip()
    assert (
        "This changes the policy"
        in team.envsync("plan", "--base", "base", "--format", "markdown").out
    )


# Where requests go --------------------------------------------------------------------------------


@pytest.fixture
def sentinel() -> Iterator[Sentinel]:
    """Something in a network that strangers do not reach."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = Sentinel(host=f"127.0.0.1:{listening.getsockname()[1]}")

        def count_them() -> None:
            with contextlib.suppress(OSError):  # closed at the end
                while True:
                    connection, _ = listening.accept()
                    found.connections += 1
                    connection.close()

        threading.Thread(target=count_them, daemon=True).start()
        yield found
        listening.shutdown(socket.SHUT_RDWR)


@dataclass(slots=True, kw_only=True)
class Sentinel:
    """A server that hangs up, and counts who came."""

    host: str
    connections: int = 0


@pytest.fixture
def based(server_team: Team) -> Team:
    """A team with an applied environment, whose branch `base` has it too."""
    server_team.ask("train", "tiny-00003")
    assert server_team.envsync("apply").code == 0
    server_team.repository.git("branch", "base")
    return server_team


def other_registry(team: Team, host: str) -> None:
    """Let the branch name another registry."""
    team.repository.write({"envsync.yaml": f"registry: {host}/team/envs\n"})
    team.repository.commit("another registry")


@pytest.mark.parametrize("option", ["--base", "--policy-from"])
def test_a_branch_does_not_choose_the_registry(
    based: Team, sentinel: Sentinel, option: str
) -> None:
    other_registry(based, sentinel.host)
    done = based.envsync("plan", option, "base", "--format", "json")
    assert (done.code, sentinel.connections) == (0, 0), done.err
    assert based.registry is not None
    assert done.json["registry"] == based.registry.host
    (train,) = done.json["environments"]
    assert train["state"] == "in_sync"
    (notice,) = train["notices"]
    assert notice["code"] == "registry_changed"
    assert f"to {sentinel.host}/team/envs; asked was {based.registry.host}" in notice["text"]
    assert ("registry", "warn") in {(c["name"], c["verdict"]) for c in train["checks"]}
    words = "envsync.yaml changes the registry from"
    assert f"notice: {words}" in based.envsync("plan", option, "base").out
    text = based.envsync("plan", option, "base", "--format", "markdown").out
    assert f"- ⚠️ `registry`: `{words}" in text
    assert sentinel.connections == 0

    assert based.envsync("plan").code == 8
    assert sentinel.connections > 0, "the sentinel does not notice"
    count("X7", **{"hosts of branches": 1, "hosts not asked": 1})


def test_a_registry_that_the_target_allows_is_asked(based: Team, sentinel: Sentinel) -> None:
    based.repository.git("switch", "-q", "base")
    based.settings(f"policy:\n  registries: ['{sentinel.host}']\n")
    based.repository.commit("allowed")
    based.repository.git("switch", "-qC", "newer")
    other_registry(based, sentinel.host)
    done = based.envsync("plan", "--base", "base", "--format", "json")
    assert done.code == 8
    assert done.json["registry"] == sentinel.host
    assert sentinel.connections > 0
    (train,) = done.json["environments"]
    assert train["state"] == "unknown"


def test_the_branch_cannot_allow_it_itself(based: Team, sentinel: Sentinel) -> None:
    based.repository.write(
        {
            "envsync.yaml": f"registry: {sentinel.host}/team/envs\n"
            f"registries: {{curated: {sentinel.host}/curated}}\n"
            "policy:\n  registries: ['*']\n"
        }
    )
    based.spec("curated", image="azureml://registries/curated/environments/base/versions/1")
    based.repository.commit("allowed by itself")
    done = based.envsync("plan", "--base", "base", "--format", "json")
    assert sentinel.connections == 0
    assert done.json["policy"]["changed"] is True
    assert [e["state"] for e in done.json["environments"]] == ["invalid", "in_sync"]
    count("X7", **{"hosts of branches": 1, "hosts not asked": 1})


def test_the_records_are_asked_where_the_target_has_them(based: Team, sentinel: Sentinel) -> None:
    based.repository.git("remote", "add", "evil", f"http://{sentinel.host}/evil.git")
    based.settings("remote: evil\n")
    based.repository.commit("another remote")
    done = based.envsync("plan", "--base", "base", "--format", "json")
    assert (done.code, sentinel.connections) == (0, 0), done.err
    based.envsync("plan")
    assert sentinel.connections > 0, "the sentinel does not notice"
    count("X7", **{"hosts of branches": 1, "hosts not asked": 1})


def images_asked(team: Team, *options: str) -> tuple[int, Any]:
    """Return how often the image of `shown` is asked for by a plan, and what is planned for it."""
    assert team.registry is not None
    before = len(team.registry.requests("HEAD", "/v2/team/envs/train/manifests/sha256"))
    done = team.envsync("plan", "shown", "--format", "json", *options)
    after = len(team.registry.requests("HEAD", "/v2/team/envs/train/manifests/sha256"))
    (shown,) = done.json["environments"]
    return after - before, shown


def test_hosts_of_images_that_only_a_branch_names_are_not_asked(based: Team) -> None:
    assert based.registry is not None
    port = based.registry.host.partition(":")[2]
    based.ask("shown", image=f"localhost:{port}/team/envs/train:1")
    asked, shown = images_asked(based, "--base", "base")
    assert asked == 0
    assert shown["state"] == "unknown"
    assert (
        f"localhost:{port} is not asked: only this branch names it" in shown["reasons"][0]["text"]
    )
    assert "'policy.registries' in envsync.yaml of base" in shown["reasons"][0]["text"]
    asked, shown = images_asked(based)
    assert (asked, shown["state"]) == (1, "create")
    count("X7", **{"hosts of branches": 1, "hosts not asked": 1})

    based.repository.git("branch", "-f", "base")
    based.ask("shown", image=f"localhost:{port}/team/envs/train:1", text="description: known")
    asked, shown = images_asked(based, "--base", "base")
    assert (asked, shown["state"]) == (1, "create"), "the target has an image from there"


def test_a_policy_that_has_a_rule_decides_which_images_are_asked(based: Team) -> None:
    assert based.registry is not None
    port = based.registry.host.partition(":")[2]
    based.repository.git("switch", "-q", "base")
    based.settings(f"policy:\n  registries: ['localhost:{port}']\n")
    based.repository.commit("a rule")
    based.repository.git("switch", "-qC", "newer")
    based.ask("shown", image=f"localhost:{port}/team/envs/train:1")
    asked, shown = images_asked(based, "--base", "base")
    assert (asked, shown["state"]) == (1, "create")
    based.repository.git("switch", "-q", "base")
    based.settings("policy:\n  registries: [ghcr.io]\n")
    based.repository.commit("another rule")
    based.repository.git("switch", "-q", "newer")
    asked, shown = images_asked(based, "--base", "base")
    assert (asked, shown["state"]) == (0, "invalid")
    count("X7", **{"hosts of branches": 1, "hosts not asked": 1})


def test_a_program_that_names_a_registry_itself_is_obeyed(based: Team, sentinel: Sentinel) -> None:
    assert based.registry is not None
    other_registry(based, sentinel.host)
    client = Client(based.root, environ=based.environment(), sleep=based.waited.append)
    assert client.plan(policy_from="base").registry == based.registry.host
    assert sentinel.connections == 0
    chosen = Client(
        based.root,
        registry=f"{sentinel.host}/team/envs",
        environ=based.environment(),
        sleep=based.waited.append,
    )
    assert chosen.plan(policy_from="base").registry == sentinel.host
    assert sentinel.connections > 0


# The action ---------------------------------------------------------------------------------------


def action() -> dict[str, object]:
    document: dict[str, object] = yaml.safe_load((ROOT / "action.yml").read_text())
    return document


def test_the_action_is_what_github_reads() -> None:
    judge = Path(sys.executable).with_name("check-jsonschema")
    words: list[str | Path] = [
        judge,
        "--builtin-schema",
        "vendor.github-actions",
        ROOT / "action.yml",
    ]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def run_step(team: Team, command: str) -> subprocess.CompletedProcess[str]:
    """Run the action's last step as the runner would: bash, and inputs as variables."""
    steps = action()["runs"]["steps"]  # type: ignore[index]
    step = steps[-1]
    assert step["env"] == {"ENVSYNC_COMMAND": "${{ inputs.command }}"}
    assert "${{" not in step["run"], "an input would be text of the script"
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=team.root,
        env={**team.environment(), "PATH": path, "ENVSYNC_COMMAND": command},
        capture_output=True,
        text=True,
    )


def test_the_action_runs_what_it_is_given(folder_team: Team) -> None:
    folder_team.ask("train", "tiny-00003")
    done = run_step(folder_team, "plan --detailed-exitcode")
    assert done.returncode == 2, done.stderr
    assert "train: create version 1" in done.stdout


@pytest.mark.parametrize(
    "command", ["plan; touch hacked", "plan $(touch hacked)", "plan `touch hacked`",
                "plan && touch hacked", "plan | tee hacked", "plan\ntouch hacked"],
)  # fmt: skip
def test_the_action_runs_nothing_else(folder_team: Team, command: str) -> None:
    folder_team.ask("train", "tiny-00003")
    run_step(folder_team, command)
    assert not (folder_team.root / "hacked").exists()
    count("X13", arguments=1, **{"never run": 1})


# pre-commit ---------------------------------------------------------------------------------------


def hooks() -> list[dict[str, object]]:
    found: list[dict[str, object]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    return found


@pytest.mark.parametrize("hook", [str(hook["id"]) for hook in hooks()])
def test_a_hook_s_entry_says_what_is_wrong(folder_team: Team, hook: str) -> None:
    (entry,) = [str(one["entry"]).split() for one in hooks() if one["id"] == hook]
    assert entry[0] == "envsync"
    folder_team.ask("train", "tiny-00003")
    assert folder_team.envsync(*entry[1:]).code == 0
    folder_team.spec("train", "tiny-00004", text="image: [1]" if "validate" in hook else "")
    assert folder_team.envsync(*entry[1:]).code != 0


def test_hooks_are_what_pre_commit_reads() -> None:
    pre_commit = Path(sys.executable).with_name("pre-commit")
    words: list[str | Path] = [pre_commit, "validate-manifest", ROOT / ".pre-commit-hooks.yaml"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.full
def test_pre_commit_installs_and_runs_the_hooks(folder_team: Team, tmp_path: Path) -> None:
    folder_team.ask("train", "tiny-00003")
    pre_commit = Path(sys.executable).with_name("pre-commit")
    environment = {**folder_team.environment(), "PRE_COMMIT_HOME": str(tmp_path / "home")}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [pre_commit, "try-repo", str(ROOT), "--all-files", "--verbose"],
            cwd=folder_team.root, env=environment, capture_output=True, text=True,
        )  # fmt: skip

    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    folder_team.spec("train", "tiny-00004")
    folder_team.repository.git("add", "-A")
    done = run()
    assert done.returncode == 1
    assert "the spec asks tiny-00004" in done.stdout

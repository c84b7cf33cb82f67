"""The ready-made files of docs/examples: judged by their own tools, and run as they are."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.parts.process import tool
from tests.team import Team

EXAMPLES = Path(__file__).parents[1] / "docs/examples"
KUBERNETES = ("1.30", "1.33")
_STYLE = (
    "{extends: default, rules: {line-length: {max: 120}, document-start: disable, "
    "truthy: {check-keys: false}}}"
)


def examples(*patterns: str) -> list[Any]:
    found = sorted(path for pattern in patterns for path in EXAMPLES.glob(pattern))
    return [pytest.param(path, id=str(path.relative_to(EXAMPLES))) for path in found]


def judged(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def module(name: str) -> str:
    """Return the program that a package of this Python brings."""
    return str(Path(sys.executable).with_name(name))


def test_there_is_one_for_each_place_it_can_run() -> None:
    names = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*") if path.is_file()}
    assert names >= {
        "github/reconcile.yml",
        "gitlab/reconcile.gitlab-ci.yml",
        "kubernetes/cronjob.yaml",
        "kubernetes/deployment.yaml",
        "systemd/envsync-reconcile.service",
        "systemd/envsync-reconcile.timer",
    }


@pytest.mark.parametrize("path", examples("**/*.yml", "**/*.yaml"))
def test_yaml_is_tidy(path: Path) -> None:
    judged(module("yamllint"), "--strict", "-d", _STYLE, path)


@pytest.mark.parametrize("path", examples("github/*.yml"))
def test_workflows_are_what_github_reads(path: Path) -> None:
    judged(module("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", path)


@pytest.mark.parametrize("path", examples("gitlab/*.yml"))
def test_jobs_are_what_gitlab_reads(path: Path) -> None:
    judged(module("check-jsonschema"), "--builtin-schema", "vendor.gitlab-ci", path)


@pytest.mark.parametrize("path", examples("kubernetes/*.yaml"))
@pytest.mark.parametrize("version", KUBERNETES)
def test_resources_are_what_kubernetes_reads(path: Path, version: str) -> None:
    judged(module("kubernetes-validate"), "--strict", "-k", version, path)


def test_units_are_what_systemd_reads() -> None:
    units = sorted((EXAMPLES / "systemd").iterdir())
    judged(tool("systemd-analyze"), "verify", *units)


def wanted(team: Team) -> None:
    team.spec("train", "tiny-00003")
    team.repository.commit("train")
    team.repository.git("push", "-q", "origin", "HEAD:refs/heads/main")


def words_of(place: str) -> list[str]:
    """Return the command line of envsync that an example has, as words."""
    path = EXAMPLES / place
    if place.startswith("systemd"):
        (line,) = [x for x in path.read_text().splitlines() if x.startswith("ExecStart=")]
        words = shlex.split(line.removeprefix("ExecStart="))
        assert words.pop(0) == "/usr/bin/env"
        return words
    document = yaml.safe_load(path.read_text())
    if place.startswith("github"):
        steps = document["jobs"]["reconcile"]["steps"]
        return shlex.split(steps[-1]["run"])
    if place.startswith("gitlab"):
        return shlex.split(document["reconcile"]["script"][-1])
    pod = document["spec"]["template"]["spec"] if document["kind"] == "Deployment" else (
        document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    )  # fmt: skip
    found: list[str] = pod["containers"][0]["command"]
    return found


def here(words: Sequence[str], team: Team, folder: Path) -> list[str]:
    """Return the words of *words* after the program, with paths of this test."""
    program, *rest = words
    assert program == "envsync"
    moved = {
        "/work/team": str(team.root),
        "/var/lib/envsync/team": str(team.root),
        "/var/lib/envsync/envsync.prom": str(folder / "envsync.prom"),
        "0.0.0.0:9090": "127.0.0.1:0",
    }
    return [moved.get(word, word) for word in rest]


@pytest.mark.parametrize(
    "place",
    [
        "github/reconcile.yml",
        "gitlab/reconcile.gitlab-ci.yml",
        "kubernetes/cronjob.yaml",
        "systemd/envsync-reconcile.service",
    ],
)
def test_what_runs_once_does_its_work(place: str, server_team: Team, tmp_path: Path) -> None:
    wanted(server_team)
    process = server_team.start(*here(words_of(place), server_team, tmp_path))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert server_team.versions("train") == ["1"]
    assert ("--metrics-file" in words_of(place)) == (tmp_path / "envsync.prom").exists()


def test_the_service_does_its_work_until_it_is_stopped(server_team: Team, tmp_path: Path) -> None:
    wanted(server_team)
    words = here(words_of("kubernetes/deployment.yaml"), server_team, tmp_path)
    process = server_team.start(*words)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("{") and json.loads(line)["event"] == "tick.ended":
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert server_team.versions("train") == ["1"]

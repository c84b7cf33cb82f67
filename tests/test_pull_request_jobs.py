"""The ready-made jobs for pull requests, run as they are: from a stranger's branch to the comment.

A small runner takes the files of docs/examples apart as GitHub and GitLab do and runs their shell
lines. Sources: https://docs.gitlab.com/ci/yaml/ and
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from tests.parts.forges import TOKEN, Forge, serve_forge
from tests.parts.process import tool
from tests.reliability.counts import count
from tests.team import MUTATING, Team
from tests.test_untrusted import canaries

EXAMPLES = Path(__file__).parents[1] / "docs/examples"
INSTALL = "pip install envsync"
PROGRAM = Path(sys.executable).with_name("envsync")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job that ended, and what its envsync was given."""

    code: int
    log: str
    variables: str
    """Of the process `envsync`; '' when there was none."""
    folder: tuple[str, ...]
    """What stood in the folder that it ran in."""


@dataclass(slots=True, kw_only=True)
class Machine:
    """Where jobs run: each in a new folder, with no variables but those that it is given."""

    team: Team
    home: Path

    def new_folder(self) -> Path:
        """Return an empty folder for one job."""
        folder = self.home / f"job-{len(list(self.home.iterdir()))}"
        folder.mkdir(parents=True)
        return folder

    def shell(self, script: str, folder: Path, variables: Mapping[str, str], options: str) -> Job:
        """Run a script as a runner does; what `INSTALL` asks for is there already."""
        lines = script.splitlines()
        assert lines.count(INSTALL) <= 1
        seen = self.home / "seen"
        shutil.rmtree(seen, ignore_errors=True)
        seen.mkdir()
        done = subprocess.run(
            [tool("bash"), "--noprofile", "--norc", options, "pipefail", "-c",
             "\n".join(line for line in lines if line != INSTALL)],
            cwd=folder,
            env={**self._machine(seen), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )  # fmt: skip
        given = seen / "variables"
        return Job(
            code=done.returncode,
            log=done.stdout + done.stderr,
            variables=given.read_text().replace("\0", "\n") if given.exists() else "",
            folder=tuple((seen / "folder").read_text().split()) if given.exists() else (),
        )

    def _machine(self, seen: Path) -> dict[str, str]:
        programs = self.home / "programs"
        programs.mkdir(exist_ok=True)
        envsync = programs / "envsync"
        envsync.write_text(
            f"#!/bin/sh\nenv -0 > {seen}/variables\nls -A > {seen}/folder\n"
            f'PYTHONPATH={shlex.quote(str(EXAMPLES.parents[1]))} exec {PROGRAM} "$@"\n'
        )
        envsync.chmod(0o755)
        home = self.home / "home"
        home.mkdir(exist_ok=True)
        return {
            **self.team.repository.environment,
            "HOME": str(home),
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "CI": "true",
        }


class Place(Protocol):
    """A forge's runner: takes a branch from a push to what its jobs did."""

    def pushed(self, branch: str, *, fork: bool = False) -> dict[str, Job]:
        """Run what the forge would run, and return the jobs by name."""
        ...


def git(folder: Path, *arguments: str, variables: Mapping[str, str]) -> None:
    subprocess.run(
        [tool("git"), *arguments], cwd=folder, env={**variables, "PATH": "/usr/bin:/bin"},
        check=True, capture_output=True,
    )  # fmt: skip


@dataclass(slots=True, kw_only=True)
class GitHub:
    """Runs the two workflows."""

    machine: Machine
    forge: Forge

    def pushed(self, branch: str, *, fork: bool = False) -> dict[str, Job]:
        """Plan the merge of a branch; the second workflow runs whatever came of that."""
        head = self.machine.team.arbiter.refs()[f"refs/heads/{branch}"]
        label = f"{'mallory' if fork else 'team'}:{branch}"
        self.forge.pulls = [{"number": 7, "label": label, "head": {"sha": head}}]
        artifacts: dict[str, Path] = {}
        plan = self._run("pull-request-plan.yml", "plan", branch, artifacts, self._event({}))
        run = {
            "id": 1,
            "head_sha": head,
            "head_branch": branch,
            "head_repository": {"owner": {"login": label.partition(":")[0]}},
            "pull_requests": [] if fork else [{"number": 7}],
        }
        event = self._event({"workflow_run": run})
        comment = self._run("pull-request-comment.yml", "comment", "main", artifacts, event)
        return {"plan": plan, "comment": comment}

    def _event(self, document: dict[str, Any]) -> Path:
        path = self.machine.new_folder() / "event.json"
        path.write_text(json.dumps(document or {"pull_request": {"number": 7}}))
        return path

    def _run(
        self, file: str, name: str, branch: str, artifacts: dict[str, Path], event: Path
    ) -> Job:
        workflow = yaml.safe_load((EXAMPLES / "github" / file).read_text())
        assert "write" not in workflow["permissions"].values() or name == "comment"
        given = {k: v for k, v in self.forge.github.items() if not k.endswith("_TOKEN")}
        given |= {"GITHUB_EVENT_PATH": str(event), "GITHUB_BASE_REF": "main"}
        folder, last = self.machine.new_folder(), None
        failed = False
        for step in workflow["jobs"][name]["steps"]:
            if failed and step.get("if") != "always()":
                continue
            options = step.get("with", {})
            if "run" in step:
                assert step.get("shell") is None
                variables = {k: self._value(v) for k, v in step.get("env", {}).items()}
                job = self.machine.shell(step["run"], folder, {**given, **variables}, "-eo")
                last = job if step["run"] != INSTALL else last
                failed = failed or job.code != 0
                continue
            match step["uses"].partition("@")[0]:
                case "actions/setup-python":
                    assert options == {"python-version": "3.11"}
                case "actions/checkout":
                    assert options == {"fetch-depth": 0, "persist-credentials": False}
                    self._check_out(folder, branch)
                case "actions/upload-artifact":
                    assert options["if-no-files-found"] == "ignore"
                    if (folder / options["path"]).exists():
                        artifacts[options["name"]] = folder / options["path"]
                case "actions/download-artifact":
                    assert self._value(options["github-token"]) == TOKEN
                    shutil.copy(artifacts[options["name"]], folder)
                case other:
                    pytest.fail(f"nothing here does what {other} does")
        assert last is not None
        return last

    def _value(self, text: str) -> str:
        known = {"github.base_ref": "main", "github.token": TOKEN}
        return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: known[found[1]], text)

    def _check_out(self, folder: Path, branch: str) -> None:
        """Check out what GitHub offers for a pull request: the merge of both, with all branches."""
        variables = self.machine.team.repository.environment
        remote = str(self.machine.team.arbiter.path)
        git(folder, "clone", "--quiet", remote, ".", variables=variables)
        git(folder, "checkout", "--quiet", "--detach", "origin/main", variables=variables)
        git(folder, "merge", "--quiet", "--no-ff", "-m", "merge", f"origin/{branch}",
            variables=variables)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class GitLab:
    """Runs the pipeline of a merge request."""

    machine: Machine
    forge: Forge

    def pushed(self, branch: str, *, fork: bool = False) -> dict[str, Job]:
        """Run the jobs whose rules hold; in a fork without the project's variables."""
        document = yaml.safe_load((EXAMPLES / "gitlab/merge-request.gitlab-ci.yml").read_text())
        given = {k: v for k, v in self.forge.gitlab.items() if k != "GITLAB_TOKEN"}
        given |= {
            "CI_PIPELINE_SOURCE": "merge_request_event",
            "CI_MERGE_REQUEST_PROJECT_ID": given["CI_PROJECT_ID"],
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        }
        if fork:
            given["CI_PROJECT_ID"] = "99"
        jobs: dict[str, Job] = {}
        folders: dict[str, Path] = {}
        for name, job in document.items():
            needed = [jobs[other] for other in job.get("needs", [])]
            (rule,) = job["rules"]
            always = rule.get("when") == "always"
            if not _holds(rule["if"], given) or (any(n.code for n in needed) and not always):
                continue
            variables = {**given, **job["variables"], **self._scoped(job, fork=fork)}
            folder = folders[name] = self.machine.new_folder()
            if variables.get("GIT_STRATEGY") != "none":
                assert variables["GIT_DEPTH"] == "0"
                self._check_out(folder, branch)
            for other in job.get("needs", []):
                for path in document[other]["artifacts"]["paths"]:
                    shutil.copy(folders[other] / path, folder)
            jobs[name] = self.machine.shell("\n".join(job["script"]), folder, variables, "-eo")
        return jobs

    def _scoped(self, job: Mapping[str, Any], *, fork: bool) -> dict[str, str]:
        """Return the project's variable, where the scope that the file tells of is the job's."""
        if fork or job.get("environment", {}).get("name") != "envsync-comment":
            return {}
        assert job["environment"]["action"] == "prepare"
        return {"GITLAB_TOKEN": TOKEN}

    def _check_out(self, folder: Path, branch: str) -> None:
        """Fetch what a runner fetches: the commit, and no other branch."""
        variables = self.machine.team.repository.environment
        remote = str(self.machine.team.arbiter.path)
        git(folder, "init", "--quiet", variables=variables)
        git(folder, "remote", "add", "origin", remote, variables=variables)
        git(folder, "fetch", "--quiet", "origin", f"refs/heads/{branch}", variables=variables)
        git(folder, "checkout", "--quiet", "--detach", "FETCH_HEAD", variables=variables)


def _holds(rule: str, variables: Mapping[str, str]) -> bool:
    """Tell whether a rule holds, which is made of == and && only."""

    def value(word: str) -> str:
        return variables[word[1:]] if word.startswith("$") else word.strip('"')

    parts = [part.split(" == ") for part in rule.split(" && ")]
    return all(value(left) == value(right) for left, right in parts)


@pytest.fixture
def forge() -> Iterator[Forge]:
    with serve_forge() as server:
        yield server


@pytest.fixture(params=["github", "gitlab"])
def place(request: pytest.FixtureRequest, server_team: Team, forge: Forge, tmp_path: Path) -> Place:
    """The jobs of each forge in turn, in a team with one applied environment."""
    home = tmp_path / "machine"
    home.mkdir()
    server_team.ask("train", "tiny-00003")
    server_team.repository.git("push", "--quiet", "origin", "main")
    assert server_team.envsync("apply").code == 0
    server_team.repository.git("switch", "--quiet", "-c", "newer")
    machine = Machine(team=server_team, home=home)
    return (GitHub if request.param == "github" else GitLab)(machine=machine, forge=forge)


def push(team: Team) -> None:
    team.repository.git("push", "--quiet", "--force", "origin", "newer")


@pytest.mark.parametrize("file", ["github/pull-request-plan.yml", "github/pull-request-comment.yml",
                                  "gitlab/merge-request.gitlab-ci.yml"])  # fmt: skip
def test_each_job_installs_envsync_and_nothing_else(file: str) -> None:
    document = yaml.safe_load((EXAMPLES / file).read_text())
    for job in document.get("jobs", document).values():
        lines = job.get("script") or [s["run"] for s in job["steps"] if "run" in s]
        assert [line for line in lines if "pip" in line] == [INSTALL]
        assert lines[0] == INSTALL


def test_from_a_stranger_s_branch_to_the_comment(
    place: Place, server_team: Team, forge: Forge, tmp_path: Path
) -> None:
    team = server_team
    assert team.registry is not None
    team.ask("train", "tiny-00004")
    sentinel = tmp_path / "fired"
    canaries(team, sentinel)
    push(team)
    changing = sum(len(team.registry.requests(method)) for method in MUTATING)
    refs = team.arbiter.refs()

    jobs = place.pushed("newer")

    assert [job.code for job in jobs.values()] == [0, 0], [job.log for job in jobs.values()]
    plan, comment = jobs["plan"], jobs["comment"]
    assert plan.variables
    assert "TOKEN" not in plan.variables
    assert TOKEN not in plan.variables
    assert "environments" in plan.folder
    assert f"_TOKEN={TOKEN}" in comment.variables
    assert comment.folder == ("plan.json",), "the second job has more than the plan file"
    (body,) = forge.bodies()
    assert "1 environment gets a new version" in body
    assert "| `tiny-00004` |  | `1.0` | added | new request: `tiny-00004` |" in body
    assert not sentinel.exists(), "something of the branch ran"
    assert sum(len(team.registry.requests(method)) for method in MUTATING) == changing
    assert team.arbiter.refs() == refs

    team.ask("train", "tiny-00005")
    push(team)
    jobs = place.pushed("newer")
    assert [job.code for job in jobs.values()] == [0, 0], [job.log for job in jobs.values()]
    (edited,) = forge.bodies()
    assert "`tiny-00005`" in edited
    count("X7", jobs=4, comments=1)


def test_what_cannot_be_built_is_commented_too(
    place: Place, server_team: Team, forge: Forge
) -> None:
    server_team.spec("train", "tiny-00004")
    server_team.repository.commit("not locked")
    push(server_team)
    jobs = place.pushed("newer")
    assert jobs["plan"].code == 6, jobs["plan"].log
    assert jobs["comment"].code == 0, jobs["comment"].log
    (body,) = forge.bodies()
    assert "1 environment cannot go on" in body
    count("X7", jobs=2, comments=1)


def test_a_fork_gets_a_comment_where_the_forge_can_do_it_safely(
    place: Place, server_team: Team, forge: Forge
) -> None:
    server_team.ask("train", "tiny-00004")
    push(server_team)
    jobs = place.pushed("newer", fork=True)
    assert jobs["plan"].code == 0, jobs["plan"].log
    assert TOKEN not in jobs["plan"].variables
    if isinstance(place, GitHub):
        assert len(forge.bodies()) == 1
    else:
        assert "comment" not in jobs, "there is no token for it"
        assert "train: new version 2" in jobs["plan"].log
        assert forge.requests == []
    count("X7", jobs=len(jobs), forks=1)

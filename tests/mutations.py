"""The mutation check: take a line of safety away, and see whether a test notices.

``python -m tests.mutations`` copies the project into a temporary folder, takes one line away at a
time, and runs the tests that have to fail then. They pass before, or a failure would prove nothing.
A line that is not there any more is an error, so that the list cannot rot.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("envsync", "tests", "benchmarks", "pyproject.toml", "README.md", "action.yml", "docs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A line of safety, what stands there without it, and the tests that must notice."""

    name: str
    file: str
    old: str
    new: str
    tests: Sequence[str]


MUTATIONS = (
    Mutation(
        name="records are pushed atomically",
        file="adapters/git/repository.py",
        old='"--quiet", "--atomic", "--no-verify"',
        new='"--quiet", "--no-verify"',
        tests=["tests/test_git.py", "tests/reliability/test_git_faults.py"],
    ),
    Mutation(
        name="records are created and never moved",
        file="adapters/git/repository.py",
        old='leases = [f"--force-with-lease={ref}:" for ref in wanted]',
        new='leases = ["--force"]',
        tests=["tests/test_git.py"],
    ),
    Mutation(
        name="what was published is read back",
        file="operations/publish.py",
        old="    digest = verify(registry, repository, image.definition)\n    if digest",
        new="    digest = image.top.digest\n    if digest",
        tests=[
            "tests/test_faults.py",
            "tests/test_apply.py",
            "tests/reliability/test_registry_faults.py",
        ],
    ),
    Mutation(
        name="what is published and not recorded is adopted",
        file="planning/diff.py",
        old="    if content:\n        adopt",
        new="    if False:\n        adopt",
        tests=["tests/test_diff.py"],
    ),
    Mutation(
        name="only a proved 404 is absent",
        file="adapters/registry/http_registry.py",
        old="elif answer.status == 404 and answer.origin == self._host.origin:",
        new="elif answer.status >= 400:",
        tests=["tests/registry/test_http_reading.py", "tests/reliability/test_unknown.py"],
    ),
    Mutation(
        name="digests of what is read are compared",
        file="adapters/registry/streams.py",
        old='if (found := f"sha256:{digest.hexdigest()}") != descriptor.digest:',
        new="if (found := f\"sha256:{digest.hexdigest()}\") == '':",
        tests=["tests/registry/test_contract.py", "tests/registry/test_http_reading.py"],
    ),
    Mutation(
        name="archives are compared with the lock's hash",
        file="adapters/building/archives.py",
        old="    if found != package.sha256:\n        raise InvalidInput(\n",
        new="    if not found:\n        raise InvalidInput(\n",
        tests=["tests/test_build.py", "tests/test_wheels.py"],
    ),
    Mutation(
        name="a terminal is not sent what it would obey",
        file="cli/output.py",
        old='return "".join(kept)',
        new="return text",
        tests=["tests/test_cli.py", "tests/test_which.py"],
    ),
    Mutation(
        name="texts of a branch stand in code spans",
        file="planning/markdown.py",
        old='    fence = "`" * (longest + 1)\n',
        new='    fence = ""\n',
        tests=["tests/test_plan_markdown.py"],
    ),
    Mutation(
        name="files are written aside and renamed",
        file="adapters/files/aside.py",
        old='            reach("file-rename.before")\n            path.replace(target)\n',
        new='            target.write_bytes(b"")\n            reach("file-rename.before")\n'
        "            path.replace(target)\n",
        tests=["tests/reliability/test_crashes.py", "tests/registry/test_layout.py"],
    ),
    Mutation(
        name="a login is sent to its own registry only",
        file="adapters/registry/registry_host.py",
        old="if authorization and origin == self.origin:",
        new="if authorization:",
        tests=["tests/registry/test_http_login.py", "tests/registry/test_http_writing.py"],
    ),
)


def failing(tests: Sequence[str], folder: Path) -> list[str]:
    """Run tests of a copy of the project; return the first that fails, [] when all pass."""
    words = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not full"]
    done = subprocess.run(
        [sys.executable, *words, *tests],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    failed = [
        line.split(" - ")[0].removeprefix("FAILED ") for line in lines if line[:7] == "FAILED "
    ]
    if done.returncode not in {0, 1} or (done.returncode == 1) != bool(failed):
        raise SystemExit(f"the tests could not be run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return failed


def noticed(mutation: Mutation, folder: Path) -> list[str]:
    """Return the tests that fail without the line; [] when nobody notices."""
    place = folder / "envsync" / mutation.file
    text = place.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.name}: its line is not in {mutation.file} any more")
    place.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        return failing(mutation.tests, folder)
    finally:
        place.write_text(text, encoding="utf-8")


def main() -> None:
    """Print a line for each mutation, and fail when one is not noticed."""
    missed = 0
    with tempfile.TemporaryDirectory(prefix="envsync-mutations-") as name:
        folder = Path(name)
        for part in COPIED:
            source = ROOT / part
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / part, ignore=ignore)
            else:
                shutil.copy(source, folder / part)
        sound = sorted({test for mutation in MUTATIONS for test in mutation.tests})
        if failed := failing(sound, folder):
            raise SystemExit(f"with every line in its place {failed[0]} fails")
        print("| without this | in | noticed by |\n|---|---|---|", flush=True)
        for mutation in MUTATIONS:
            found = noticed(mutation, folder)
            missed += not found
            by = f"`{found[0]}`" if found else "**nobody**"
            print(f"| {mutation.name} | `{mutation.file}` | {by} |", flush=True)
    print(f"{len(MUTATIONS) - missed} of {len(MUTATIONS)} noticed")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()

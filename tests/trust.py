"""Print the table of docs/trust.md from what test runs counted: ``python -m tests.trust FOLDER``.

The tests count when ``ENVSYNC_TRUST_COUNTS`` names a folder (`tests.reliability.counts`).
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.reliability.counts import VARIABLE

ROWS = {
    "R1": "death at every effect, by SIGKILL and by an exception",
    "R2": "death while recovering",
    "R3": "twelve requests, fifteen bad answers, once and always",
    "R4": "registries with peculiarities",
    "R5": "reads that fail while planning",
    "R6": "races of 2, 5 and 8 who apply at once",
    "R7": "faults of git",
    "R8": "applied twice",
    "R9": "what a plan says and what apply then does, in random states",
    "R10": "one definition on machines that differ",
    "R11": "the registry is lost",
    "R12": "outputs that are kept word for word",
    "R13": "inputs that nobody meant",
    "R14": "told to stop (SIGINT, SIGTERM)",
    "R15": "many environments, few of which changed",
    "X1": "text made to keep a reader busy",
    "X2": "what YAML would make of a value",
    "X3": "paths that lead out of the repository",
    "X4": "links, devices, pipes and sockets in a build context",
    "X5": "conda packages and wheels made to do harm",
    "X6": "code that would run while locking",
    "X7": "pull requests of strangers",
    "X8": "credentials in nine places, and where they must not be",
    "X9": "credentials for another host, and addresses that are never asked",
    "X10": "packages of strangers under names of ours",
    "X11": "locks that were changed by hand in a pull request",
    "X12": "injection into the comment and the terminal",
    "X13": "arguments that would be options, commands or variables",
    "X14": "another base image in the place of the one that is locked",
    "chaos": "killed in a loop, two others at work, a fifth of all answers 500",
}
"""What each row is about, as docs/trust.md says."""


def totals(folder: Path) -> Mapping[str, Mapping[str, int]]:
    """Add up what was counted in a folder, by row."""
    found: dict[str, Counter[str]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        row = found.setdefault(path.name.partition("-")[0], Counter())
        for line in path.read_text(encoding="utf-8").splitlines():
            row.update(json.loads(line))
    return found


def table(counted: Mapping[str, Mapping[str, int]]) -> str:
    """Return a Markdown table of what was counted; a row without counts was not run."""
    lines = ["| | what happens | what a run counted |", "|---|---|---|"]
    for row, words in ROWS.items():
        numbers = counted.get(row, {})
        text = ", ".join(f"{number:,} {what.replace('_', ' ')}" for what, number in numbers.items())
        lines.append(f"| {row} | {words} | {text or 'not run'} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    folder = sys.argv[1] if len(sys.argv) > 1 else os.environ.get(VARIABLE, "")
    if not folder or not Path(folder).is_dir():
        sys.exit(f"name the folder of the counts, or set {VARIABLE}")
    print(table(totals(Path(folder))))


if __name__ == "__main__":
    main()

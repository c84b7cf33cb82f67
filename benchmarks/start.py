"""Start-up: what a person waits for before anything is done."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial

from benchmarks.checkout import ENVSYNC, checkout
from benchmarks.measure import Candidate, alternate, timed
from benchmarks.report import Table

_COMMANDS = (
    ("envsync", "--help"),
    ("envsync", "--version"),
    ("envsync", "plan", "--help"),
    ("python", "-c", "import click"),
    ("python", "-c", "pass"),
)
_PROGRAMS = {"envsync": ENVSYNC, "python": (sys.executable,)}


def measure(runs: int, size: int) -> Sequence[Table]:
    """Compare ``--help`` and ``--version`` with an interpreter that does nothing."""
    with checkout() as place:
        candidates = [
            Candidate(
                name=shlex.join(words),
                rank="ours" if words[0] == "envsync" else "limit",
                command=shlex.join(words),
                run=partial(
                    timed,
                    [*_PROGRAMS[words[0]], *words[1:]],
                    environment=place.environment,
                    folder=place.root,
                ),
            )
            for words in _COMMANDS
        ]
        rows = alternate(candidates, runs)
    remark = "An interpreter that does nothing is the limit; the command line library comes next."
    return [Table(title="Start-up", rows=rows, remarks=(remark,))]

"""conda-lock with a solver that takes no time: the least that conda-lock can take with any solver.

What it calls is no solver. It prints the answer that was written down before, which is what envsync
locked, in the words of ``conda create --dry-run --json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.checkout import Checkout
from benchmarks.measure import Candidate, Usage, timed
from envsync.adapters.locks.conda_lock_file import parse_lock

NAME = "conda-lock, a solver that takes no time"
_WORDS = "conda-lock lock --conda ./conda -p linux-64 -f conda.yaml --lockfile other.yml"


def instant_solver(place: Checkout, environment: str) -> Candidate:
    """Return conda-lock locking an environment that is locked already."""
    folder = place.root / "environments" / environment
    aside = place.folder / "standin"
    aside.mkdir(exist_ok=True)
    answer, program, lock = aside / "answer.json", aside / "conda", aside / "other.yml"
    answer.write_text(json.dumps(_answer(place, environment)), encoding="utf-8")
    program.write_text(f"#!/bin/sh\nexec cat '{answer}'\n", encoding="utf-8")
    program.chmod(0o755)
    words = [str(Path(sys.executable).with_name("conda-lock")), "lock", "--conda", str(program)]
    words += ["-p", "linux-64", "-f", "conda.yaml", "--lockfile", str(lock)]

    def run() -> Usage:
        lock.unlink(missing_ok=True)
        usage = timed(words, environment=place.environment, folder=folder)
        if not lock.exists():
            raise RuntimeError("conda-lock wrote no lock")
        return usage

    return Candidate(
        name=NAME,
        command=_WORDS,
        run=run,
        note="./conda solves nothing: it prints an answer that was written down before",
    )


def _answer(place: Checkout, environment: str) -> object:
    folder = place.root / "locks" / environment
    files = [(folder / name).read_bytes() for name in ("conda-lock.yml", "image.yaml")]
    lock = parse_lock(files[0], files[1], f"locks/{environment}")
    assert lock is not None
    packages = [
        {
            "name": package.name,
            "version": package.version,
            "url": package.url,
            "fn": package.file_name,
            "channel": package.url.rsplit("/", 2)[0],
            "md5": package.md5 or "0" * 32,
            "sha256": package.sha256,
            "depends": [f"{name} {text}".strip() for name, text in package.depends.items()],
        }
        for package in lock.packages["linux-64"]
    ]
    return {"success": True, "actions": {"FETCH": packages, "LINK": []}}

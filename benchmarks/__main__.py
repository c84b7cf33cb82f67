"""Run benchmarks: ``python -m benchmarks [NAME…] [--write]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from benchmarks import page
from benchmarks.machine import describe
from benchmarks.report import Table, as_text
from tests.parts.cache import Unavailable

NAMES = {
    "start": "envsync --help beside an interpreter that does nothing",
    "plan": "nothing changed: beside a loop of skopeo, and a load generator",
    "lock": "one environment, many environments, --check",
    "build": "a cold build and push, beside docker build + push and install + tar + skopeo",
    "change": "one package changed, beside the same peers with warm caches",
    "again": "a sibling, a patched base, a lost registry",
    "history": "bytes of an update over three years of real locks",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are named, or all, and print a table for each comparison."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="envsync beside its peers, as ratios.",
        epilog="; ".join(f"{name}: {text}" for name, text in NAMES.items()),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all without a name")
    parser.add_argument("--runs", type=int, default=5, help="alternating runs of each (5)")
    parser.add_argument("--size", type=int, default=200, help="environments of plan (200)")
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    chosen = parser.parse_args(arguments)
    if unknown := sorted({*chosen.names} - {*NAMES}):
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    machine = describe()
    sys.stdout.write("\n".join(machine) + "\n")
    missing = 0
    for name in chosen.names or NAMES:
        try:
            tables: Sequence[Table] = import_module(f"benchmarks.{name}").measure(
                chosen.runs, chosen.size
            )
        except Unavailable as lacking:
            missing += 1
            sys.stdout.write(f"\n{name} cannot be measured here: {lacking}\n")
            continue
        for table in tables:
            sys.stdout.write(f"\n{as_text(table)}\n")
        if chosen.write:
            page.write({name: tables}, list(NAMES), machine)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

"""Run benchmarks: ``python -m benchmarks [P1…] [--write]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from importlib import import_module

from benchmarks import page
from benchmarks.machine import describe
from benchmarks.report import Table, as_text
from benchmarks.rows import ROWS
from benchmarks.verdict import judge
from tests.parts.cache import Unavailable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows that are named, or all, print a table for each comparison, and its verdict."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="envsync beside its peers, as ratios.",
        epilog="; ".join(f"{row.id}: {row.work}" for row in ROWS),
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="P1 to P14; all without one")
    parser.add_argument(
        "--runs", type=int, default=5, help="alternating runs of each (5; 3 of what takes long)"
    )
    parser.add_argument("--size", type=int, default=1000, help="environments of P1 (1000)")
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    chosen = parser.parse_args(arguments)
    known = [row.id for row in ROWS]
    wanted = {name.upper() for name in chosen.rows} or {*known}
    if unknown := sorted(wanted - {*known}):
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(known)}")
    machine = describe()
    sys.stdout.write("\n".join(machine) + "\n")
    missing = 0
    for module in modules(wanted):
        try:
            for name, tables, seconds in _measured(module, wanted, chosen.runs, chosen.size):
                verdict = judge(name, tables, chosen.size)
                for table in tables:
                    sys.stdout.write(f"\n{as_text(table)}\n")
                sys.stdout.write(f"\n{name}: {verdict.reached}: {verdict.verdict}\n")
                sys.stderr.write(f"  {name} took {seconds:.0f} s\n")
                if chosen.write:
                    page.write(name, tables, verdict, machine)
        except Unavailable as lacking:
            missing += 1
            sys.stdout.write(f"\n{module} cannot be measured here: {lacking}\n")
    return 1 if missing else 0


def modules(wanted: Collection[str]) -> list[str]:
    """Return the modules that measure some rows, each once, in the order of the rows."""
    return list(dict.fromkeys(row.module for row in ROWS if row.id in wanted))


def _measured(
    module: str, wanted: Collection[str], runs: int, size: int
) -> Iterator[tuple[str, Sequence[Table], float]]:
    """Yield each wanted row of a module, its tables, and the seconds since the one before."""
    rows = [row for row in ROWS if row.module == module and row.id in wanted]
    measure = import_module(f"benchmarks.{module}").measure
    start = time.monotonic()
    if not rows[0].together:
        (row,) = rows
        tables = measure(runs, size)
        yield row.id, tables, time.monotonic() - start
        return
    for name, tables in measure({row.id for row in rows}, runs, size):
        yield name, tables, time.monotonic() - start
        start = time.monotonic()


if __name__ == "__main__":
    sys.exit(main())

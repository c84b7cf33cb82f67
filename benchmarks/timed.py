"""Run a program and write down what it took: ``timed.py REPORT PROGRAM [ARGUMENT…]``.

A program of its own because the peak memory of a child begins with that of the process that started
it, and this one is small. It imports nothing of ours and starts with ``python -I -S``.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main(report: str, command: list[str]) -> int:
    """Run *command* and write wall and CPU seconds, peak memory in bytes and exit code as JSON."""
    start = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - start
    code = os.waitstatus_to_exitcode(status)
    numbers = {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss * 1024,
        "code": code,
    }
    with open(report, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib takes long to load
        json.dump(numbers, file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

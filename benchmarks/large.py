"""A channel of large real packages, so that an environment has the size that people complain of."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Literal

from tests.parts.cache import cached, key_of, source_key
from tests.parts.channel import write_channel
from tests.parts.package import write_package
from tests.parts.wheels import Wheel, fetch, repack

LARGE = ("pyarrow", "polars", "matplotlib", "numba", "plotly")
"""What an environment asks for; the rest of the channel is what these need."""

# Released before the summer of 2024, so that they agree with the numpy of the test channel.
_PURE = """
    cycler 0.12.1 2023-10-07 | plotly 5.22.0 2024-05-01 | pyparsing 3.1.2 2024-03-06
    tenacity 8.3.0 2024-05-07
"""
_COMPILED = """
    contourpy 1.2.1 2024-04-02 | fonttools 4.51.0 2024-04-05 | kiwisolver 1.4.5 2023-08-24
    llvmlite 0.42.0 2024-01-31 | matplotlib 3.8.4 2024-04-04 | numba 0.59.1 2024-03-18
    pillow 10.3.0 2024-04-01 | polars 0.20.31 2024-06-01 | pyarrow 16.1.0 2024-05-14
"""
_RECIPE = ("channel.py", "package.py", "wheels.py")


def large_channel() -> Path:
    """Return the folder of the channel, made from PyPI's wheels on the first use here.

    Raises Unavailable when a wheel cannot be had.
    """
    wheels = [*_listed(_PURE, "noarch"), *_listed(_COMPILED, "linux-64")]

    def build(folder: Path) -> None:
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            # The largest first, so that no thread is left alone with it at the end.
            files = sorted(fetch(wheels).items(), key=lambda item: -item[1].stat().st_size)
            tasks = [pool.submit(_write, wheel, file, folder) for wheel, file in files]
            for task in tasks:
                task.result()
        write_channel(folder, [])

    identity = [f"{wheel.subdir} {wheel.name} {wheel.version}" for wheel in wheels]
    return cached("channels", f"large-{key_of([source_key(*_RECIPE), *identity])}", build)


def _write(wheel: Wheel, file: Path, folder: Path) -> None:
    write_package(repack(wheel, file), folder)


def _listed(table: str, subdir: Literal["noarch", "linux-64"]) -> list[Wheel]:
    rows = [row.split() for line in table.strip().splitlines() for row in line.split("|")]
    return [
        Wheel(name=name, version=version, released=date.fromisoformat(day), subdir=subdir)
        for name, version, day in rows
    ]

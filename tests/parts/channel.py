"""Conda channels made of real packages, for there is no channel that tests can count on."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Literal

import zstandard
from rattler.index import index_fs

from tests.parts import cpython
from tests.parts.cache import Unavailable, cached, key_of, source_key
from tests.parts.madeup import extra_packages, made_up_packages, tiny_packages
from tests.parts.package import Package, write_package
from tests.parts.wheels import Wheel, fetch, repack

Which = Literal["small", "full", "extra"]

_FOREIGN_REASON = "linux-aarch64-unavailable.txt"
_SOURCES = ("channel.py", "cpython.py", "debs.py", "elf.py", "madeup.py", "package.py", "wheels.py")

# With the newest of each released before 2024-06-01 everything can be solved, and again with the
# newest of all: `exclude_newer` has something to choose between.
_PURE_SMALL = """
    blinker 1.7.0 2023-11-01 | blinker 1.9.0 2024-11-08 | certifi 2024.2.2 2024-02-02
    charset-normalizer 3.3.2 2023-10-31 | click 8.1.7 2023-08-17 | click 8.1.8 2024-12-21
    flask 3.0.3 2024-04-07 | flask 3.1.0 2024-11-13 | idna 3.6 2023-11-25
    itsdangerous 2.1.2 2022-03-24 | itsdangerous 2.2.0 2024-04-16 | jinja2 3.1.3 2024-01-10
    markdown-it-py 3.0.0 2023-06-03 | mdurl 0.1.2 2022-08-14 | pygments 2.17.2 2023-11-21
    pip 24.0 2024-02-03 | requests 2.31.0 2023-05-22 | rich 13.7.1 2024-02-28
    rich 14.0.0 2025-03-30 | setuptools 69.5.1 2024-04-13 | urllib3 2.2.1 2024-02-18
    werkzeug 3.0.2 2024-04-01 | werkzeug 3.1.3 2024-11-08 | wheel 0.43.0 2024-03-11
"""
_PURE_FULL = """
    certifi 2025.4.26 2025-04-26 | click 8.2.1 2025-05-20 | idna 3.10 2024-09-15
    jinja2 3.1.6 2025-03-05 | joblib 1.4.2 2024-05-02 | packaging 23.2 2023-10-01
    packaging 24.2 2024-11-08 | python-dateutil 2.9.0.post0 2024-03-01 | pytz 2024.1 2024-02-02
    requests 2.32.4 2025-06-09 | six 1.16.0 2021-05-05 | threadpoolctl 3.5.0 2024-04-29
    tqdm 4.66.2 2024-02-10 | tzdata 2024.1 2024-02-11 | urllib3 2.5.0 2025-06-18
"""
_COMPILED_SMALL = "markupsafe 2.1.5 2024-02-02 | numpy 1.26.4 2024-02-05 | numpy 2.2.6 2025-05-17"
_COMPILED_FULL = """
    markupsafe 3.0.2 2024-10-18 | pandas 2.2.2 2024-04-10 | pyyaml 6.0.1 2023-07-18
    scikit-learn 1.5.0 2024-05-21 | scipy 1.13.0 2024-04-02
"""
_FOREIGN = f"{_COMPILED_SMALL} | markupsafe 3.0.2 2024-10-18 | pyyaml 6.0.1 2023-07-18"


def test_channel(which: Which) -> Path:
    """Return the folder of a channel, made on the first use on this machine.

    `small` has python, click, rich, requests, flask and numpy; `full` has all; `extra` is the
    second home of some packages of the other two. Raises Unavailable when it cannot be made.
    """
    if which == "extra":
        return make_channel("extra", extra_packages())
    wheels = _wheels(_PURE_SMALL, "noarch") + _wheels(_COMPILED_SMALL, "linux-64")
    interpreters = [cpython.installed()]
    reason = ""
    if which == "full":
        wheels += _wheels(_PURE_FULL, "noarch") + _wheels(_COMPILED_FULL, "linux-64")
        wheels += _wheels(_FOREIGN, "linux-aarch64")
        try:
            interpreters.append(cpython.foreign())
        except Unavailable as missing:
            reason = str(missing)

    def build(folder: Path) -> None:
        files = fetch(wheels)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            tasks = [pool.submit(_write_python, one, folder) for one in interpreters]
            # The largest first, so that no thread is left alone with it at the end.
            for wheel, file in sorted(files.items(), key=lambda item: -item[1].stat().st_size):
                tasks.append(pool.submit(_write_wheel, wheel, file, folder))
            for task in tasks:
                task.result()
        write_channel(folder, made_up_packages())
        if reason:
            (folder / _FOREIGN_REASON).write_text(reason, encoding="utf-8")

    identity = [f"{one.subdir} {one.version} {one.program}" for one in interpreters]
    key = key_of([source_key(*_SOURCES), which, *identity, reason])
    return cached("channels", f"{which}-{key}", build)


test_channel.__test__ = False  # type: ignore[attr-defined]  # pytest collects by name


def why_not_aarch64(channel: Path) -> str | None:
    """Return why the full channel has no python for linux-aarch64, or None when it has."""
    note = channel / _FOREIGN_REASON
    return note.read_text(encoding="utf-8") if note.exists() else None


def make_channel(name: str, packages: Iterable[Package]) -> Path:
    """Return the folder of a channel of these packages, kept in the cache under their content."""
    listed = list(packages)
    key = key_of([source_key("package.py"), *(repr(package) for package in listed)])
    return cached("channels", f"{name}-{key}", lambda folder: write_channel(folder, listed))


def tiny_channel(count: int, *, files: int = 3, file_bytes: int = 2000) -> Path:
    """Return a channel of many tiny packages, for benchmarks."""
    packages = tiny_packages(count, files=files, file_bytes=file_bytes)
    return make_channel(f"tiny-{count}", packages)


def write_channel(folder: Path, packages: Iterable[Package]) -> None:
    """Add packages to a channel folder and index it."""
    (folder / "noarch").mkdir(parents=True, exist_ok=True)
    for package in packages:
        write_package(package, folder)
    asyncio.run(index_fs(folder, write_zst=False, write_shards=False, force=True))
    for file in folder.glob("*/repodata.json"):
        repodata = json.loads(file.read_bytes())
        for record in [*repodata["packages"].values(), *repodata["packages.conda"].values()]:
            # The clock of whoever made the channel: solvers prefer it to the package's own time.
            record.pop("indexed_timestamp", None)
        raw = json.dumps(repodata, sort_keys=True).encode()
        file.write_bytes(raw)
        file.with_suffix(".json.zst").write_bytes(zstandard.ZstdCompressor().compress(raw))


def _wheels(
    table: str, subdir: Literal["noarch", "linux-64", "linux-aarch64"]
) -> tuple[Wheel, ...]:
    rows = [row.split() for line in table.strip().splitlines() for row in line.split("|")]
    return tuple(
        Wheel(name=name, version=version, released=date.fromisoformat(day), subdir=subdir)
        for name, version, day in rows
    )


def _write_wheel(wheel: Wheel, file: Path, folder: Path) -> None:
    write_package(repack(wheel, file), folder)


def _write_python(interpreter: cpython.Interpreter, folder: Path) -> None:
    for package in cpython.packages_of(interpreter):
        write_package(package, folder)

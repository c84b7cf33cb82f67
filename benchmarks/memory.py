"""P12: peak memory of a build, of an environment and of one that is ten times as large."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.checkout import checkout
from benchmarks.measure import Candidate, Usage, alternate
from benchmarks.published import Published
from benchmarks.report import Bar, Table
from tests.parts.cache import cached, key_of, source_key
from tests.parts.channel import write_channel
from tests.parts.madeup import made
from tests.parts.package import File, write_package
from tests.parts.registry import run_registry

FILE_BYTES, FILES = 2_000_000, 4
FEW, MANY = 10, 100
RUNS = 3


def measure(runs: int, size: int) -> Sequence[Table]:
    """Build both from nothing, in turn, with empty caches and an empty registry."""
    channel = _channel()
    sizes = {"ten times as large": MANY, "one": FEW}
    with run_registry() as registry, checkout() as place:
        place.settings(registry.host)
        work = Published(place=place, registry=registry)
        names = {title: f"bulk-{count}" for title, count in sizes.items()}
        for title, count in sizes.items():
            asked = [f"bulk-{number:03d}" for number in range(count)]
            place.spec(names[title], [channel], asked)
        place.envsync("lock")
        work.keep()

        def cold(name: str) -> Usage:
            work.reset()
            place.forget()
            return work.ours(["apply", name])

        candidates = [
            Candidate(
                name=f"{title}: {_megabytes(sizes[title]):,.0f} MB in {sizes[title]} packages",
                command=f"rm -r ~/.cache/envsync; envsync apply {name}",
                run=lambda name=name: cold(name),  # type: ignore[misc]
                rank="ours",
            )
            for title, name in names.items()
        ]
        rows = alternate(candidates, min(runs, RUNS))
    return [
        Table(
            title="Memory of a build",
            rows=rows,
            remarks=(
                (
                    f"Made-up packages of {FILES} files of {FILE_BYTES / 1e6:g} MB, of which half"
                    " does not compress: only the number of packages differs."
                ),
            ),
            facts={"largest file": FILE_BYTES},
            bars=tuple(
                Bar(label=row.candidate.name, value=row.usage.memory / 1e6, kind="ours")
                for row in rows
            ),
            unit="MB",
        )
    ]


def _megabytes(count: int) -> float:
    return count * FILES * FILE_BYTES / 1e6


def _channel() -> Path:
    def build(folder: Path) -> None:
        for number in range(MANY):
            name = f"bulk-{number:03d}"
            entries = [
                File(path=f"share/{name}/{index}.bin", data=_content(f"{name} {index}"))
                for index in range(FILES)
            ]
            write_package(made(name, *entries), folder)
        write_channel(folder, [])

    key = key_of([source_key("package.py", "madeup.py"), f"{MANY} {FILES} {FILE_BYTES}"])
    return cached("channels", f"bulk-{key}", build)


def _content(seed: str) -> bytes:
    half = FILE_BYTES // 2
    noise = hashlib.shake_128(seed.encode()).digest(half)
    return noise + (seed.encode() * half)[:half]

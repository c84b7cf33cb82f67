"""Measuring programs: wall and CPU seconds, peak memory, what the registry saw; medians."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

from tests.parts.registry import Registry

_LAUNCHER = str(Path(__file__).with_name("timed.py"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one run took."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all its processes, user and system."""
    memory: int
    """Bytes, the most that one of its processes held."""
    requests: int | None = None
    """Lines in the registry's access log; None where no registry takes part."""
    stored: int | None = None
    """Bytes that the registry holds more than before."""
    read: int | None = None
    """Bytes that the registry sent in answer to GETs."""

    def times(self, factor: float) -> Usage:
        """Return the usage of *factor* such runs after one another."""
        return replace(
            self,
            wall=self.wall * factor,
            cpu=self.cpu * factor,
            requests=None if self.requests is None else round(self.requests * factor),
            stored=None if self.stored is None else round(self.stored * factor),
            read=None if self.read is None else round(self.read * factor),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to do a piece of work."""

    name: str
    command: str
    """As a person would type it, without paths of this machine."""
    run: Callable[[], Usage]
    """Prepares what has to be prepared, and measures the rest."""
    note: str = ""
    rank: Literal["peer", "limit", "ours"] = "peer"
    """Whether it does the same work otherwise, cannot be beaten, or is envsync as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A candidate and the medians of its runs."""

    candidate: Candidate
    usage: Usage
    runs: int


class CommandFailed(RuntimeError):
    """A measured command failed; the message has its output."""


def timed(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    folder: Path | None = None,
    codes: Iterable[int] = (0,),
) -> Usage:
    """Run a program and return what it took; CommandFailed for an exit code not in *codes*."""
    with tempfile.TemporaryDirectory(prefix="envsync-timed-") as aside:
        report = Path(aside, "report.json")
        words = [sys.executable, "-I", "-S", _LAUNCHER, str(report), *map(str, command)]
        done = subprocess.run(
            words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True
        )
        if done.returncode:
            raise CommandFailed(f"{words!r}: {done.stderr.decode(errors='replace')}")
        numbers = json.loads(report.read_bytes())
    if numbers["code"] not in codes:
        output = (done.stdout[-2000:] + done.stderr[-2000:]).decode(errors="replace")
        raise CommandFailed(f"{[*map(str, command)]!r} ended with {numbers['code']}:\n{output}")
    return Usage(wall=numbers["wall"], cpu=numbers["cpu"], memory=numbers["memory"])


def observed(registry: Registry, run: Callable[[], Usage]) -> Usage:
    """Run something that talks to *registry* and add what the registry saw."""
    before = stored_bytes(registry)
    registry.forget()
    usage = run()
    asked = registry.requests()
    return replace(
        usage,
        requests=len(asked),
        stored=stored_bytes(registry) - before,
        read=sum(request.response_bytes for request in asked if request.method == "GET"),
    )


def stored_bytes(registry: Registry) -> int:
    """Return the bytes of all blobs and manifests that a registry holds."""
    blobs = registry.data / "docker/registry/v2/blobs"
    return sum(file.stat().st_size for file in blobs.rglob("data")) if blobs.exists() else 0


def together(*parts: Usage) -> Usage:
    """Return the usage of steps that were run after one another."""
    requests = [part.requests for part in parts if part.requests is not None]
    stored = [part.stored for part in parts if part.stored is not None]
    read = [part.read for part in parts if part.read is not None]
    return Usage(
        wall=sum(part.wall for part in parts),
        cpu=sum(part.cpu for part in parts),
        memory=max(part.memory for part in parts),
        requests=sum(requests) if requests else None,
        stored=sum(stored) if stored else None,
        read=sum(read) if read else None,
    )


def alternate(candidates: Sequence[Candidate], runs: int) -> tuple[Measured, ...]:
    """Run the candidates in turn, *runs* times, every other round backwards; return the medians."""
    found: dict[str, list[Usage]] = {candidate.name: [] for candidate in candidates}
    for number in range(runs):
        for candidate in candidates if number % 2 == 0 else reversed(candidates):
            sys.stderr.write(f"  run {number + 1} of {runs}: {candidate.name}\n")
            found[candidate.name].append(candidate.run())
    return tuple(
        Measured(candidate=candidate, usage=_median(found[candidate.name]), runs=runs)
        for candidate in candidates
    )


def _median(usages: Sequence[Usage]) -> Usage:
    requests = [usage.requests for usage in usages if usage.requests is not None]
    stored = [usage.stored for usage in usages if usage.stored is not None]
    read = [usage.read for usage in usages if usage.read is not None]
    return Usage(
        wall=median(usage.wall for usage in usages),
        cpu=median(usage.cpu for usage in usages),
        memory=round(median(usage.memory for usage in usages)),
        requests=round(median(requests)) if requests else None,
        stored=round(median(stored)) if stored else None,
        read=round(median(read)) if read else None,
    )

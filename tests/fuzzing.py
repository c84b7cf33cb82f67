"""Inputs that nobody meant: real files with mutations, and bytes of no kind; and what is fed to."""

from __future__ import annotations

import json
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from envsync.errors import EnvsyncError

LIMIT = 5.0
"""Seconds after which an input counts as a hang."""
MEMORY = 300 << 20
"""Bytes that reading may take."""
BATCH = 200
_DEEP = 10_000

TOKENS = (
    "", " ", "\n", "\t", "\r", "\x00", "\ufeff", "\u2028", "\u202e", "é", "\U0001f98a", "\x1b[31m",
    "-", "- ", ":", ": ", "#", "&a ", "*a", "!!python/object:os.system ", "<<: ", "|", ">", "'",
    '"', "\\", "{", "}", "[", "]", "[" * 200, "{a: " * 200, "null", "~", "true", "no", "0", "-1",
    "1e999", "NaN", "Infinity", "9" * 5000, "0x10", "2026-13-45", "..", "../", "/", "//", "@", "@@",
    "sha256:", "sha256:" + "0" * 64, "sha512:" + "0" * 128, "latest", "a" * 4096, "==", "*", "**",
    "%", "%s", "%00", "${x}", "$(x)", "`x`", "http://", "https://user:pw@h/", "file:///etc/passwd",
    "::", "[build=*]", ">=1,<", "|2", "!=", "=", "~=", ";", ",", "Bearer ", "Basic ", 'realm="',
)  # fmt: skip
"""What is put into a text; each means something to some reader."""
ODD: Sequence[Any] = (
    None, True, False, 0, -1, 1.5, float("inf"), float("nan"), 10**400, "", "x", "0", [], {}, [[]],
    [None], {"": None}, {"a": {"a": []}}, "sha256:" + "0" * 64, "a" * 5000, ["x"] * 50,
)  # fmt: skip
"""What is put in the place of a part of a JSON document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that reads what others wrote."""

    seeds: Sequence[bytes]
    """Real inputs."""
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...] = (EnvsyncError,)
    """How it says that an input is none."""


@dataclass(slots=True)
class Fed:
    """What came of feeding."""

    inputs: int = 0
    refused: int = 0
    worst: float = 0.0
    """Seconds of computing that the worst input took."""


class Hang(BaseException):
    """An input that is not done with in time."""


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return an input with a few mutations."""
    if chance.random() < 0.5 and (document := _json(data)) is not None:
        for _ in range(chance.randint(1, 3)):
            document = _other_part(document, chance)
        return json.dumps(document).encode()
    if chance.random() < 0.02:
        deep = chance.choice((b"[", b'{"a":', b"- ", b"a:\n ", b"(", b"{a: "))
        return deep * chance.choice((1000, _DEEP))
    for _ in range(chance.randint(1, 4)):
        data = chance.choice(_MUTATIONS)(data, chance)
    return data


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _other_part(document: Any, chance: random.Random) -> Any:
    if not isinstance(document, dict | list) or not document or chance.random() < 0.15:
        return chance.choice(ODD)
    changed: Any = document.copy()
    keys = list(changed) if isinstance(changed, dict) else range(len(changed))
    key = chance.choice(keys)
    match chance.randrange(8):
        case 0:
            del changed[key]
        case 1 if isinstance(changed, dict):
            changed[chance.choice(TOKENS)] = changed[key]
        case 1:
            changed.append(changed[key])
        case 2:
            changed[key] = changed[chance.choice(keys)]
        case _:
            changed[key] = _other_part(changed[key], chance)
    return changed


def _put(data: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + chance.choice(TOKENS).encode() + data[at:]


def _replace(data: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + chance.choice(TOKENS).encode() + data[at + chance.randint(0, 20) :]


def _cut(data: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] if chance.random() < 0.3 else data[:at] + data[at + chance.randint(1, 60) :]


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _line(data: bytes, chance: random.Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            del lines[one]
        case 1:
            lines.insert(other, lines[one])
        case 2:
            lines[one], lines[other] = lines[other], lines[one]
        case _:
            lines[one] = b"  " * chance.randint(0, 4) + lines[one].lstrip()
    return b"".join(lines)


def _many(data: bytes, chance: random.Random) -> bytes:
    at, size = chance.randint(0, len(data)), chance.randint(1, 40)
    return data[:at] + data[at : at + size] * chance.choice((2, 10, 500)) + data[at + size :]


_MUTATIONS = (_put, _put, _replace, _cut, _flip, _line, _line, _many)


def inputs(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return a strategy of mutations of *seeds*, and of bytes and texts of no kind."""
    changed = st.builds(
        lambda data, number: mutated(data, random.Random(number)),
        st.sampled_from(seeds),
        st.integers(0, 2**48),
    )
    return st.one_of(changed, changed, changed, st.binary(max_size=300), st.text().map(str.encode))


def feed(target: Target, seconds: float, first: int = 0) -> Fed:
    """Feed batches of inputs until *seconds* are over; a batch follows from its number alone.

    Whatever a target raises beside its refusals, and a hang, end it with the input.
    """
    fed, end, number = Fed(), time.monotonic() + seconds, first

    def one(data: bytes) -> None:
        fed.inputs += 1
        began = time.thread_time()
        with _in_time():
            try:
                target.read(data)
            except target.refusals:
                fed.refused += 1
        fed.worst = max(fed.worst, time.thread_time() - began)

    for data in target.seeds:
        one(data)
    while time.monotonic() < end:
        quiet = settings(
            max_examples=BATCH, database=None, deadline=None, phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        seed(number)(quiet(given(inputs(target.seeds))(one)))()
        number += 1
    return fed


@contextmanager
def _in_time() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang(f"not done after {LIMIT} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def little_memory() -> Iterator[None]:
    """Assert that the block needs no more than `MEMORY` beside what the process has already."""
    peak = Path("/proc/self/clear_refs")
    peak.write_text("5")  # forget the highest use so far
    before = _kilobytes("VmRSS")
    yield
    used = (_kilobytes("VmHWM") - before) << 10
    assert used < MEMORY, f"it took {used >> 20} MiB"


def _kilobytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

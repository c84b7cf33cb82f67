"""Gzip members: golden bytes, and every reader takes their concatenation."""

from __future__ import annotations

import gzip
import hashlib
import random
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envsync.oci.gzip import MEMBER, cut, member
from envsync.oci.overlay import gunzip
from tests import format_golden


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_concatenated_members_are_one_gzip_stream(parts: list[bytes]) -> None:
    packed = b"".join(map(member, parts))
    assert gzip.decompress(packed) == b"".join(parts)
    for step in (1, 7, 1000):
        chunks = [packed[at : at + step] for at in range(0, len(packed), step)]
        assert b"".join(gunzip(chunks)) == b"".join(parts)


@given(st.lists(st.binary(max_size=50)), st.integers(1, 40))
def test_cutting_loses_nothing_and_cuts_at_fixed_offsets(parts: list[bytes], size: int) -> None:
    pieces = list(cut(parts, size))
    assert b"".join(pieces) == b"".join(parts)
    assert all(len(piece) == size for piece in pieces[:-1])
    assert all(0 < len(piece) <= size for piece in pieces)


@given(st.binary(min_size=1, max_size=2000), st.data())
def test_how_a_stream_arrives_does_not_move_a_byte(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data)))
    assert list(cut([data], 64)) == list(cut([data[:at], b"", data[at:]], 64))


@pytest.mark.parametrize("end", [1, 5, 9, 20])
def test_a_stream_that_ends_too_early_is_told(end: int) -> None:
    with pytest.raises(ValueError, match="early"):
        list(gunzip([member(b"something")[:-end]]))


def test_what_is_no_gzip_stream_is_told() -> None:
    with pytest.raises(ValueError, match="not a gzip stream"):
        list(gunzip([b"something else"]))


def test_the_gzip_program_accepts_members() -> None:
    packed = member(b"one ") + member(b"") + member(b"two")
    done = subprocess.run(["gzip", "-dc"], input=packed, capture_output=True, check=True)
    assert done.stdout == b"one two"


def _text(seed: int, size: int) -> bytes:
    source = random.Random(seed)
    words = [source.randbytes(source.randint(2, 12)).hex().encode() for _ in range(500)]
    return b" ".join(source.choice(words) for _ in range(size // 8))[:size]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty", b""),
        ("short", b"hello, hello, hello"),
        ("text", _text(1, MEMBER)),
        ("noise", random.Random(2).randbytes(MEMBER)),
        ("zeros", bytes(MEMBER)),
        ("mixed", _text(3, MEMBER // 2) + random.Random(4).randbytes(MEMBER // 2)),
    ],
)
def test_the_bytes_of_format_2(name: str, data: bytes) -> None:
    format_golden.check(f"gzip {name}", hashlib.sha256(member(data)).hexdigest())

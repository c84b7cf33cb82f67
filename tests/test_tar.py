"""Tar headers: golden bytes, and Python's own reader reads back what was written."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envsync.errors import InvalidInput
from envsync.oci.entry import CONSTANT_TIME, MAX_TIME, Entry, File, HardLink, SoftLink, file_of
from envsync.oci.overlay import members
from envsync.oci.tar import BLOCK, END, directory_header, entry_header, entry_stream
from tests import format_golden

NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60
).filter(lambda name: name not in {".", ".."})
PATHS = st.lists(NAMES, min_size=1, max_size=8).map("/".join)
TIMES = st.integers(0, MAX_TIME)


def read(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data + END)) as archive:
        return archive.getmembers()


def entries() -> st.SearchStrategy[Entry]:
    return st.one_of(
        st.builds(file_of, PATHS, st.binary(max_size=2000), executable=st.booleans(), mtime=TIMES),
        st.builds(SoftLink, path=PATHS, target=PATHS, mtime=TIMES),
        st.builds(HardLink, path=PATHS, target=PATHS, executable=st.booleans(), mtime=TIMES),
    )


@given(entries())
def test_pythons_reader_reads_back_what_was_written(entry: Entry) -> None:
    data = b"".join(entry_stream([entry]))
    assert len(data) % BLOCK == 0
    (found,) = read(data)
    assert found.name == entry.path.rstrip("/")
    assert int(found.mtime) == entry.mtime
    assert (found.uid, found.gid, found.uname, found.gname) == (0, 0, "", "")
    match entry:
        case File():
            assert found.isreg()
            assert found.mode == (0o755 if entry.executable else 0o644)
            with tarfile.open(fileobj=io.BytesIO(data + END)) as archive:
                content = archive.extractfile(found)
                assert content is not None
                assert content.read() == b"".join(entry.content())
        case SoftLink():
            assert found.issym()
            assert found.linkname == entry.target
        case HardLink():
            assert found.islnk()
            assert found.linkname == entry.target


@given(PATHS)
def test_folders_have_one_mode_and_one_time(path: str) -> None:
    (found,) = read(directory_header(path))
    assert found.isdir()
    assert (found.name, found.mode, int(found.mtime)) == (path, 0o755, CONSTANT_TIME)


@pytest.mark.parametrize(
    ("path", "pax"),
    [
        ("opt/env/" + "a" * 92, False),
        ("opt/env/" + "b" * 155 + "/" + "c" * 100, True),
        ("opt/" + "b" * 151 + "/" + "c" * 100, False),
        ("opt/" + "b" * 151 + "/" + "c" * 101, True),
        ("opt/" + "b" * 152 + "/" + "c" * 100, True),
        ("d" * 101, True),
        ("opt/env/é", True),
    ],
)
def test_pax_stands_only_where_a_path_needs_it(path: str, pax: bool) -> None:
    header = entry_header(file_of(path, b""))
    assert (header[156:157] == b"x") is pax
    assert len(header) == (3 * BLOCK if pax else BLOCK)
    assert read(header)[0].name == path


def test_a_file_of_more_than_eight_gibibytes_has_its_size_in_pax() -> None:
    size = 8**11
    header = entry_header(
        File(path="big", size=size, executable=False, mtime=0, content=lambda: iter(()))
    )
    info = tarfile.TarInfo.frombuf(header[2 * BLOCK :], "utf-8", "strict")
    assert b" size=8589934592\n" in header[BLOCK : 2 * BLOCK]
    assert info.size == 0


def test_a_file_that_changes_while_it_is_read_is_refused() -> None:
    entry = File(path="x", size=3, executable=False, mtime=0, content=lambda: iter([b"four"]))
    with pytest.raises(InvalidInput, match="changed"):
        list(entry_stream([entry]))


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("file", file_of("opt/env/bin/tool", b"#!/bin/sh\n", executable=True, mtime=1700000000)),
        ("long", file_of("opt/env/" + "x" * 200, b"", mtime=1700000000)),
        ("other script", file_of("opt/env/ünï", b"", mtime=1)),
        ("soft link", SoftLink(path="opt/env/lib/a.so", target="a.so.1", mtime=1700000000)),
        (
            "hard link",
            HardLink(path="opt/env/b", target="opt/env/a", executable=False, mtime=1700000000),
        ),
    ],
)
def test_the_bytes_of_format_2(name: str, entry: Entry) -> None:
    found = hashlib.sha256(b"".join(entry_stream([entry]))).hexdigest()
    format_golden.check(f"tar {name}", found)


def test_a_chunk_without_bytes_does_not_end_an_archive() -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name in ("a", "b"):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    data = raw.getvalue()
    chunks = [data[:512], b"", data[512:1400], b"", b"", data[1400:]]
    assert [member.path for member in members(chunks)] == ["a", "b"]

"""Where a wheel's files go in the prefix: PyPA installer's destination, with our own bytes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from installer.destinations import WheelDestination
from installer.records import Hash, RecordEntry
from installer.utils import Scheme

from envsync.oci.entry import CONSTANT_TIME, PREFIX, ROOT, File, path_fault
from envsync.oci.installed import is_record
from envsync.oci.inventory import Python

_CHUNK = 1 << 20
_SCRIPT_NAME = re.compile(r"[\w.+-]+")
_OBJECT = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_SCRIPT = """\
#!{prefix}/bin/python
import sys

from {module} import {first}

if __name__ == "__main__":
    sys.exit({attribute}())
"""


class WheelFiles(WheelDestination):
    """Writes a wheel's files below *folder* and keeps their entries.

    Raises ValueError for a path outside of the prefix, a path that is there twice, and an entry
    point that is not one.
    """

    def __init__(self, folder: Path, python: Python) -> None:
        self.entries: list[File] = []
        self.distribution = ""
        self._folder = folder
        self._python = python
        self._paths = set[str]()

    def write_script(self, name: str, module: str, attr: str, section: str) -> RecordEntry:
        """Write the program of an entry point."""
        if not _SCRIPT_NAME.fullmatch(name) or path_fault(name):
            raise ValueError(f"{name!r} cannot be the name of a program")
        if not _OBJECT.fullmatch(module) or not _OBJECT.fullmatch(attr):
            raise ValueError(f"{module}:{attr} is not an entry point")
        text = _SCRIPT.format(
            prefix=PREFIX, module=module, first=attr.partition(".")[0], attribute=attr
        )
        return self._write("scripts", name, io.BytesIO(text.encode()), executable=True)

    def write_file(
        self, scheme: Scheme, path: str | os.PathLike[str], stream: BinaryIO, is_executable: bool
    ) -> RecordEntry:
        """Write a file of the wheel."""
        script = scheme == "scripts"
        source = _with_interpreter(stream) if script else _chunks(stream)
        return self._write_chunks(scheme, os.fspath(path), source, script or is_executable)

    def finalize_installation(
        self,
        scheme: Scheme,
        record_file_path: str,
        records: Iterable[tuple[Scheme, RecordEntry]],
    ) -> None:
        """Write RECORD, sorted by path."""
        site_packages = self._python.site_packages
        rows: list[tuple[str, str, str]] = []
        for file_scheme, record in records:
            path = posixpath.relpath(self._target(file_scheme, record.path), site_packages)
            digest = f"{record.hash_.name}={record.hash_.value}" if record.hash_ else ""
            rows.append((path, digest, "" if record.size is None else str(record.size)))
        text = io.StringIO()
        rows.sort(key=lambda row: row[0].encode())
        csv.writer(text, lineterminator="\n").writerows(rows)
        stream = io.BytesIO(text.getvalue().encode())
        self._write(scheme, record_file_path, stream, executable=False)

    def _target(self, scheme: str, path: str) -> str:
        """Return where a file goes, relative to the prefix."""
        version = self._python.version
        folder = {
            "purelib": self._python.site_packages,
            "platlib": self._python.site_packages,
            "scripts": "bin",
            "headers": f"include/python{version}/{self.distribution}",
            "data": "",
        }[scheme]
        target = posixpath.join(folder, path)
        # Both: an absolute path would become the whole, and the project may be called "..".
        if fault := path_fault(path) or path_fault(target):
            raise ValueError(f"{path!r} {fault}")
        if is_record(target):
            raise ValueError(f"/{target} is not a package's to bring")
        return target

    def _write(self, scheme: str, path: str, stream: BinaryIO, *, executable: bool) -> RecordEntry:
        return self._write_chunks(scheme, path, _chunks(stream), executable)

    def _write_chunks(
        self, scheme: str, path: str, chunks: Iterator[bytes], executable: bool
    ) -> RecordEntry:
        target = self._target(scheme, path)
        if target in self._paths:
            raise ValueError(f"/{target} is there twice")
        self._paths.add(target)
        where = self._folder / target
        where.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with where.open("xb") as out:
            for chunk in chunks:
                out.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        self.entries.append(
            File(
                path=f"{ROOT}/{target}",
                size=size,
                executable=executable,
                mtime=CONSTANT_TIME,
                content=lambda: _read(where),
            )
        )
        text = base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
        return RecordEntry(path, Hash("sha256", text), size)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def _with_interpreter(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a script with the image's interpreter in place of ``#!python``."""
    first = stream.readline(_CHUNK)
    if first.startswith((b"#!python", b"#!pythonw")):
        _, _, arguments = first.rstrip(b"\r\n").partition(b" ")
        first = f"#!{PREFIX}/bin/python".encode() + (b" " + arguments if arguments else b"") + b"\n"
    yield first
    yield from _chunks(stream)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from _chunks(file)

"""Linking: what becomes of a conda package's files when they are put under the image's prefix.

The rules are those of conda's installers, and tests compare every file with what rattler installs.
Sources: https://docs.conda.io/projects/conda-build/en/stable/resources/make-relocatable.html and
https://docs.conda.io/projects/conda/en/stable/user-guide/concepts/packages.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from envsync.oci.entry import PREFIX
from envsync.oci.inventory import Python

Mode = Literal["text", "binary"]

_SHEBANG_MAX = 127
"""Bytes of a first line that Linux reads."""
_SHEBANG = re.compile(rb"#! *(/(?:\\ |[^ \n\r\t])*)(.*)", re.DOTALL)
_PYTHON = re.compile(rb"python(?:\d+(?:\.\d+)?)?")
_SCRIPT = """\
#!{prefix}/bin/python{version}
# -*- coding: utf-8 -*-
import re
import sys

from {module} import {first}

if __name__ == '__main__':
\tsys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])
\tsys.exit({attribute}())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoint:
    """A program that is made when a python package is linked."""

    name: str
    module: str
    attribute: str

    @property
    def path(self) -> str:
        """Where it goes, relative to the prefix."""
        return f"bin/{self.name}"

    def script(self, python: Python) -> bytes:
        """Return the program's text."""
        return _SCRIPT.format(
            prefix=PREFIX,
            version=python.version,
            module=self.module,
            first=self.attribute.partition(".")[0],
            attribute=self.attribute,
        ).encode()


def placed(path: str, python: Python | None) -> str:
    """Return where a file of a noarch python package goes, both relative to the prefix."""
    if python is not None:
        if path.startswith("site-packages/"):
            return f"{python.site_packages}/{path.removeprefix('site-packages/')}"
        if path.startswith("python-scripts/"):
            return f"bin/{path.removeprefix('python-scripts/')}"
    return path


def patched(data: bytes, placeholder: bytes, mode: Mode) -> bytes:
    """Return a file's content with the image's prefix where the placeholder stands.

    ValueError when it does not fit in place of the placeholder in a binary file.
    """
    prefix = PREFIX.encode()
    return (
        _binary(data, placeholder, prefix) if mode == "binary" else _text(data, placeholder, prefix)
    )


def _text(data: bytes, placeholder: bytes, prefix: bytes) -> bytes:
    if not data.startswith(b"#!"):
        return data.replace(placeholder, prefix)
    end = data.find(b"\n")
    if end < 0:
        # Without an end of the line nothing of it is one, for the installers that we follow.
        return data.replace(placeholder, prefix)
    first = data[:end].replace(placeholder, prefix)
    if len(first.decode(errors="replace").encode()) > _SHEBANG_MAX:
        first = _through_env(first)
    return first + data[end:].replace(placeholder, prefix)


def _through_env(line: bytes) -> bytes:
    match = _SHEBANG.fullmatch(line)
    if match is None:
        return line
    program, rest = match[1], match[2]
    name = program.rpartition(b"/")[2]
    if _PYTHON.fullmatch(name):
        return b"#!/bin/sh\n'''exec' \"" + program + b'"' + rest + b' "$0" "$@" #\'\'\''
    return b"#!/usr/bin/env " + name + rest


def _binary(data: bytes, placeholder: bytes, prefix: bytes) -> bytes:
    if len(prefix) > len(placeholder):
        raise ValueError(f"{PREFIX} is longer than the prefix it was built with")
    found: list[bytes] = []
    start = 0
    while (index := data.find(placeholder, start)) >= 0:
        end = data.find(b"\0", index + len(placeholder))
        end = len(data) if end < 0 else end
        text = data[index:end].replace(placeholder, prefix)
        found += data[start:index], text.ljust(end - index, b"\0")
        start = end
    return b"".join((*found, data[start:])) if found else data

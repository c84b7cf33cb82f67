"""Tiny packages for the corners of the conda format that repacked wheels do not reach."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

from tests.parts.package import (
    PLACEHOLDER,
    Entry,
    File,
    HardLink,
    Package,
    SoftLink,
    build_string,
)
from tests.parts.wheels import PYTHON

_RELEASED = date(2023, 3, 1)


def text(path: str, content: str, *, executable: bool = False) -> File:
    """Return a text file; it has a text placeholder when the placeholder stands in it."""
    placeholder = "text" if PLACEHOLDER in content else None
    return File(
        path=path,
        data=content.encode(),
        executable=executable,
        placeholder="text" if placeholder else None,
    )


def binary(path: str, *strings: str) -> File:
    """Return a file of zero-terminated strings between bytes that are no text."""
    body = b"".join(string.encode() + b"\0\x01\xff" for string in strings)
    return File(path=path, data=b"\x7fBIN\0" + body, executable=True, placeholder="binary")


def made(
    name: str, *entries: Entry, version: str = "1.0", depends: tuple[str, ...] = ()
) -> Package:
    """Return a noarch generic package that a test makes up."""
    return Package(
        name=name,
        version=version,
        build=build_string(entries),
        released=_RELEASED,
        subdir="noarch",
        noarch="generic",
        depends=depends,
        entries=entries,
        summary=f"Made up for tests: {name}",
    )


def _for_linux(package: Package) -> Package:
    return replace(package, subdir="linux-64", noarch=None)


def prefixed() -> Package:
    """Return a package with the prefix in scripts, in text and in a binary."""
    data = f"{PLACEHOLDER}/share/prefixed"
    python = f"#!{PLACEHOLDER}/bin/python{PYTHON}\nprint({data!r})\n"
    package = made(
        "prefixed",
        text("bin/prefixed-sh", f"#!/bin/sh\ncat {data}/message.txt\n", executable=True),
        text("bin/prefixed-py", python, executable=True),
        text("etc/prefixed.conf", f"data = {data}\nagain = {data}:{PLACEHOLDER}/lib\n"),
        text("share/prefixed/message.txt", "found by its prefix\n"),
        binary("lib/prefixed.bin", data, "no prefix", f"{data}:{PLACEHOLDER}/lib"),
        depends=("python",),
    )
    return _for_linux(package)


def linked() -> Package:
    """Return a package with soft links to files and to a folder, and a pair of hard links."""
    package = made(
        "linked",
        text("lib/liblinked.so.1.2.3", "not really a library\n", executable=True),
        SoftLink(path="lib/liblinked.so.1", target="liblinked.so.1.2.3"),
        SoftLink(path="lib/liblinked.so", target="liblinked.so.1"),
        text("share/linked/v1/data.txt", "version one\n"),
        SoftLink(path="share/linked/current", target="v1"),
        SoftLink(path="share/linked/library", target="../../lib/liblinked.so.1.2.3"),
        text("share/linked/one", "two names, one file\n"),
        HardLink(path="share/linked/two", source="share/linked/one"),
    )
    return _for_linux(package)


def clobbers() -> Iterator[Package]:
    """Yield two packages that ship one path with other content; the second needs the first."""
    path = "share/clobber/message.txt"
    yield made("clobber-base", text(path, "from the base\n"), text("share/clobber/a", "a\n"))
    yield made(
        "clobber-over",
        text(path, "from the one that depends on it\n"),
        text("share/clobber/b", "b\n"),
        depends=("clobber-base >=1",),
    )


def with_scripts() -> Iterator[Package]:
    """Yield packages that act when an environment is linked or activated."""
    activate = 'export ACTIVATED_HOME="$CONDA_PREFIX/share/activated"\n'
    yield made(
        "activated",
        text("etc/conda/activate.d/activated.sh", activate),
        text("etc/conda/deactivate.d/activated.sh", "unset ACTIVATED_HOME\n"),
    )
    variables = '{"ENV_VARS_PACKAGE": "set by env_vars.d", "ENV_VARS_LEVEL": "3"}\n'
    yield made("env-vars", text("etc/conda/env_vars.d/env-vars.json", variables))
    post_link = '#!/bin/sh\necho ran > "$PREFIX/share/post-linked.txt"\n'
    script = text("bin/.post-linked-post-link.sh", post_link, executable=True)
    yield made("post-linked", script, text("share/post-linked/data.txt", "data\n"))


def made_up_packages() -> Iterator[Package]:
    """Yield every made-up package of the channel."""
    yield prefixed()
    yield linked()
    yield from clobbers()
    yield from with_scripts()
    for version in ("1.0", "2.0"):
        data = text("share/generic-data/version.txt", f"{version}\n")
        yield made("generic-data", data, version=version)
    old = _for_linux(made("old-format", text("share/old-format/data.txt", "bzip2\n")))
    yield replace(old, archive=".tar.bz2")
    yield made("unsatisfiable", depends=("no-such-package >=1",))
    yield made("wants-old-click", depends=("click <8.1.8",))
    yield made("wants-new-click", depends=("click >=8.1.8",))
    yield _for_linux(made("needs-new-glibc", depends=("__glibc >=2.36",)))
    yield _for_linux(made("needs-cuda", depends=("__cuda >=12",)))
    yield made("two-homes", text("share/two-homes/home.txt", "main\n"))
    yield replace(made("python_abi", version=PYTHON), build="8_cp311")


def extra_packages() -> Iterator[Package]:
    """Yield the packages of the second channel, for channel priority and `channel::package`."""
    yield made("two-homes", text("share/two-homes/home.txt", "extra\n"), version="2.0")
    yield made("only-extra", text("share/only-extra/data.txt", "extra\n"))


def tiny_packages(count: int, *, files: int = 3, file_bytes: int = 2000) -> Iterator[Package]:
    """Yield packages for benchmarks: content that does not compress, each needs the one before.

    They are noarch generic and bzip2, whose bytes are the same with every version of every library.
    """
    for number in range(count):
        name = f"tiny-{number:05d}"
        entries = [
            File(path=f"share/{name}/{index}.bin", data=_noise(f"{name}/{index}", file_bytes))
            for index in range(files)
        ]
        depends = (f"tiny-{number - 1:05d}",) if number % 10 else ()
        package = made(name, *entries, depends=depends)
        released = _RELEASED + timedelta(days=number % 365)
        yield replace(package, archive=".tar.bz2", released=released)


def _noise(seed: str, count: int) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(count)

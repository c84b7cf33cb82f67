"""A CPython of this machine, or Debian's for another architecture, as conda packages."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Literal

from tests.parts import debs, elf
from tests.parts.cache import ENVIRONMENT, Unavailable
from tests.parts.package import PLACEHOLDER, Entry, File, Package, SoftLink, build_string
from tests.parts.wheels import PYTHON

_RELEASED = date(2023, 6, 6)
_SKIPPED_FOLDERS = {
    *["__pycache__", "test", "tests", "idlelib", "tkinter", "ensurepip", "turtledemo"],
    *["site-packages", "dist-packages", "lib-dynload", "lib2to3"],
}
_SKIPPED_FILES = {"sitecustomize.py", "EXTERNALLY-MANAGED"}
_SKIPPED_MODULE = re.compile(r"_?(test|xx|ctypes_test|tkinter|nis|gdbm|dbm)")

# conda package: the libraries it brings. An extension module that needs another one is left out.
_LIBRARIES = {
    "openssl": ("libssl", "libcrypto"),
    "libsqlite": ("libsqlite3",),
    "libffi": ("libffi",),
    "libzlib": ("libz",),
    "bzip2": ("libbz2",),
    "liblzma": ("liblzma",),
    "libexpat": ("libexpat",),
    "libuuid": ("libuuid",),
    "libxcrypt": ("libcrypt",),
    "ncurses": ("libncursesw", "libtinfo", "libpanelw"),
    "readline": ("libreadline",),
}
_DEBIAN = {
    *["libssl3", "libsqlite3-0", "libffi8", "zlib1g", "libbz2-1.0", "liblzma5", "libexpat1"],
    *["libuuid1", "libcrypt1", "libncursesw6", "libtinfo6", "libreadline8"],
    *[f"python{PYTHON}-minimal", f"libpython{PYTHON}-minimal", f"libpython{PYTHON}-stdlib"],
}
# Debian's interpreter looks in dist-packages, where conda packages are not. Its site module is
# frozen into the program, so that changing the file would change nothing.
_DEBIAN_SITE = b"""import site, sys
site.addsitedir(f"{sys.prefix}/lib/python%s/site-packages")
""" % PYTHON.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """Where the parts of an installed CPython are."""

    version: str
    base: str
    program: Path
    stdlib: Path
    subdir: Literal["linux-64", "linux-aarch64"]
    find: elf.FindLibrary


def installed() -> Interpreter:
    """Return the running CPython if it is 3.11, else another 3.11 of this machine."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unavailable("the linux-64 python is made from this machine's, which is not linux-64")
    question = (
        "import json, platform, sys, sysconfig; print(json.dumps([platform.python_version(), "
        "sys.base_prefix, sysconfig.get_path('stdlib')]))"
    )
    command = [_find_program(), "-c", question]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    version, base, stdlib = json.loads(done.stdout)
    return Interpreter(
        version=version,
        base=base,
        program=Path(base, "bin", f"python{PYTHON}").resolve(),
        stdlib=Path(stdlib),
        subdir="linux-64",
        find=elf.find_here(Path(base, "lib")),
    )


def _find_program() -> str:
    if f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON:
        return sys.executable
    program = shutil.which(f"python{PYTHON}")
    if program is None and (uv := shutil.which("uv")):
        command = [uv, "python", "find", "--no-project", PYTHON]
        program = subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
    if program is None:
        raise Unavailable(f"no python {PYTHON} on this machine to make the python package from")
    return program


def foreign() -> Interpreter:
    """Return Debian's CPython for 64-bit ARM, unpacked aside."""
    root = debs.unpacked(_DEBIAN, "arm64")
    listed = (root / ".packages").read_text(encoding="utf-8").split()
    packages = dict(line.split("_", 1) for line in listed)
    return Interpreter(
        version=packages[f"python{PYTHON}-minimal"].split("-")[0],
        base="/usr",
        program=root / f"usr/bin/python{PYTHON}",
        stdlib=root / f"usr/lib/python{PYTHON}",
        subdir="linux-aarch64",
        find=elf.find_below(root),
    )


def packages_of(interpreter: Interpreter) -> list[Package]:
    """Return `python` and the packages of the libraries its extension modules need."""
    with tempfile.TemporaryDirectory() as scratch:
        libraries, modules = _extension_modules(interpreter, Path(scratch))
        entries = [*_programs(interpreter, Path(scratch)), *_stdlib(interpreter), *modules]
    depends = [f"{one.name} >={one.version},<{_next_major(one.version)}" for one in libraries]
    python = Package(
        name="python",
        version=interpreter.version,
        build=build_string(entries, suffix="_cpython"),
        released=_RELEASED,
        subdir=interpreter.subdir,
        depends=("__glibc >=2.17,<3.0.a0", *sorted(depends)),
        constrains=(f"python_abi {PYTHON}.* *_cp311",),
        entries=tuple(entries),
        site_packages=f"lib/python{PYTHON}/site-packages",
        license="Python-2.0",
        summary="General purpose programming language",
    )
    return [python, *libraries]


def _next_major(version: str) -> str:
    return f"{int(version.split('.')[0]) + 1}.0a0"


def _extension_modules(
    interpreter: Interpreter, scratch: Path
) -> tuple[list[Package], list[Entry]]:
    """Return the packages of libraries, and the modules that find all their libraries there."""
    owners = {stem: name for name, stems in _LIBRARIES.items() for stem in stems}
    bundled: dict[str, Path] = {}
    entries: list[Entry] = []
    own = [interpreter.program, *(interpreter.stdlib / "lib-dynload").glob("*.so")]
    for program in sorted(own):
        needs = elf.closure([program], interpreter.find)
        needs = {name: path for name, path in needs.items() if not name.startswith("libpython")}
        known = {name: path for name, path in needs.items() if path and _stem(name) in owners}
        if program == interpreter.program:
            bundled |= known
        elif len(known) == len(needs) and not _SKIPPED_MODULE.match(program.name):
            bundled |= known
            run_path = "$ORIGIN/../.." if known else None
            data = _patched(program, run_path, scratch)
            path = f"lib/python{PYTHON}/lib-dynload/{program.name}"
            entries.append(File(path=path, data=data, executable=True))
    grouped: dict[str, dict[str, Path]] = {}
    for name, library in sorted(bundled.items()):
        grouped.setdefault(owners[_stem(name)], {})[name] = library
    packages = [_library(name, grouped[name], interpreter, scratch) for name in sorted(grouped)]
    return packages, entries


def _stem(library: str) -> str:
    return library.partition(".so")[0]


def _library(name: str, files: dict[str, Path], interpreter: Interpreter, scratch: Path) -> Package:
    entries: list[Entry] = []
    for soname, path in files.items():
        real = path.resolve()
        data = _patched(real, "$ORIGIN", scratch)
        entries.append(File(path=f"lib/{real.name}", data=data, executable=True))
        if soname != real.name:
            entries.append(SoftLink(path=f"lib/{soname}", target=real.name))
    first = next(iter(files.values())).resolve()
    return Package(
        name=name,
        version=_library_version(name, first),
        build=build_string(entries),
        released=_RELEASED,
        subdir=interpreter.subdir,
        depends=("__glibc >=2.17,<3.0.a0",),
        entries=tuple(entries),
        license="LicenseRef-Debian",
        summary=f"Libraries of {name}, from Debian",
    )


def _library_version(name: str, library: Path) -> str:
    # These two do not say their version in the file name, and auditors ask for it.
    pattern = {"openssl": rb"OpenSSL (\d+\.\d+\.\d+)", "libsqlite": rb"\0(3\.\d+\.\d+)\0"}.get(name)
    match = re.search(pattern, library.read_bytes()) if pattern else None
    return match[1].decode() if match else library.name.partition(".so.")[2]


def _patched(program: Path, run_path: str | None, scratch: Path) -> bytes:
    if run_path is None:
        return program.read_bytes()
    copy = scratch / program.name
    shutil.copyfile(program, copy)
    elf.set_run_path(copy, run_path)
    return copy.read_bytes()


def _programs(interpreter: Interpreter, scratch: Path) -> list[Entry]:
    """Return the program, its libpython if it has one, its two links, and a script."""
    # The run path is what makes the program depend on prefix replacement in a binary: with a
    # placeholder left in it, or a wrong length, it does not find its libraries.
    data = _patched(interpreter.program, f"{PLACEHOLDER}/lib", scratch)
    script = f"#!{PLACEHOLDER}/bin/python{PYTHON}\nimport pydoc\n\npydoc.cli()\n".encode()
    version = f"bin/python{PYTHON}"
    entries: list[Entry] = [
        File(path=version, data=data, executable=True, placeholder="binary"),
        SoftLink(path="bin/python3", target=f"python{PYTHON}"),
        SoftLink(path="bin/python", target="python3"),
        File(path=f"bin/pydoc{PYTHON}", data=script, executable=True, placeholder="text"),
    ]
    for name in elf.needed(interpreter.program):
        if name.startswith("libpython") and (path := interpreter.find(name)):
            library = _patched(path.resolve(), "$ORIGIN", scratch)
            entries.append(File(path=f"lib/{name}", data=library, executable=True))
    return entries


def _stdlib(interpreter: Interpreter) -> list[Entry]:
    entries: list[Entry] = []
    for path in sorted(interpreter.stdlib.rglob("*")):
        inside = path.relative_to(interpreter.stdlib)
        folders = inside.parts[:-1]
        skipped = _SKIPPED_FOLDERS.intersection(folders) or inside.name in _SKIPPED_FILES
        if skipped or not path.is_file() or any(name.startswith("config-") for name in folders):
            continue
        entry = File(path=f"lib/python{PYTHON}/{inside}", data=path.read_bytes())
        if inside.name.startswith("_sysconfigdata"):
            entry = _relocatable(entry, interpreter.base)
        elif str(inside) == "site.py" and b'"dist-packages"' in entry.data:
            entries.append(File(path=f"lib/python{PYTHON}/sitecustomize.py", data=_DEBIAN_SITE))
        entries.append(entry)
    return entries


def _relocatable(file: File, base: str) -> File:
    prefix = re.compile(rb"(?<![\w/.])" + re.escape(base.encode()) + rb"(?=[/'\"\s:]|$)")
    data, count = prefix.subn(PLACEHOLDER.encode(), file.data)
    return replace(file, data=data, placeholder="text") if count else file

"""Conda packages by chance: every corner of linking, many at a time, the same for the same seed."""

from __future__ import annotations

import random
from datetime import date, timedelta

from tests.parts.package import PLACEHOLDER, Entry, File, HardLink, Package, SoftLink

_MIB = 1 << 20
_NAMES = ("a", "b.txt", "C-d", "e_f", "ünï", "g h", "i'j", "-k", "x" * 120)
_SHEBANGS = (
    f"#!{PLACEHOLDER}/bin/python",
    f"#!{PLACEHOLDER}/bin/python3.11 -E",
    f"#! {PLACEHOLDER}/bin/perl -w",
    "#!/usr/bin/env python",
    f"#!{PLACEHOLDER}/{'deep/' * 40}tool --flag",
    f"#!{PLACEHOLDER}/{'deep/' * 40}python3.11 -s",
    f"#!/usr/bin/env {PLACEHOLDER}/bin/tool",
    f"#!{PLACEHOLDER}/bin/a\\ b c",
)


class Generator:
    """Makes packages of one batch; what they have in common makes them clobber one another."""

    def __init__(self, seed: int) -> None:
        """Begin with a seed."""
        self.seed = seed
        self.chance = random.Random(seed)
        self._number = 0

    def batch(self, count: int) -> list[Package]:
        """Return *count* packages that can be installed together."""
        return [self._package() for _ in range(count)]

    def _package(self) -> Package:
        chance = self.chance
        number, self._number = self._number, self._number + 1
        name = f"gen{self.seed}-{number:03d}"
        python = chance.random() < 0.3
        generic = not python and chance.random() < 0.3
        entries = self._entries(name)
        points: tuple[str, ...] = ()
        if python:
            module = name.replace("-", "_")
            entries += [
                File(path=f"site-packages/{module}/__init__.py", data=b"def main(): ...\n"),
                File(path=f"python-scripts/{name}-script", data=b"#!/bin/sh\n", executable=True),
            ]
            points = tuple(
                f"{name}{suffix} = {module}{inner}:{attribute}"
                for suffix, inner, attribute in (
                    ("", "", "main"),
                    ("-run.2", ".cli", "App.main"),
                    ("_x", "", "a.b.c"),
                )
                if chance.random() < 0.5
            )
        needs = chance.sample(range(number), min(number, chance.randrange(3)))
        return Package(
            name=name,
            version=f"{chance.randrange(9)}.{chance.randrange(9)}",
            build=f"h{number}_0",
            released=date(1999, 1, 1) + timedelta(days=chance.randrange(12_000)),
            subdir="noarch" if python or generic else "linux-64",
            noarch="python" if python else "generic" if generic else None,
            depends=tuple(f"gen{self.seed}-{other:03d}" for other in needs),
            entries=tuple(entries),
            entry_points=points,
            archive=chance.choice((".conda", ".conda", ".tar.bz2")),
        )

    def _entries(self, name: str) -> list[Entry]:
        chance = self.chance
        found: dict[str, Entry] = {}
        for _ in range(chance.randrange(8)):
            # What has no folder of its own may be another package's too.
            folder = "share/common" if chance.random() < 0.2 else f"share/{name}"
            depth = "/".join(chance.choice(("d", "deep", "é")) for _ in range(chance.randrange(4)))
            path = "/".join(filter(None, (folder, depth, chance.choice(_NAMES))))
            if path not in found and not any(other.startswith(f"{path}/") for other in found):
                found[path] = self._entry(path, list(found.values()))
        return [entry for entry in found.values() if not _below_a_file(entry.path, found)]

    def _entry(self, path: str, before: list[Entry]) -> Entry:
        chance = self.chance
        kind = chance.choice(
            ("text", "shebang", "binary", "edge", "plain", "empty", "link", "hard")
        )
        plain = [entry for entry in before if isinstance(entry, File) and not entry.placeholder]
        if kind == "link":
            up = "../" * path.count("/")
            targets = [up + entry.path for entry in before] + [up + "share", "nowhere", "."]
            return SoftLink(path=path, target=chance.choice(targets))
        if kind == "hard" and plain:
            return HardLink(path=path, source=chance.choice(plain).path)
        runs = chance.random() < 0.4
        if kind == "binary":
            return _file(path, self._binary(), "binary", runs)
        if kind == "edge":
            # The placeholder lies across the pieces that a file is read in.
            before_it = _MIB - chance.randrange(len(PLACEHOLDER) + 2)
            data = b"\x7f" + b"e" * (before_it - 1) + PLACEHOLDER.encode() + b"/lib\0end"
            return _file(path, data, "binary", runs)
        if kind == "shebang":
            text = f"{chance.choice(_SHEBANGS)}\n{self._text()}"
            return _file(path, text.encode(), "text", runs)
        if kind == "text":
            return _file(path, self._text().encode(), "text", runs)
        size = 0 if kind == "empty" else chance.randrange(3000)
        return File(path=path, data=chance.randbytes(size), executable=runs)

    def _text(self) -> str:
        words = (PLACEHOLDER, f"{PLACEHOLDER}{PLACEHOLDER}", PLACEHOLDER[:-3], "x", "\n", "é", " ")
        return "".join(self.chance.choice(words) for _ in range(self.chance.randrange(9)))

    def _binary(self) -> bytes:
        chance, prefix = self.chance, PLACEHOLDER.encode()
        strings = (prefix, prefix + b"/lib", prefix + b":" + prefix + b"/x", b"x" + prefix, b"no")
        body = b"".join(
            chance.choice(strings) + b"\0" * chance.randrange(1, 4)
            for _ in range(1 + chance.randrange(4))
        )
        return b"\x7fBIN" + body + (prefix if chance.random() < 0.3 else b"\xff")


def _file(path: str, data: bytes, mode: str, runs: bool) -> File:
    placeholder = mode if PLACEHOLDER.encode() in data else None
    return File(path=path, data=data, executable=runs, placeholder=placeholder)  # type: ignore[arg-type]


def _below_a_file(path: str, found: dict[str, Entry]) -> bool:
    parts = path.split("/")
    return any("/".join(parts[:count]) in found for count in range(1, len(parts)))

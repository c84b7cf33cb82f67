"""The pip section of a conda file, with the requirements files that it includes."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from envsync.errors import InvalidInput, Position
from envsync.model.canonical import sha256_hex
from envsync.model.document import Faults, Scalar, shown
from envsync.model.match_spec import Problem
from envsync.model.places import BadPath, within
from envsync.model.requirement_line import (
    RequirementLine,
    read_requirement_line,
    requirement_lines,
)
from envsync.ports.tree import Tree

_SIZE_LIMIT = 1024 * 1024
_LINE_LIMIT = 5_000
_FILE_LIMIT = 100
_FAULT_LIMIT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PipSection:
    """What a pip section asks for, its includes expanded in place."""

    requirements: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    wheels: Mapping[str, str] = field(default_factory=dict)
    """Path as written to the SHA-256 of the wheel."""


def read_pip_section(
    tree: Tree, items: Sequence[Scalar], folder: str, faults: Faults
) -> PipSection:
    """Read the items of a pip section that stands in a file of *folder*."""
    if not items:
        return PipSection()
    reader = _Reader(tree, folder, faults)
    for item in items:
        reader.line(item.text, item.where, folder, (), constrains=False)
    return PipSection(
        requirements=tuple(reader.requirements),
        constraints=tuple(reader.constraints),
        wheels=reader.wheels,
    )


class _Reader:
    """Collects lines; paths of wheels are relative to the pip section's folder, as for pip."""

    def __init__(self, tree: Tree, folder: str, faults: Faults) -> None:
        self._tree = tree
        self._folder = folder
        self._faults = faults
        self._stop_at = len(faults) + _FAULT_LIMIT
        self._files = 0
        self.requirements: list[str] = []
        self.constraints: list[str] = []
        self.wheels: dict[str, str] = {}

    def line(
        self, text: str, where: Position, folder: str, open_files: tuple[str, ...], constrains: bool
    ) -> None:
        """Take one line of the section or of a file of *folder* that *open_files* led to."""
        line = read_requirement_line(text)
        if isinstance(line, Problem):
            self._faults.add(where, line.message, line.hint)
            return
        if line.kind in {"include", "constraints"}:
            self._file(line, where, folder, open_files, constrains)
            return
        if constrains:
            if line.kind != "requirement":
                self._faults.add(
                    where,
                    f"{shown(line.text)} cannot stand in a file of constraints",
                    "Constraints are requirements such as numpy<2.",
                )
            else:
                self.constraints.append(line.text)
            return
        if line.kind == "wheel":
            self._wheel(line.target, where)
        elif line.target:
            self._path(line.target, where, self._folder)
        self.requirements.append(line.text)

    def _file(
        self,
        line: RequirementLine,
        where: Position,
        folder: str,
        open_files: tuple[str, ...],
        constrains: bool,
    ) -> None:
        path = self._path(line.target, where, folder)
        data = self._bytes(path, where) if path else None
        if data is None:
            return
        self._files += 1
        if self._files == _FILE_LIMIT:
            self._faults.add(where, f"More than {_FILE_LIMIT} requirements files are included")
        if self._files >= _FILE_LIMIT:
            return
        if path in open_files:
            self._faults.add(where, f"{path} includes itself", "Remove one of the lines.")
            return
        if len(data) > _SIZE_LIMIT:
            self._faults.add(
                where, f"{path} has {len(data):,} bytes; at most {_SIZE_LIMIT:,} are read"
            )
            return
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            self._faults.add(where, f"{path} is not UTF-8 text", "Save it as UTF-8.")
            return
        inner = constrains or line.kind == "constraints"
        for number, content in requirement_lines(text):
            if len(self.requirements) + len(self.constraints) >= _LINE_LIMIT:
                self._faults.add(where, f"There are more than {_LINE_LIMIT:,} requirements")
                return
            if len(self._faults) >= self._stop_at:
                return
            at = Position(file=path, line=number, column=1)
            self.line(content, at, posixpath.dirname(path), (*open_files, path), inner)

    def _wheel(self, target: str, where: Position) -> None:
        path = self._path(target, where, self._folder)
        data = self._bytes(path, where) if path else None
        if data is None:
            return
        if not data.startswith(b"PK"):
            lfs = data.startswith(b"version https://git-lfs")
            self._faults.add(
                where,
                f"{path} is not a wheel" + (", but a pointer of git LFS" if lfs else ""),
                "Commit the wheel itself." if lfs else "A wheel is a zip archive.",
            )
            return
        self.wheels[target] = sha256_hex(data)

    def _path(self, target: str, where: Position, folder: str) -> str:
        try:
            return within(folder, target)
        except BadPath as error:
            self._faults.add(where, f"The path {shown(target)} {error}", error.hint)
            return ""

    def _bytes(self, path: str, where: Position) -> bytes | None:
        try:
            data = self._tree.read(path)
        except InvalidInput as error:
            self._faults.add(where, error.summary, error.hint)
            return None
        if data is None:
            self._faults.add(
                where,
                f"There is no file {path} in {self._tree.label}",
                "Paths are relative to the file that they stand in.",
            )
        return data

"""Copying files that people have into a new environment, with the files that they name."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from envsync.errors import InvalidInput
from envsync.model.conda_file_reader import read_conda_file
from envsync.model.document import Faults, shown
from envsync.model.places import BadPath, within
from envsync.model.requirement_line import (
    RequirementLine,
    read_requirement_line,
    requirement_lines,
)
from envsync.ports.documents import ParseDocument
from envsync.ports.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that somebody has: where it stands, and the tree that the files it names are in."""

    tree: Tree
    path: str


def copied_conda(parse: ParseDocument, source: SourceFile, files: dict[str, bytes]) -> bytes:
    """Return the bytes of a conda file; what its pip section names goes to *files*."""
    data = read_file(source.tree, source.path)
    faults = Faults()
    root = parse(data, source.path, faults)
    draft = read_conda_file(root, faults, path=source.path) if root is not None else None
    faults.check(f"{source.path} cannot be used")
    for item in draft.pip if draft else ():
        copy_line(source, item.text, "", files)
    return data


def copy_named(source: SourceFile, path: str, files: dict[str, bytes]) -> None:
    """Copy what the requirements file at *path* of the new folder names."""
    for _, line in requirement_lines(files[path].decode("utf-8-sig", "replace")):
        copy_line(source, line, posixpath.dirname(path), files)


def copy_line(source: SourceFile, text: str, folder: str, files: dict[str, bytes]) -> None:
    """Copy the file that a line of a pip section, or of a requirements file in *folder*, names."""
    line = read_requirement_line(text)
    if not isinstance(line, RequirementLine) or line.kind not in {
        "include", "constraints", "wheel",
    }:  # fmt: skip
        return
    # Paths of wheels are relative to the folder of the pip section, those of files to their own.
    try:
        path = within("" if line.kind == "wheel" else folder, line.target)
    except BadPath as error:
        raise InvalidInput(
            f"The path {shown(line.target)} in {source.path} {error}",
            hint="Copy the file beside it first.",
        ) from error
    if path in files:
        return
    files[path] = read_file(source.tree, posixpath.join(posixpath.dirname(source.path), path))
    if line.kind != "wheel":
        copy_named(source, path, files)


def read_file(tree: Tree, path: str) -> bytes:
    """Return a file's bytes; InvalidInput when there is no such file."""
    data = tree.read(path)
    if data is None:
        raise InvalidInput(f"There is no file {path}")
    return data

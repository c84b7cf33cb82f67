"""New: the files of a new environment, from an image, a conda file, requirements or a Dockerfile.

They are put over the tree and loaded before anything is written, so what ``new`` writes is valid.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

from envsync.errors import InvalidInput
from envsync.model.conda_file_reader import read_conda_file
from envsync.model.config import ENVIRONMENTS
from envsync.model.document import Faults, shown
from envsync.model.places import BadPath, within
from envsync.model.requirement_line import (
    RequirementLine,
    read_requirement_line,
    requirement_lines,
)
from envsync.model.spec import SCRATCH
from envsync.operations.load import SPEC_FILES, load_environment
from envsync.ports.documents import ParseDocument
from envsync.ports.files import FileWriter
from envsync.ports.tree import Tree

BASE_IMAGE = "docker.io/library/debian:12-slim"
"""Base of environments that name none: small, and has the C library that conda packages need."""
PYTHON = "3.12"

_PYTHON_VERSION = re.compile(r"[23](?:\.[0-9]{1,3}){1,2}")
_SAFE = re.compile(r"[A-Za-z][A-Za-z0-9_/-]*(?:[.:@][A-Za-z0-9_/.-]+)*")
_NOT_TEXT = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_SCHEMA = "https://azuremlschemas.azureedge.net/latest/environment.schema.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that somebody has: where it stands, and the tree that the files it names are in."""

    tree: Tree
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEnvironment:
    """What a new environment is made from; without anything it has Python alone."""

    name: str
    image: str = ""
    """Base image, or the whole image when there is nothing else; '' is `BASE_IMAGE`."""
    conda: SourceFile | None = None
    """A conda file to copy, with the requirements files and wheels that it names."""
    pip: SourceFile | None = None
    """A requirements file to copy, with what it names."""
    build: str = ""
    """Repository-relative folder with a Dockerfile; it is used where it is."""
    python: str = ""
    """Version of Python; '' is `PYTHON` where one is needed."""
    description: str = ""


def create_environment(
    tree: Tree, parse: ParseDocument, files: FileWriter, new: NewEnvironment
) -> tuple[str, ...]:
    """Write a new environment and return the paths of its files, sorted.

    Raises InvalidInput, and writes nothing, when the environment exists or would not be valid.
    """
    content = files_of(tree, parse, new)
    files.create(content)
    return tuple(sorted(content))


def files_of(tree: Tree, parse: ParseDocument, new: NewEnvironment) -> Mapping[str, bytes]:
    """Return the files of a new environment by path, checked as they would be when loaded."""
    folder = f"{ENVIRONMENTS}/{new.name}"
    _check(tree, new, folder)
    files: dict[str, bytes] = {}
    if new.conda is not None:
        files["conda.yaml"] = _copied_conda(parse, new.conda, files)
    elif new.pip is not None:
        files["conda.yaml"] = _conda_text(new, "requirements.txt")
        files["requirements.txt"] = _read(new.pip.tree, new.pip.path)
        _copy_named(new.pip, "requirements.txt", files)
    elif not new.build and (new.python or new.image in {"", SCRATCH}):
        files["conda.yaml"] = _conda_text(new, "")
    files[SPEC_FILES[0]] = _spec_text(new, folder, conda="conda.yaml" in files)
    written = {f"{folder}/{path}": content for path, content in files.items()}
    load_environment(_Overlay(tree, written), parse, new.name)
    return written


def _check(tree: Tree, new: NewEnvironment, folder: str) -> None:
    if any(tree.read(f"{folder}/{file}") is not None for file in SPEC_FILES):
        raise InvalidInput(
            f"The environment {new.name} exists already",
            hint=f"Edit {folder}/{SPEC_FILES[0]}, or choose another name.",
        )
    given = [
        option
        for option, value in (
            ("--conda", new.conda), ("--pip", new.pip), ("--build", new.build),
        )
        if value
    ]  # fmt: skip
    if len(given) > 1:
        raise InvalidInput(
            f"{' and '.join(given)} cannot be given together", hint="Choose one of them."
        )
    if new.build and new.image:
        raise InvalidInput(
            "--build and --image cannot be given together",
            hint="The Dockerfile names its own base image.",
        )
    if new.python and (new.conda or new.build):
        raise InvalidInput(
            f"--python cannot be given with {given[0]}", hint="The version stands in that file."
        )
    if new.python and not _PYTHON_VERSION.fullmatch(new.python):
        raise InvalidInput(
            f"{shown(new.python)} is not a version of Python", hint=f"Write {PYTHON}, for example."
        )


def _spec_text(new: NewEnvironment, folder: str, *, conda: bool) -> bytes:
    lines = [f"$schema: {_SCHEMA}", f"name: {_scalar(new.name)}"]
    if new.description:
        lines.append(f"description: {_scalar(new.description)}")
    if new.build:
        lines += ["build:", f"  path: {_scalar(posixpath.relpath(new.build, folder))}"]
    else:
        lines.append(f"image: {_scalar(new.image or BASE_IMAGE)}")
    if conda:
        lines.append("conda_file: conda.yaml")
    return ("\n".join(lines) + "\n").encode()


def _conda_text(new: NewEnvironment, requirements: str) -> bytes:
    lines = ["channels:", "  - conda-forge", "dependencies:"]
    lines.append(f"  - python={new.python or PYTHON}")
    if requirements:
        lines += ["  - pip", "  - pip:", f"      - -r {requirements}"]
    return ("\n".join(lines) + "\n").encode()


def _scalar(text: str) -> str:
    """Return *text* as a YAML scalar that every YAML parser takes for text."""
    if _SAFE.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    return json.dumps(text, ensure_ascii=False)


def _copied_conda(parse: ParseDocument, source: SourceFile, files: dict[str, bytes]) -> bytes:
    """Return the bytes of a conda file; what its pip section names goes to *files*."""
    data = _read(source.tree, source.path)
    faults = Faults()
    root = parse(data, source.path, faults)
    draft = read_conda_file(root, faults, path=source.path) if root is not None else None
    faults.check(f"{source.path} cannot be used")
    for item in draft.pip if draft else ():
        _copy_line(source, item.text, "", files)
    return data


def _copy_named(source: SourceFile, path: str, files: dict[str, bytes]) -> None:
    """Copy what the requirements file at *path* of the new folder names."""
    for _, line in requirement_lines(files[path].decode("utf-8-sig", "replace")):
        _copy_line(source, line, posixpath.dirname(path), files)


def _copy_line(source: SourceFile, text: str, folder: str, files: dict[str, bytes]) -> None:
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
    files[path] = _read(source.tree, posixpath.join(posixpath.dirname(source.path), path))
    if line.kind != "wheel":
        _copy_named(source, path, files)


def _read(tree: Tree, path: str) -> bytes:
    data = tree.read(path)
    if data is None:
        raise InvalidInput(f"There is no file {path}")
    return data


class _Overlay:
    """A tree with files on top of it that are not written yet."""

    def __init__(self, tree: Tree, files: Mapping[str, bytes]) -> None:
        self._tree = tree
        self._files = files

    @property
    def label(self) -> str:
        return self._tree.label

    def read(self, path: str) -> bytes | None:
        return self._files[path] if path in self._files else self._tree.read(path)

    def list(self, folder: str) -> tuple[str, ...]:
        names = set(self._tree.list(folder))
        for path in self._files:
            if path.startswith(f"{folder}/"):
                first, slash, _ = path.removeprefix(f"{folder}/").partition("/")
                names.add(first + slash)
        return tuple(sorted(names))

"""New: the files of a new environment, from an image, a conda file, requirements or a Dockerfile.

They are put over the tree and loaded before anything is written, so what ``new`` writes is valid.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

from envsync.errors import InvalidInput
from envsync.model.config import ENVIRONMENTS
from envsync.model.document import shown
from envsync.model.spec import SCRATCH
from envsync.model.yaml_text import scalar
from envsync.operations.copied_files import SourceFile, copied_conda, copy_named, read_file
from envsync.operations.load import SPEC_FILES, load_environment
from envsync.operations.overlay import Overlay
from envsync.ports.documents import ParseDocument
from envsync.ports.files import FileWriter
from envsync.ports.tree import Tree

BASE_IMAGE = "docker.io/library/debian:12-slim"
"""Base of environments that name none: small, and has the C library that conda packages need."""
PYTHON = "3.12"

_PYTHON_VERSION = re.compile(r"[23](?:\.[0-9]{1,3}){1,2}")
SCHEMA = "https://azuremlschemas.azureedge.net/latest/environment.schema.json"


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
    require_new(tree, new.name)
    _check(new)
    files: dict[str, bytes] = {}
    if new.conda is not None:
        files["conda.yaml"] = copied_conda(parse, new.conda, files)
    elif new.pip is not None:
        files["conda.yaml"] = _conda_text(new, "requirements.txt")
        files["requirements.txt"] = read_file(new.pip.tree, new.pip.path)
        copy_named(new.pip, "requirements.txt", files)
    elif not new.build and (new.python or new.image in {"", SCRATCH}):
        files["conda.yaml"] = _conda_text(new, "")
    files[SPEC_FILES[0]] = _spec_text(new, folder, conda="conda.yaml" in files)
    written = {f"{folder}/{path}": content for path, content in files.items()}
    load_environment(Overlay(tree, written), parse, new.name)
    return written


def require_new(tree: Tree, name: str) -> None:
    """Raise InvalidInput when there is an environment of this name."""
    folder = f"{ENVIRONMENTS}/{name}"
    if any(tree.read(f"{folder}/{file}") is not None for file in SPEC_FILES):
        raise InvalidInput(
            f"The environment {name} exists already",
            hint=f"Edit {folder}/{SPEC_FILES[0]}, or choose another name.",
        )


def _check(new: NewEnvironment) -> None:
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
    lines = [f"$schema: {SCHEMA}", f"name: {scalar(new.name)}"]
    if new.description:
        lines.append(f"description: {scalar(new.description)}")
    if new.build:
        lines += ["build:", f"  path: {scalar(posixpath.relpath(new.build, folder))}"]
    else:
        lines.append(f"image: {scalar(new.image or BASE_IMAGE)}")
    if conda:
        lines.append("conda_file: conda.yaml")
    return ("\n".join(lines) + "\n").encode()


def _conda_text(new: NewEnvironment, requirements: str) -> bytes:
    lines = ["channels:", "  - conda-forge", "dependencies:"]
    lines.append(f"  - python={new.python or PYTHON}")
    if requirements:
        lines += ["  - pip", "  - pip:", f"      - -r {requirements}"]
    return ("\n".join(lines) + "\n").encode()

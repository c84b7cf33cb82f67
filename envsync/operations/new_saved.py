"""New, from a folder that the older SDK saved: ``azureml_environment.json`` and its conda file."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from envsync.errors import Fault, InvalidInput, Position
from envsync.model.config import ENVIRONMENTS
from envsync.model.document import Faults, Scalar, shown
from envsync.model.saved import (
    SAVED_CONDA,
    SAVED_DOCKERFILE,
    SAVED_FILE,
    SavedEnvironment,
    read_saved,
)
from envsync.model.settings_reader import SETTINGS_KEYS
from envsync.model.yaml_text import Plain, plain_of, render_yaml
from envsync.operations.copied_files import SourceFile, copied_conda
from envsync.operations.load import SPEC_FILES, load_environment
from envsync.operations.new import SCHEMA, require_new
from envsync.operations.overlay import Overlay
from envsync.ports.documents import ParseDocument
from envsync.ports.tree import Tree

_CONTEXT = "context"
_ALONE = re.compile(r"\s*FROM\s+(?P<image>[^\s$]+)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """The files of a new environment by path, and what could not come along."""

    files: Mapping[str, bytes]
    notes: tuple[Fault, ...] = ()


def carry_saved(
    tree: Tree, parse: ParseDocument, name: str, source: SourceFile, *, image: str = ""
) -> Carried:
    """Return the files of environment *name* from a saved folder; *source* is its JSON.

    *image* is the base to use in place of the one that was saved. Raises InvalidInput.
    """
    require_new(tree, name)
    saved = _read(parse, source)
    notes = list(saved.notes)
    files: dict[str, bytes] = {}
    document: dict[str, Plain] = {"$schema": SCHEMA, "name": name}
    folder = posixpath.dirname(source.path)
    if saved.name and saved.name != name:
        notes.append(_note(source, f"It was saved as {shown(saved.name)}"))
    if saved.version.isascii() and not saved.version.lower().startswith("auto") and saved.version:
        notes.append(_note(source, f"Its version {shown(saved.version)}: versions start anew"))
    base = image or _base(saved, source, notes)
    if saved.context and not base:
        build: dict[str, Plain] = {"path": saved.context}
        if saved.context_dockerfile:
            build["dockerfile_path"] = saved.context_dockerfile
        document["build"] = build
    elif not base:
        # Only a Dockerfile says what the image is, and nothing is installed on top of it.
        text = saved.dockerfile.text if saved.dockerfile else ""
        files[f"{_CONTEXT}/Dockerfile"] = f"{text.rstrip()}\n".encode()
        document["build"] = {"path": _CONTEXT}
    else:
        document["image"] = base
        if not saved.user_managed:
            files["conda.yaml"] = _conda(parse, source, saved, files)
            document["conda_file"] = "conda.yaml"
    if saved.os_type != "linux":
        document["os_type"] = saved.os_type
    settings = _settings(saved, source, "conda_file" in document, notes)
    if settings:
        document["envsync"] = settings
    beside = source.tree.read(posixpath.join(folder, SAVED_CONDA))
    if saved.user_managed and (saved.conda or beside is not None):
        notes.append(
            _note(source, "Its conda packages: userManagedDependencies says that the image has all")
        )
    files[SPEC_FILES[0]] = render_yaml(document).encode()
    written = {f"{ENVIRONMENTS}/{name}/{path}": content for path, content in files.items()}
    load_environment(Overlay(tree, written), parse, name)
    return Carried(files=written, notes=tuple(sorted(notes, key=lambda note: note.where)))


def _read(parse: ParseDocument, source: SourceFile) -> SavedEnvironment:
    data = source.tree.read(source.path)
    if data is None:
        raise InvalidInput(
            f"There is no {SAVED_FILE} in that folder",
            detail="It is what the older SDK's Environment.save_to_directory writes.",
        )
    faults = Faults()
    root = parse(data, source.path, faults)
    saved = read_saved(root, faults) if root is not None else SavedEnvironment()
    faults.check(f"{source.path} cannot be used")
    folder = posixpath.dirname(source.path)
    beside = source.tree.read(posixpath.join(folder, SAVED_DOCKERFILE))
    if beside is not None and saved.dockerfile is None and root is not None:
        where = Position(file=posixpath.join(folder, SAVED_DOCKERFILE))
        text = Scalar(where=where, text=beside.decode("utf-8", "replace"), style="literal")
        return replace(saved, dockerfile=text)
    return saved


def _base(saved: SavedEnvironment, source: SourceFile, notes: list[Fault]) -> str:
    """Return the base image; '' when the image is what a Dockerfile says, without packages."""
    if saved.dockerfile is None:
        if saved.context and saved.user_managed:
            return ""
        if not saved.image:
            raise InvalidInput(
                f"{source.path} names no base image",
                hint="Name one: --image docker.io/library/debian:12-slim",
            )
        return saved.image
    lines = [
        line
        for line in saved.dockerfile.text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if len(lines) == 1 and (alone := _ALONE.fullmatch(lines[0])):
        return alone["image"]
    if saved.user_managed:
        return ""
    raise InvalidInput(
        f"{source.path} builds its own base image and installs conda packages on it",
        detail="envsync installs packages on an image that exists, or builds a Dockerfile.",
        hint="Build that Dockerfile, push it, and name the image: --image REGISTRY/NAME:TAG",
    )


def _conda(
    parse: ParseDocument, source: SourceFile, saved: SavedEnvironment, files: dict[str, bytes]
) -> bytes:
    folder = posixpath.dirname(source.path)
    for name in (saved.conda_file, SAVED_CONDA):
        path = posixpath.normpath(posixpath.join(folder, name)) if name else ""
        if path and not path.startswith(("..", "/")) and source.tree.read(path) is not None:
            return copied_conda(parse, SourceFile(tree=source.tree, path=path), files)
    if saved.conda is not None:
        plain = plain_of(saved.conda)
        if isinstance(plain, Mapping):
            return render_yaml(plain).encode()
    raise InvalidInput(
        f"There is no {SAVED_CONDA} beside {source.path}",
        hint="If the image brings all packages itself, set userManagedDependencies to true.",
    )


def _settings(
    saved: SavedEnvironment, source: SourceFile, conda: bool, notes: list[Fault]
) -> dict[str, Plain]:
    settings: dict[str, Plain] = {}
    if saved.platform:
        settings["platforms"] = [saved.platform]
    if saved.variables and conda:
        settings["environment_variables"] = dict(saved.variables)
    elif saved.variables:
        names = ", ".join(saved.variables)
        notes.append(
            _note(
                source,
                f"Its environment variables {names}: nothing is added to an image that is used as"
                " it is",
                "Set them in the Dockerfile, or where the image is run.",
            )
        )
    if saved.interpreter not in {"", "python"}:
        if "interpreter_path" in SETTINGS_KEYS:
            settings["interpreter_path"] = saved.interpreter
        else:
            notes.append(
                _note(source, f"interpreterPath {shown(saved.interpreter)}: call it by that path")
            )
    return settings


def _note(source: SourceFile, message: str, hint: str = "") -> Fault:
    return Fault(where=Position(file=source.path), message=message, hint=hint)

"""From an environment as a value to the files of its spec; comments of files that exist stay."""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from envsync.client.conda_dependencies import CondaDependencies
from envsync.client.environment import Environment
from envsync.errors import InvalidInput
from envsync.model.config import ENVIRONMENTS
from envsync.model.edit import Edit
from envsync.model.spec import BuildContext, Settings, Spec
from envsync.model.yaml_text import Plain, Raw, render_yaml
from envsync.operations.copied_files import SourceFile, copied_conda
from envsync.operations.lifecycle import Desk
from envsync.operations.load import SPEC_FILES, load_environment
from envsync.operations.overlay import Overlay

_CONDA = "conda.yaml"
_INLINE: dict[str, Plain] = {}
"""In place of a conda file that stands inline and stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecFiles:
    """The files of one environment that have to be written, by repository-relative path."""

    files: Mapping[str, bytes]
    spec: Spec
    """What they say once they are written."""


def of_spec(spec: Spec) -> Environment:
    """Return a spec as programs see it."""
    build = spec.build
    return Environment(
        name=spec.name,
        image=spec.image,
        conda_file=CondaDependencies.of(spec.conda) if spec.conda is not None else None,
        build=BuildContext(path=build.path, dockerfile_path=build.dockerfile_path)
        if build is not None
        else None,
        version=spec.version,
        description=spec.description,
        tags=spec.tags,
        os_type=spec.os_type,
        inference_config=spec.inference_config,
        settings=spec.settings,
    )


def spec_files(desk: Desk, root: Path, wanted: Environment) -> SpecFiles:
    """Return what to write so that the working folder says *wanted*; nothing when it does.

    Raises InvalidInput when it would not be a valid environment.
    """
    folder = f"{ENVIRONMENTS}/{wanted.name}"
    found = next(
        (file for file in SPEC_FILES if desk.tree.read(f"{folder}/{file}") is not None), ""
    )
    before = load_environment(desk.tree, desk.parse, wanted.name) if found else None
    files: dict[str, bytes] = {}
    conda = _conda(desk, root, wanted, before, files)
    path = f"{folder}/{found or SPEC_FILES[0]}"
    edits: list[Edit] | None = None
    if before is not None:
        old = _document(of_spec(before), folder, _stands(before))
        edits = _edits(old, _document(wanted, folder, conda))
    if edits is None:
        if conda == _INLINE and before is not None and before.conda is not None:
            _require_plain(before)
            text = CondaDependencies.of(before.conda).serialize_to_string()
            files[f"{folder}/{_CONDA}"], conda = text.encode(), _CONDA
        files[path] = render_yaml(_document(wanted, folder, conda)).encode()
    elif edits:
        files[path] = desk.edit(desk.tree.read(path) or b"", path, edits)
    changed = {name: data for name, data in files.items() if desk.tree.read(name) != data}
    spec = load_environment(Overlay(desk.tree, changed), desk.parse, wanted.name)
    return SpecFiles(files=changed, spec=spec)


def _stands(spec: Spec) -> Plain | None:
    """Return what ``conda_file:`` says of a spec that exists."""
    if spec.conda is None:
        return None
    if spec.conda.path is None:
        return _INLINE
    return posixpath.relpath(spec.conda.path, posixpath.dirname(spec.path))


def _conda(
    desk: Desk, root: Path, wanted: Environment, before: Spec | None, files: dict[str, bytes]
) -> Plain | None:
    """Return what ``conda_file:`` has to say; the file itself goes to *files*."""
    source, folder = wanted.conda_file, f"{ENVIRONMENTS}/{wanted.name}"
    if source is None:
        return None
    if isinstance(source, (str, os.PathLike)):
        return _copied(desk, root, Path(source), folder, files)
    if isinstance(source, CondaDependencies):
        if before is not None and before.conda is not None:
            if CondaDependencies.of(before.conda) == source:
                return _stands(before)
            _require_plain(before)
        files[f"{folder}/{_CONDA}"] = source.serialize_to_string().encode()
    else:
        files[f"{folder}/{_CONDA}"] = render_yaml(_plain_map(source)).encode()
    return _CONDA


def _require_plain(spec: Spec) -> None:
    if spec.conda is not None and spec.conda.pip_constraints:
        raise InvalidInput(
            f"the conda file of {spec.name} names a file of constraints",
            detail="A program cannot change such a conda file without losing them.",
            hint=f"Edit {spec.conda.path or spec.path} by hand.",
        )


def _copied(desk: Desk, root: Path, source: Path, folder: str, files: dict[str, bytes]) -> Plain:
    """Copy a conda file into the environment's folder; one of that folder stays where it is."""
    from envsync.adapters.git.worktree import WorkTree

    resolved = (source if source.is_absolute() else root / source).resolve()
    own = (root / folder).resolve()
    if resolved.is_relative_to(own):
        return resolved.relative_to(own).as_posix()
    tree = SourceFile(tree=WorkTree(resolved.parent), path=resolved.name)
    beside: dict[str, bytes] = {}
    data = copied_conda(desk.parse, tree, beside)
    files.update({f"{folder}/{path}": content for path, content in beside.items()})
    files[f"{folder}/{_CONDA}"] = data
    return _CONDA


def _document(wanted: Environment, folder: str, conda: Plain | None) -> dict[str, Plain]:
    document: dict[str, Plain] = {"name": wanted.name}
    if wanted.version is not None:
        document["version"] = (
            Raw(text=wanted.version) if wanted.version.isdigit() else (wanted.version)
        )
    if wanted.description:
        document["description"] = wanted.description
    if wanted.tags:
        document["tags"] = dict(wanted.tags)
    if wanted.image is not None:
        document["image"] = wanted.image
    if wanted.build is not None:
        document["build"] = _build(wanted.build, folder)
    if conda is not None:
        document["conda_file"] = conda
    if wanted.os_type != "linux":
        document["os_type"] = wanted.os_type
    if wanted.inference_config is not None:
        document["inference_config"] = _plain(dataclasses.asdict(wanted.inference_config))
    settings = _settings(wanted.settings)
    if settings:
        document["envsync"] = settings
    return document


def _build(build: BuildContext, folder: str) -> dict[str, Plain]:
    path = build.path if build.remote else posixpath.relpath(build.path, folder)
    document: dict[str, Plain] = {"path": path}
    if build.dockerfile_path != BuildContext(path="").dockerfile_path:
        document["dockerfile_path"] = build.dockerfile_path
    return document


def _settings(settings: Settings) -> dict[str, Plain]:
    """Return the settings that are not the default, under the names of their keys."""
    default = Settings()
    return {
        part.name: _plain(getattr(settings, part.name))
        for part in fields(Settings)
        if getattr(settings, part.name) != getattr(default, part.name)
    }


def _plain_map(values: Mapping[str, Any]) -> dict[str, Plain]:
    return {str(key): _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Plain:
    if isinstance(value, bool):
        return Raw(text=str(value).lower())
    if isinstance(value, (int, float)):
        return Raw(text=str(value))
    if isinstance(value, str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return _plain_map(value)
    if isinstance(value, (Sequence, frozenset)):
        return [_plain(item) for item in value]
    raise InvalidInput(f"{value!r} cannot stand in a spec", hint="Write it as text.")


def _edits(old: Mapping[str, Plain], new: Mapping[str, Plain]) -> list[Edit] | None:
    """Return the edits that lead from *old* to *new*; None when the file must be written anew."""
    edits = []
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    for key in keys:
        value = new.get(key)
        if value is None:
            edits.append(Edit(path=(key,), value=None))
        elif isinstance(value, str):
            edits.append(Edit(path=(key,), value=value))
        elif isinstance(value, Raw):
            edits.append(Edit(path=(key,), value=value.text))
        elif isinstance(value, Mapping) and all(isinstance(v, str) for v in value.values()):
            edits.append(
                Edit(path=(key,), value={k: v for k, v in value.items() if isinstance(v, str)})
            )
        else:
            return None
    return edits

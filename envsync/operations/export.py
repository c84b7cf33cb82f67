"""Export: an environment as another tool has it, from a version or from the working folder."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from envsync.errors import InvalidInput
from envsync.model.config import LOCKS, Config
from envsync.model.exports.azureml import azureml, saved_folder
from envsync.model.exports.conda import environment_file, explicit, requirements
from envsync.model.exports.dockerfile import dockerfile
from envsync.model.exports.source import Exported, Source
from envsync.model.lock import LOCK_FILE
from envsync.model.places import is_url
from envsync.model.reference import EnvironmentReference
from envsync.model.spec import Spec
from envsync.oci.entry import PREFIX
from envsync.operations.look import Past, show
from envsync.ports.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A way out."""

    render: Callable[[Source, Sequence[str]], Exported]
    summary: str
    locked: bool = True
    """Whether it says what is locked, platform by platform."""


def _conda_lock(source: Source, _: Sequence[str]) -> Exported:
    return Exported(files={LOCK_FILE: source.conda_lock or b""})


FORMATS: Mapping[str, Format] = {
    "azureml": Format(
        render=lambda source, _: azureml(source),
        summary="Azure ML YAML that names the image by digest",
        locked=False,
    ),
    "azureml-folder": Format(
        render=lambda source, _: saved_folder(source),
        summary="folder of the older SDK",
        locked=False,
    ),
    "conda-lock": Format(render=_conda_lock, summary="the lock, for conda-lock and its relatives"),
    "dockerfile": Format(
        render=lambda source, platforms: dockerfile(source, platforms, PREFIX),
        summary="Dockerfile that describes the image",
    ),
    "environment.yml": Format(render=environment_file, summary="conda file, all pinned"),
    "explicit": Format(render=explicit, summary="@EXPLICIT lock with hashes"),
    "requirements.txt": Format(render=requirements, summary="wheels with hashes"),
}
"""By the word for ``--as``."""


def read_source(
    tree: Tree, past: Past, config: Config, reference: EnvironmentReference, image: str
) -> Source:
    """Read what an export is made from; *image* is the repository of its images, '' for none.

    Without any version it is what stands in *tree*.
    """
    shown = show(tree, past, reference, image)
    of = past.git.tree(shown.record.commit) if shown.record else tree
    return Source(
        spec=shown.spec,
        lock=shown.lock,
        config=config,
        record=shown.record,
        image=image,
        files=_named_files(shown.spec, of),
        conda_lock=of.read(f"{LOCKS}/{shown.name}/{LOCK_FILE}"),
        dockerfile=_dockerfile(shown.spec, of),
    )


def export(source: Source, form: str, platform: str = "") -> Exported:
    """Return the files of one of `FORMATS`; *platform* chooses one where a file is for one each.

    Raises InvalidInput when the environment has not what the format is made of.
    """
    found = FORMATS[form]
    name, kind = source.spec.name, source.spec.kind
    if found.locked and form != "dockerfile" and kind != "conda":
        raise InvalidInput(
            f"{name} has no locked packages: it is {'an image' if kind == 'image' else 'built'}",
            detail=f"{form} lists the packages that envsync installs.",
            hint="Export it as azureml, azureml-folder or dockerfile.",
        )
    if found.locked and kind == "conda" and source.lock is None:
        raise InvalidInput(f"{name} is not locked", hint=f"Lock it:\n    envsync lock {name}")
    known = tuple(sorted(source.packages))
    if platform and platform not in known:
        raise InvalidInput(
            f"{name} is not locked for {platform}", detail=f"It is locked for: {', '.join(known)}."
        )
    return found.render(source, (platform,) if platform else known)


def _named_files(spec: Spec, tree: Tree) -> dict[str, bytes]:
    """Return the wheels that a spec names, by their path as written."""
    if spec.conda is None:
        return {}
    folder = posixpath.dirname(spec.conda.path or spec.path)
    found = {path: tree.read(posixpath.join(folder, path)) for path in spec.conda.wheels}
    return {posixpath.normpath(path): data for path, data in found.items() if data is not None}


def _dockerfile(spec: Spec, tree: Tree) -> str:
    build = spec.build
    if build is None or is_url(build.path) or build.path.startswith("git@"):
        return ""
    path = posixpath.normpath(posixpath.join(build.path, build.dockerfile_path))
    return (tree.read(path) or b"").decode("utf-8", "replace")

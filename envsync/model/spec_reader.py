"""From the nodes of an environment YAML to a `Spec`, with every fault found.

The rules are Azure ML's (https://azuremlschemas.azureedge.net/latest/environment.schema.json) and
envsync's own for what stands under ``envsync:``.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from envsync.errors import InvalidInput, Position
from envsync.model.conda_file_reader import CondaDraft, read_conda_file
from envsync.model.config_reader import fault_of
from envsync.model.document import (
    Faults,
    Mapping,
    Node,
    Scalar,
    Sequence,
    absent,
    as_mapping,
    as_text,
    as_text_map,
    check_keys,
    nearest,
    shown,
)
from envsync.model.names import CURATED_PREFIXES, is_name, is_version
from envsync.model.places import BadPath, carries_credentials, carries_login, placeholder, within
from envsync.model.reference import (
    EnvironmentReference,
    names_environment,
    parse_environment_reference,
    parse_image_reference,
)
from envsync.model.settings_reader import (
    SETTINGS_KEYS,
    check_settings,
    read_inference_config,
    read_settings,
)
from envsync.model.spec import (
    SCRATCH,
    BuildContext,
    OsType,
    Spec,
)

KEYS = (
    "$schema", "name", "version", "description", "tags", "image", "conda_file", "build", "os_type",
    "inference_config", "datastore", "properties", "envsync",
)  # fmt: skip
BUILD_KEYS = ("path", "dockerfile_path")
_PACKAGES = "Write packages into a conda file, and name it as 'conda_file:'."
_OF_BUILD = "Write 'build:' and below it 'path:' and 'dockerfile_path:'."
_ADVICE = {
    "conda": "Write 'conda_file:'.",
    "python": _PACKAGES,
    "pip": _PACKAGES,
    "packages": _PACKAGES,
    "requirements": _PACKAGES,
    "dockerfile_path": _OF_BUILD,
    "path": _OF_BUILD,
    "base_image": "Write 'image:'.",
    "env": "Write it under 'envsync:', as 'environment_variables:'.",
    "variables": "Write it under 'envsync:', as 'environment_variables:'.",
    "command": "It belongs to a job, which names this environment.",
    "type": "It says nothing here; remove it.",
    "label": "The only label is latest, and envsync sets it; remove it.",
    "dockerfile": _OF_BUILD,
    "docker": "Write 'image:' for a base image, or 'build:' for a Dockerfile.",
    **{key: f"Write it under 'envsync:', as '{key}:'." for key in SETTINGS_KEYS},
}
_MEANS_A_KIND = frozenset({"dockerfile", "dockerfile_path", "docker", "base_image"})
_EXAMPLE = "Write 'image: ubuntu:24.04', for example; after the ':' of a key stands a space."
_GIT_CONTEXT = re.compile(r"(?:https?|git|ssh)://\S+|git@[^\s:]+:\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecDraft:
    """An environment YAML by itself: the files it names are not read yet."""

    spec: Spec
    """Without `Spec.conda`."""
    conda: CondaDraft | None = None
    """A conda file that stands inline."""
    conda_path: str = ""
    """Repository-relative path of the conda file; '' when there is none or it stands inline."""
    named_at: Position | None = None
    """Where ``conda_file`` or ``build`` stands: faults of the files they name are told here."""


def read_spec(root: Node, faults: Faults, *, path: str, name: str | None) -> SpecDraft:
    """Read the environment YAML at repository-relative *path*.

    *name* is that of the environment's folder, which the file must agree with; None takes the
    file's word, and a file without a name is an anonymous environment with the name ''.
    """
    document = as_mapping(root, "An environment file", faults, _EXAMPLE)
    if document is None:
        if absent(root):
            faults.add(Position(file=path), "The file is empty", "It needs 'image:' or 'build:'.")
        return SpecDraft(spec=Spec(name=name or "", path=path))
    if _is_conda_file(document, faults):
        return SpecDraft(spec=Spec(name=name or "", path=path))
    check_keys(document, KEYS, "an environment file", faults, _ADVICE)
    as_text(document.get("$schema"), "'$schema'", faults)
    as_text(document.get("datastore"), "'datastore'", faults)
    as_mapping(document.get("properties"), "'properties'", faults)
    image = _image(document.get("image"), name, faults)
    build = _build(document.get("build"), path, faults)
    settings = read_settings(document.get("envsync"), faults)
    _check_kind(document, faults)
    check_settings(document, faults)
    conda, conda_path = _conda(document, path, faults)
    named = document.get("conda_file") or document.get("build")
    return SpecDraft(
        spec=Spec(
            name=_name(document.get("name"), name, faults),
            path=path,
            version=_version(document.get("version"), faults),
            description=_description(document.get("description"), faults),
            tags={
                key: "" if value.is_null else value.text
                for key, value in as_text_map(document.get("tags"), "'tags'", faults).items()
            },
            image=image,
            build=build,
            os_type=_os_type(document.get("os_type"), faults),
            inference_config=read_inference_config(document.get("inference_config"), faults),
            settings=settings,
        ),
        conda=conda,
        conda_path=conda_path,
        named_at=named.where if named else None,
    )


def _is_conda_file(document: Mapping, faults: Faults) -> bool:
    key = document.key("dependencies") or document.key("channels")
    if key is None:
        return False
    faults.add(
        key.where,
        f"{shown(key.text)} stands here: this is a conda file, not an environment file",
        "Call it conda.yaml, and write an environment.yaml beside it with 'image:' and"
        " 'conda_file: conda.yaml'.",
    )
    return True


def _name(node: Node | None, folder: str | None, faults: Faults) -> str:
    text = as_text(node, "'name'", faults)
    if text is None or not (name := text.text):
        return folder or ""
    if left := placeholder(name):
        faults.add(text.where, f"{shown(left)} is a placeholder of a template", "Fill it in first.")
    elif not is_name(name):
        faults.add(
            text.where,
            f"{shown(name)} is not a name",
            "Names have letters, digits, '-' and '_', at most 255, and start with a letter or"
            " digit.",
        )
    elif folder is not None and name != folder:
        faults.add(
            text.where,
            f"The name is {shown(name)}, but the folder is {shown(folder)}",
            f"Write 'name: {folder}', or rename the folder.",
        )
    elif problem := reserved(name):
        faults.add(text.where, problem, "Choose another name; images of Azure ML can be used.")
    return folder if folder is not None else name


def reserved(name: str) -> str:
    """Say why *name* may not be defined by users; '' when it may."""
    prefix = next((prefix for prefix in CURATED_PREFIXES if name.startswith(prefix)), "")
    return f"Names that start with {shown(prefix)} are reserved for Azure ML" if prefix else ""


def _version(node: Node | None, faults: Faults) -> str | None:
    text = as_text(node, "'version'", faults)
    if text is None:
        return None
    version = text.text
    if is_version(version):
        return version
    if left := placeholder(version):
        faults.add(
            text.where,
            f"{shown(left)} in 'version' is a placeholder of a template",
            "Fill it in, or leave 'version' out: versions are then 1, 2, 3 ….",
        )
    else:
        faults.add(
            text.where,
            f"{shown(version)} is not a version",
            "A version is a number or a text such as 1.0.2: letters, digits, '.', '_' and '-',"
            " at most 127; 'latest', 'def-…' and 'git-…' are taken.",
        )
    return None


def _description(node: Node | None, faults: Faults) -> str:
    text = as_text(node, "'description'", faults)
    return text.text if text else ""


def _is_scratch(document: Mapping) -> bool:
    """Tell whether the base image is none."""
    node = document.get("image")
    return isinstance(node, Scalar) and node.text.strip() == SCRATCH


def _image(node: Node | None, name: str | None, faults: Faults) -> str | None:
    text = as_text(node, "'image'", faults)
    if text is None:
        return None
    image = text.text.strip()
    if image == SCRATCH:
        return image
    if not image:
        faults.add(
            text.where,
            "'image' is empty",
            "Write 'image: scratch' for no base image, or 'image: ubuntu:24.04' for one.",
        )
        return None
    if image.startswith(("./", "../", "/", "~")) or image == "Dockerfile":
        faults.add(
            text.where,
            f"{shown(image)} is a path, not an image",
            "For a Dockerfile write 'build:' and below it 'path:', the folder that it is in.",
        )
        return None
    if left := placeholder(image):
        faults.add(text.where, f"{shown(left)} is a placeholder of a template", "Fill it in first.")
        return None
    if carries_login(image):
        faults.add(
            text.where,
            "The image holds a user, a password or a token",
            "Remove them and log in: docker login.",
        )
        return None
    try:
        if names_environment(image):
            _check_base(parse_environment_reference(image), name, text, faults)
        else:
            parse_image_reference(image)
    except InvalidInput as error:
        fault_of(error, text.where, faults)
        return None
    return image


def _check_base(base: EnvironmentReference, name: str | None, text: Scalar, faults: Faults) -> None:
    """An environment may be the base of others."""
    if base.name == name and not base.registry:
        faults.add(
            text.where,
            f"{shown(base.name)} is to be built on itself",
            "Name another environment, or the image that both are built on.",
        )


def _check_kind(document: Mapping, faults: Faults) -> None:
    """Exactly one of ``image`` and ``build``; ``conda_file`` needs ``image``."""
    image, build = document.key("image"), document.key("build")
    has_image = not absent(document.get("image"))
    has_build = not absent(document.get("build"))
    if has_image and has_build and image and build:
        later = max(image, build, key=lambda key: key.where)
        faults.add(
            later.where,
            "Both 'image' and 'build' are given",
            "Keep 'image' for a base image, or 'build' for a Dockerfile.",
        )
    elif not has_image and not has_build and not absent(document.get("conda_file")):
        key = document.key("conda_file")
        faults.add(
            key.where if key else document.where,
            "'conda_file' needs an 'image' to build on",
            "Write 'image: scratch' for none, or a base such as 'image: debian:12-slim'.",
        )
    elif not has_image and not has_build and not _means_a_kind(document):
        key = image or build
        faults.add(
            key.where if key else document.where,
            "Neither 'image' nor 'build' is given",
            "Write 'image: scratch' for no base image, 'image: ubuntu:24.04' for one, or 'build:'"
            " for a Dockerfile.",
        )
    if image and _is_scratch(document) and absent(document.get("conda_file")):
        faults.add(
            image.where,
            "'image: scratch' alone is an image with nothing in it",
            "Add 'conda_file:' with the packages that it should have, or name a base image.",
        )
    conda = document.key("conda_file")
    if conda and has_build and not absent(document.get("conda_file")):
        faults.add(
            conda.where,
            "'conda_file' cannot stand beside 'build'",
            "Install the packages in the Dockerfile, or use 'image' instead of 'build'.",
        )


def _means_a_kind(document: Mapping) -> bool:
    """Tell whether a key that is not known stands for ``image`` or ``build``: told of already."""
    unknown = [key.text for key, _ in document.entries if key.text not in KEYS]
    return any(
        text in _MEANS_A_KIND or (text not in _ADVICE and nearest(text, KEYS) in {"image", "build"})
        for text in unknown
    )


def _conda(document: Mapping, path: str, faults: Faults) -> tuple[CondaDraft | None, str]:
    node = document.get("conda_file")
    if node is None or absent(node):
        return None, ""
    if isinstance(node, Mapping):
        return read_conda_file(node, faults, path=None), ""
    if isinstance(node, Sequence):
        faults.add(
            node.where, "'conda_file' is a list; it must be a path, or the conda file itself"
        )
        return None, ""
    return None, _path(node, "'conda_file'", path, faults)


def _path(node: Node | None, what: str, of: str, faults: Faults) -> str:
    text = as_text(node, what, faults)
    if text is None:
        return ""
    try:
        # "file:" is how the first CLI of Azure ML wrote local paths.
        return within(posixpath.dirname(of), text.text.removeprefix("file:"))
    except BadPath as error:
        faults.add(text.where, f"The path {shown(text.text)} {error}", error.hint)
        return ""


def _build(node: Node | None, path: str, faults: Faults) -> BuildContext | None:
    mapping = as_mapping(
        node,
        "'build'",
        faults,
        "Write 'build:' and below it 'path: docker', the folder of the Dockerfile.",
    )
    if mapping is None:
        return None
    check_keys(
        mapping,
        BUILD_KEYS,
        "'build'",
        faults,
        {
            "local_path": "Write 'path:'.",
            "dockerfile": "Write 'dockerfile_path:', the file's place in the folder.",
            "image": "A build has its base image in the Dockerfile, after FROM.",
        },
    )
    context = mapping.get("path")
    if absent(context):
        faults.add(mapping.where, "'build' has no 'path'", "Name the folder of the Dockerfile.")
    dockerfile = as_text(mapping.get("dockerfile_path"), "'dockerfile_path'", faults)
    name = BuildContext(path="").dockerfile_path
    if dockerfile is not None:
        try:
            name = within("", dockerfile.text)
        except BadPath as error:
            faults.add(dockerfile.where, f"The path {shown(dockerfile.text)} {error}", error.hint)
    if isinstance(context, Scalar) and _GIT_CONTEXT.fullmatch(context.text):
        if carries_credentials(context.text):
            faults.add(
                context.where,
                "The build context holds a user, a password or a token",
                "Remove them; they come from the login of the machine that builds.",
            )
        return BuildContext(path=context.text, dockerfile_path=name)
    folder = _path(context, "'path'", path, faults)
    return BuildContext(path=folder, dockerfile_path=name) if folder else None


def _os_type(node: Node | None, faults: Faults) -> OsType:
    text = as_text(node, "'os_type'", faults)
    if text is None or text.text.lower() == "linux":
        return "linux"
    if text.text.lower() != "windows":
        faults.add(text.where, f"{shown(text.text)} is not an os_type", "Write linux or windows.")
    return "windows"

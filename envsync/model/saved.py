"""An environment as the older SDK saved it: ``azureml_environment.json`` in a folder.

What has no place in an environment YAML is noted by name, never dropped silently, and credentials
are noted without being read.
Source: https://learn.microsoft.com/azure/machine-learning/v1/reference-azure-machine-learning-cli
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from envsync.errors import Fault
from envsync.model.conda_file_reader import read_variables
from envsync.model.document import (
    Faults,
    Node,
    Scalar,
    Sequence,
    absent,
    as_bool,
    as_mapping,
    as_text,
    check_keys,
    nearest,
    shown,
)
from envsync.model.document import Mapping as MapNode
from envsync.model.spec import OsType

SAVED_FILE = "azureml_environment.json"
SAVED_CONDA = "conda_dependencies.yml"
SAVED_DOCKERFILE = "BaseDockerfile"

_TOP = (
    "assetId", "databricks", "docker", "environmentVariables", "inferencingStackVersion", "name",
    "python", "r", "spark", "tags", "version", "isArchived", "isCurated",
)  # fmt: skip
_OF_RUNS = ("arguments", "enabled", "sharedVolumes", "shmSize")
_DEFAULTS = {"sharedVolumes": {"true"}, "shmSize": {"2g"}, "enabled": {"true", "false"}}
_EXAMPLE = {"EXAMPLE_ENV_VAR": "EXAMPLE_VALUE"}
_ARCHITECTURES = {"amd64": "linux-64", "arm64": "linux-aarch64", "aarch64": "linux-aarch64"}
_R = "Write R packages into the conda file, as r-base and r-<name>."


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedEnvironment:
    """What of a saved environment has a place in envsync; '' and None say nothing."""

    name: str = ""
    version: str = ""
    image: str = ""
    """The base image, with the address of its registry before it."""
    dockerfile: Scalar | None = None
    """The text of ``baseDockerfile``; it comes before the image."""
    context: str = ""
    """URL of a build context."""
    context_dockerfile: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    user_managed: bool = False
    """The image brings its own Python, and nothing is installed into it."""
    interpreter: str = ""
    conda: MapNode | None = None
    """A conda file that stands in the JSON itself."""
    conda_file: str = ""
    """Name of the conda file, relative to the folder."""
    os_type: OsType = "linux"
    platform: str = ""
    notes: tuple[Fault, ...] = ()
    """What is not carried over: where it stands, what it is, what can be done."""


def read_saved(root: Node, faults: Faults) -> SavedEnvironment:
    """Read the JSON; keys that are not of the right kind become faults."""
    document = as_mapping(root, SAVED_FILE, faults)
    if document is None:
        return SavedEnvironment()
    check_keys(document, _TOP, SAVED_FILE, faults, {})
    notes = Faults()
    docker = as_mapping(document.get("docker"), "'docker'", faults) or MapNode(where=root.where)
    python = as_mapping(document.get("python"), "'python'", faults) or MapNode(where=root.where)
    variables = read_variables(
        document.get("environmentVariables"), "'environmentVariables'", faults
    )
    if variables == _EXAMPLE:
        # The SDK writes this into every environment that sets nothing.
        variables = {}
    context, context_dockerfile = _context(docker, notes)
    os_type, platform = _platform(docker, notes)
    inline = python.get("condaDependencies")
    _note_settings(document, docker, python, notes)
    return SavedEnvironment(
        name=_text(document, "name", faults),
        version=_text(document, "version", faults),
        image=_image(docker, notes, faults),
        dockerfile=as_text(docker.get("baseDockerfile"), "'baseDockerfile'", faults),
        context=context,
        context_dockerfile=context_dockerfile,
        variables=variables,
        user_managed=as_bool(
            python.get("userManagedDependencies"), "'userManagedDependencies'", faults
        )
        or False,
        interpreter=_text(python, "interpreterPath", faults),
        conda=None if absent(inline) else as_mapping(inline, "'condaDependencies'", faults),
        conda_file=_text(python, "condaDependenciesFile", faults),
        os_type=os_type,
        platform=platform,
        notes=tuple(notes),
    )


def _text(mapping: MapNode, key: str, faults: Faults) -> str:
    text = as_text(mapping.get(key), f"'{key}'", faults)
    return text.text if text else ""


def _image(docker: MapNode, notes: Faults, faults: Faults) -> str:
    image = _text(docker, "baseImage", faults)
    registry = as_mapping(docker.get("baseImageRegistry"), "'baseImageRegistry'", faults)
    if registry is None:
        return image
    for key, value in registry.entries:
        if key.text != "address" and _says(value):
            notes.add(
                key.where,
                f"'baseImageRegistry.{key.text}' is a login, and stays out of the repository",
                "Log in on the machines that lock and apply: docker login.",
            )
    address = _text(registry, "address", faults).removeprefix("https://").rstrip("/")
    if image and address and not image.startswith(f"{address}/"):
        return f"{address}/{image}"
    return image


def _context(docker: MapNode, notes: Faults) -> tuple[str, str]:
    """Return URL and Dockerfile of a build context; a folder in the cloud is noted."""
    context = docker.get("buildContext")
    if not isinstance(context, MapNode):
        return "", ""
    location, kind = context.get("location"), context.get("locationType")
    dockerfile = context.get("dockerfilePath")
    url = location.text if isinstance(location, Scalar) and not location.is_null else ""
    if isinstance(kind, Scalar) and kind.text.lower() == "git" and url:
        return url, dockerfile.text if isinstance(dockerfile, Scalar) else ""
    notes.add(
        context.where,
        "'docker.buildContext' is a folder in a storage account",
        "Download it into the repository, and use: envsync new NAME --build FOLDER",
    )
    return "", ""


def _platform(docker: MapNode, notes: Faults) -> tuple[OsType, str]:
    platform = docker.get("platform")
    if not isinstance(platform, MapNode):
        return "linux", ""
    system, architecture = platform.get("os"), platform.get("architecture")
    if isinstance(system, Scalar) and system.text.lower() == "windows":
        return "windows", ""
    if not isinstance(architecture, Scalar) or architecture.is_null:
        return "linux", ""
    if (known := _ARCHITECTURES.get(architecture.text.lower())) is None:
        notes.add(architecture.where, f"No images are made for {shown(architecture.text)}")
    return "linux", "" if known in {None, "linux-64"} else str(known)


def _note_settings(document: MapNode, docker: MapNode, python: MapNode, notes: Faults) -> None:
    for word in _OF_RUNS:
        node, name = docker.get(word), docker.key(word)
        text = node.text.lower() if isinstance(node, Scalar) else ""
        if node and name and _says(node) and text not in _DEFAULTS.get(word, ()):
            notes.add(
                name.where,
                f"'docker.{word}' is about how a container is run, not about its image",
                "Set it where the image is run.",
            )
    for key, value in docker.entries:
        known = (*_OF_RUNS, "baseImage", "baseDockerfile", "baseImageRegistry", "buildContext")
        if key.text not in {*known, "platform"} and _says(value):
            notes.add(key.where, f"'docker.{key.text}' is not known", _meant(key.text, known))
    for key, value in python.entries:
        if key.text == "baseCondaEnvironment" and _says(value):
            notes.add(key.where, "'python.baseCondaEnvironment' names an environment of the image")
    for section, hint in (
        ("spark", "An image for Spark names its packages itself."),
        ("databricks", "Libraries of Databricks belong to the cluster."),
        ("r", _R),
    ):
        for where, path in _settings(document.get(section), section):
            notes.add(where.where, f"'{path}' has no place in an environment", hint)
    for word in ("inferencingStackVersion", "assetId"):
        if _says(document.get(word)) and (found := document.key(word)):
            notes.add(found.where, f"'{word}' belongs to the workspace it was saved from")


def _settings(node: Node | None, path: str) -> Iterator[tuple[Node, str]]:
    """Yield what a section says, by its path; what it says by default does not count."""
    if isinstance(node, MapNode):
        for key, value in node.entries:
            for where, inner in _settings(value, f"{path}.{key.text}"):
                yield (key if where is value else where), inner
    elif _says(node) and node is not None and path != "spark.precachePackages":
        yield node, path


def _says(node: Node | None) -> bool:
    if isinstance(node, MapNode):
        return any(_says(value) for _, value in node.entries)
    if isinstance(node, Sequence):
        return bool(node.items)
    return node is not None and not absent(node) and bool(node.text)


def _meant(word: str, known: tuple[str, ...]) -> str:
    near = nearest(word, known)
    return f"Did you mean '{near}'?" if near else ""

"""Exports for Azure ML: the YAML of today, and the folder of the older SDK."""

from __future__ import annotations

import json

from envsync.errors import InvalidInput
from envsync.model.exports.source import Exported, Source
from envsync.model.reference import DOCKER_HUB
from envsync.model.saved import SAVED_CONDA, SAVED_FILE
from envsync.model.spec import SCRATCH, CondaFile, Route
from envsync.model.yaml_text import Plain, Raw, render_yaml

SCHEMA = "https://azuremlschemas.azureedge.net/latest/environment.schema.json"


def azureml(source: Source) -> Exported:
    """Return environment YAML that names the finished image by digest.

    Ready for ``az ml environment create --file``. Raises InvalidInput when there is no image that
    Azure could pull.
    """
    spec = source.spec
    document: dict[str, Plain] = {"$schema": SCHEMA, "name": spec.name}
    if source.record is not None:
        document["version"] = source.record.version
    if spec.description:
        document["description"] = spec.description
    if spec.tags:
        document["tags"] = dict(spec.tags)
    document["image"] = _image(source)
    if spec.os_type != "linux":
        document["os_type"] = spec.os_type
    if (routes := spec.inference_config) is not None:
        document["inference_config"] = {
            "liveness_route": _route(routes.liveness_route),
            "readiness_route": _route(routes.readiness_route),
            "scoring_route": _route(routes.scoring_route),
        }
    about = "".join(f"# {line}\n" for line in source.about)
    return Exported(files={"environment.yaml": f"{about}{render_yaml(document)}".encode()})


def saved_folder(source: Source) -> Exported:
    """Return a folder that the older SDK's ``Environment.load_from_directory`` reads.

    It says what is asked for, not what is locked; ``envsync new --saved`` reads it back.
    """
    spec = source.spec
    lost = []
    image: str | None = spec.image
    conda = spec.conda
    dockerfile: str | None = None
    if spec.kind == "build":
        dockerfile, image = source.dockerfile or None, None
        lost.append("the build context: only its Dockerfile fits into the JSON")
    if image == SCRATCH:
        lost.append("image: scratch, which Azure ML does not know")
    for key, value in (
        ("inference_config", spec.inference_config), ("tags", spec.tags),
        ("description", spec.description),
        ("envsync.virtual_packages", spec.settings.virtual_packages),
        ("envsync.user", spec.settings.user),
    ):  # fmt: skip
        if value:
            lost.append(key)
    platforms = spec.settings.platforms or source.config.platforms
    arm = tuple(platforms) == ("linux-aarch64",)
    if len(platforms) > 1:
        lost.append("platforms: the SDK's environments have one")
    document: dict[str, object] = {
        "name": spec.name,
        "version": source.record.version if source.record else None,
        "environmentVariables": dict(spec.settings.environment_variables),
        "python": {
            "baseCondaEnvironment": None,
            "condaDependenciesFile": None,
            "interpreterPath": "python",
            "userManagedDependencies": conda is None,
        },
        "docker": {
            "arguments": [],
            "baseDockerfile": dockerfile,
            "baseImage": image,
            "baseImageRegistry": {"address": None, "password": None, "username": None},
            "enabled": False,
            "platform": {
                "architecture": "arm64" if arm else "amd64",
                "os": spec.os_type.capitalize(),
            },
            "sharedVolumes": True,
            "shmSize": None,
        },
        "inferencingStackVersion": None,
        "r": None,
        "spark": {"packages": [], "precachePackages": True, "repositories": []},
    }
    files = {SAVED_FILE: f"{json.dumps(document, indent=4, ensure_ascii=False)}\n".encode()}
    if conda is not None:
        files |= _conda_files(source, conda)
    return Exported(files=files, lost=tuple(lost))


def _conda_files(source: Source, conda: CondaFile) -> dict[str, bytes]:
    """Return the conda file, its included requirements written out, and what it names."""
    pip: list[Plain] = list(conda.pip)
    files = dict(source.files)
    if conda.pip_constraints:
        pip.insert(0, "-c constraints.txt")
        files["constraints.txt"] = "".join(f"{c}\n" for c in conda.pip_constraints).encode()
    channels = [*source.channels, *(["nodefaults"] if conda.nodefaults else [])]
    document: dict[str, Plain] = {
        "name": "project_environment",
        "channels": channels,
        "dependencies": [*conda.dependencies, *([{"pip": pip}] if pip else [])],
    }
    if conda.variables:
        document["variables"] = dict(conda.variables)
    return {SAVED_CONDA: render_yaml(document).encode(), **files}


def _image(source: Source) -> str:
    lock = source.lock
    if source.spec.kind == "image" and lock is not None and lock.image.digest:
        name = lock.image.location.partition("@")[0]
        last = name.rpartition("/")[2]
        bare = name[: -len(last)] + last.partition(":")[0]
        return f"{bare}@{lock.image.digest}"
    if source.record is None:
        raise InvalidInput(
            f"{source.spec.name} has no version yet, so it has no image",
            hint=f"Make one:\n    envsync apply {source.spec.name}",
        )
    if not source.image:
        raise InvalidInput(
            f"The images of {source.spec.name} are in a folder, where Azure ML cannot reach them",
            hint="Copy it to a registry first:\n    envsync copy "
            f"{source.spec.name}:{source.record.version} HOST/NAMESPACE",
        )
    return f"{source.image.removeprefix(f'{DOCKER_HUB}/')}@{source.record.digest}"


def _route(route: Route) -> dict[str, Plain]:
    return {"port": Raw(text=str(route.port)), "path": route.path}

"""References: images, environments, and the place of a registry; parsed once, then values.

Image references follow https://github.com/distribution/reference/blob/main/reference.go, and what
has no registry is Docker Hub's, as everywhere. Environment references are Azure ML's. For all of
them ``parse(str(reference)) == reference``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from envsync.errors import InvalidInput
from envsync.model.names import is_name, is_version, repository_component

DOCKER_HUB = "docker.io"
"""Docker Hub as it is written."""
DOCKER_HUB_HOST = "registry-1.docker.io"
"""Docker Hub as it is asked."""

_HUB_NAMES = frozenset({DOCKER_HUB, DOCKER_HUB_HOST, "index.docker.io"})
_PREFIX = "azureml:"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::(?P<port>[0-9]{{1,5}}))?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REGISTRY_URI = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/environments?/(?P<name>[^/]+)"
    r"/(?P<kind>versions|labels)/(?P<value>[^/]+)"
)
_AZURE_REGISTRY = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*")
_REPOSITORY_MAX = 255

_Refuse = Callable[[str, str], InvalidInput]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """An image in a registry, named by a tag, by a digest, or by both (then the digest decides)."""

    registry: str
    """``host[:port]`` as it is written; Docker Hub is ``docker.io``."""
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"

    @property
    def host(self) -> str:
        """The ``host[:port]`` that requests go to."""
        return request_host(self.registry)

    @property
    def reference(self) -> str:
        """What to ask the registry for: the digest if there is one, else the tag."""
        return self.digest or self.tag


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentReference:
    """An environment: a version of it, or the latest one."""

    name: str
    version: str | None
    """None means the label ``latest``."""
    registry: str = ""
    """The Azure ML registry of an ``azureml://`` reference, else ''."""

    def __str__(self) -> str:
        if self.registry:
            kind = "labels/latest" if self.version is None else f"versions/{self.version}"
            return f"azureml://registries/{self.registry}/environments/{self.name}/{kind}"
        return f"{self.name}@latest" if self.version is None else f"{self.name}:{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryLocation:
    """Where a repository keeps its images: ``registry:`` of ``envsync.yaml``."""

    host: str
    """``host[:port]`` as it is written; Docker Hub is ``docker.io``."""
    namespace: str

    def __str__(self) -> str:
        return f"{self.host}/{self.namespace}"

    def repository(self, name: str) -> str:
        """Return the registry's repository for environment *name*."""
        return f"{self.namespace}/{repository_component(name)}"


def request_host(registry: str) -> str:
    """Return the ``host[:port]`` that requests for a registry, as it is written, go to."""
    return DOCKER_HUB_HOST if registry in _HUB_NAMES else registry


def is_repository(text: str) -> bool:
    """Tell whether *text* can be the path of a repository in a registry."""
    return len(text) <= _REPOSITORY_MAX and all(map(_COMPONENT.fullmatch, text.split("/")))


def is_tag(text: str) -> bool:
    """Tell whether *text* can be a tag in a registry."""
    return _TAG.fullmatch(text) is not None


def names_environment(text: str) -> bool:
    """Tell whether *text*, where an image is asked for, names an environment instead."""
    return text.startswith(_PREFIX)


def is_azure_registry(text: str) -> bool:
    """Tell whether *text* can name a registry in an ``azureml://`` reference."""
    return _AZURE_REGISTRY.fullmatch(text) is not None


def parse_image_reference(text: str) -> ImageReference:
    """Read an image reference; without tag and digest it means the tag ``latest``.

    Raises InvalidInput that says what would be right.
    """

    def refuse(detail: str, hint: str) -> InvalidInput:
        return InvalidInput(f"{text!r} is not an image reference", detail=detail, hint=hint)

    _refuse_address(text, refuse)
    if text.startswith(_PREFIX):
        raise refuse(
            "It refers to an environment, and an image is needed here.",
            "Write an image such as ubuntu:22.04 or mcr.microsoft.com/azureml/minimal:latest.",
        )
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise refuse(
            f"{digest!r} after the @ is not a digest that envsync can verify.",
            "A digest is sha256: and 64 hexadecimal digits in lower case.",
        )
    # A colon before the last slash belongs to the port of the host.
    colon = rest.rfind(":") if rest.rfind(":") > rest.rfind("/") else -1
    path, tag = (rest[:colon], rest[colon + 1 :]) if colon >= 0 else (rest, "")
    if colon >= 0 and not _TAG.fullmatch(tag):
        raise refuse(
            f"{tag!r} is not a tag.",
            "A tag has at most 128 letters, digits, '_', '.' and '-', and does not start with "
            "'.' or '-', as in ubuntu:22.04.",
        )
    if colon >= 0 and (earlier := path.rpartition("/")[2].partition(":"))[1]:
        raise refuse("It has two tags.", f"Write {path} or {path[: -len(earlier[2]) - 1]}:{tag}.")
    registry, repository = _split_registry(path)
    if registry == DOCKER_HUB and repository and "/" not in repository:
        repository = f"library/{repository}"
    _check_host(registry, refuse)
    _check_repository(repository, refuse)
    if not tag and not digest:
        tag = "latest"
    return ImageReference(registry=registry, repository=repository, tag=tag, digest=digest)


def parse_environment_reference(text: str) -> EnvironmentReference:
    """Read an environment reference; raises InvalidInput that says what would be right."""

    usual = "Write name:version or name@latest, such as train:3 or train@latest."

    def refuse(detail: str, hint: str = usual) -> InvalidInput:
        return InvalidInput(f"{text!r} is not an environment reference", detail=detail, hint=hint)

    registry = ""
    if text.startswith("azureml://"):
        match = _REGISTRY_URI.fullmatch(text)
        if match is None or not _AZURE_REGISTRY.fullmatch(match["registry"]):
            raise refuse(
                "An azureml:// reference to an environment names a registry.",
                "Write azureml://registries/<registry>/environments/<name>/versions/<version> or "
                "azureml://registries/<registry>/environments/<name>/labels/latest.",
            )
        registry, name = match["registry"], match["name"]
        separator, value = (":" if match["kind"] == "versions" else "@"), match["value"]
    else:
        bare = text.removeprefix(_PREFIX)
        found = re.search("[:@]", bare)
        if found is None:
            raise refuse("It says neither a version nor latest.")
        separator = found[0]
        name, value = bare[: found.start()], bare[found.end() :]
    # Environments that the platform provides have dots in their names, such as sklearn-1.5.
    if not is_name(name.replace(".", "-") if registry else name):
        raise refuse(
            f"{name!r} is not a name: letters, digits, '-' and '_', at most 255, "
            "and a letter or digit first."
        )
    if separator == "@":
        if value != "latest":
            raise refuse(f"{value!r} is not a label: the only label is latest.")
        return EnvironmentReference(name=name, version=None, registry=registry)
    if value == "latest":
        raise refuse("latest is a label, not a version.", f"Write {name}@latest.")
    if not is_version(value):
        raise refuse(f"{value!r} is not a version, which is a number or a text such as 1.0.2.")
    return EnvironmentReference(name=name, version=value, registry=registry)


def parse_environment_argument(text: str) -> EnvironmentReference:
    """Read what people write where an environment is asked for.

    It is a reference, or a name alone, which means the name's latest version. Raises InvalidInput.
    """
    bare = text.removeprefix(_PREFIX)
    if is_plain(text):
        return EnvironmentReference(name=bare, version=None)
    if not any(mark in bare for mark in ":@/"):
        raise InvalidInput(
            f"{bare!r} is not the name of an environment",
            detail="Names have letters, digits, '-' and '_', at most 255, and start with a letter "
            "or digit.",
            hint="Write name, name:version or name@latest, such as train:3.",
        )
    return parse_environment_reference(text)


def is_plain(text: str) -> bool:
    """Tell whether *text* is the name of an environment alone, without version and label."""
    return is_name(text.removeprefix(_PREFIX))


def parse_registry_location(text: str) -> RegistryLocation:
    """Read ``host[:port]/namespace``; raises InvalidInput that says what would be right."""

    def refuse(detail: str, hint: str) -> InvalidInput:
        return InvalidInput(f"{text!r} is not a registry location", detail=detail, hint=hint)

    example = "Write host[:port]/namespace, such as localhost:5000/envs or ghcr.io/team/envs."
    _refuse_address(text, refuse)
    if "@" in text or ("/" in text and ":" in text.rpartition("/")[2]):
        raise refuse("A tag or digest has no place here: envsync sets the tags.", example)
    host, _, namespace = text.partition("/")
    if not _is_host(host):
        known = is_repository(text)
        raise refuse(
            f"{host!r} is not a host.",
            f"For Docker Hub write {DOCKER_HUB}/{text}. {example}" if known else example,
        )
    if not namespace.strip("/"):
        raise refuse("It has no namespace.", f"Write {host}/<namespace>, such as {host}/envs.")
    host = DOCKER_HUB if host in _HUB_NAMES else host
    _check_host(host, refuse)
    _check_repository(namespace, refuse)
    return RegistryLocation(host=host, namespace=namespace)


def _refuse_address(text: str, refuse: _Refuse) -> None:
    scheme, found, rest = text.partition("://")
    if found and scheme in {"http", "https", "docker", "oci"}:
        raise refuse(f"{scheme}:// does not belong to it.", f"Write {rest or 'the rest'}.")
    if not text or text != text.strip() or any(c.isspace() for c in text):
        raise refuse("It is empty or has white space in it.", "Write it without spaces.")


def _split_registry(path: str) -> tuple[str, str]:
    first, slash, rest = path.partition("/")
    if not slash or not (_is_host(first) or first.startswith("[") or first.casefold() != first):
        return DOCKER_HUB, path
    return (DOCKER_HUB if first in _HUB_NAMES else first), rest


def _is_host(text: str) -> bool:
    """Docker's rule for telling a host from the first part of a repository."""
    return text == "localhost" or any(c in text for c in ".:")


def _check_host(host: str, refuse: _Refuse) -> None:
    match = _HOST.fullmatch(host)
    if match is None:
        raise refuse(f"{host!r} is not a host.", "A host is a name and, if needed, :port.")
    if match["port"] and not 0 < int(match["port"]) < 65536:
        raise refuse(f"{match['port']} is not a port.", "A port is a number from 1 to 65535.")


def _check_repository(repository: str, refuse: _Refuse) -> None:
    if is_repository(repository):
        return
    lowered = repository.lower()
    if lowered != repository and is_repository(lowered):
        raise refuse(
            "Repositories have lower-case names.", f"Write {lowered} instead of {repository}."
        )
    if len(repository) > _REPOSITORY_MAX:
        raise refuse(f"Its repository has more than {_REPOSITORY_MAX} characters.", "Shorten it.")
    raise refuse(
        f"{repository!r} is not a repository.",
        "A repository has parts of lower-case letters and digits, joined by '/'; '.', '_' and '-' "
        "may stand inside a part.",
    )

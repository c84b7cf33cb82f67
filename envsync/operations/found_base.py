"""From an environment that a spec names as its base to the image that it is.

An environment of this repository is its recorded version. One of another registry of Azure ML is
looked for where ``registries:`` of ``envsync.yaml`` says that this registry's environments stand.
"""

from __future__ import annotations

from collections.abc import Callable

from envsync.errors import InvalidInput
from envsync.model.config import CONFIG_FILE, LAYOUT_HOST, Config
from envsync.model.reading import Present, Unknown
from envsync.model.record import Record
from envsync.model.reference import (
    EnvironmentReference,
    ImageReference,
    is_repository,
    parse_image_reference,
    parse_registry_location,
)
from envsync.operations.locate import place_of
from envsync.operations.look import Past
from envsync.operations.observe import Registries
from envsync.ports.registry import RegistryReader


def own_image(
    past: Past, registries: Registries, reference: EnvironmentReference
) -> ImageReference:
    """Return the image of a recorded version of this repository, with its digest.

    An image that was never copied into the registry stays where its own spec says that it is.
    """
    record = past.find(reference)
    place = place_of(past, registries, record, remote=False)
    if place.repository != registries.repository(record.name):
        return _elsewhere(past, record)
    return ImageReference(
        registry=own_host(registries.registry),
        repository=place.repository,
        tag=record.version,
        digest=record.digest,
    )


def own_host(registry: RegistryReader) -> str:
    """Return how references call the registry that envsync keeps."""
    return registry.name if parse_host(registry.name) else LAYOUT_HOST


def parse_host(name: str) -> str:
    """Return *name* when a reference can have it as its registry, '' for the path of a folder."""
    try:
        return parse_registry_location(f"{name}/x").host
    except InvalidInput:
        return ""


def curated_image(
    config: Config,
    open_registry: Callable[[str], RegistryReader],
    reference: EnvironmentReference,
) -> ImageReference:
    """Return the image of an environment of another registry, by its tag.

    The repository is called as envsync calls it, or by the name in lower case.
    """
    if reference.registry not in config.registries:
        raise InvalidInput(
            f"nobody knows where the environments of {reference.registry} are",
            detail=f"{reference} is of the registry {reference.registry}.",
            hint=f"Say in {CONFIG_FILE} where they stand:\n"
            f"    registries:\n      {reference.registry}: host/namespace",
        )
    location = parse_registry_location(config.registries[reference.registry])
    registry = open_registry(location.host)
    tag = reference.version or "latest"
    plain = f"{location.namespace}/{reference.name.lower()}"
    repositories = [location.repository(reference.name)]
    if is_repository(plain) and plain not in repositories:
        repositories.append(plain)
    for repository in repositories:
        found = registry.head(repository, tag)
        image = ImageReference(registry=location.host, repository=repository, tag=tag)
        if isinstance(found, Present):
            return image
        if isinstance(found, Unknown):
            raise found.error(f"{reference} cannot be read", where=str(image))
    looked = " and ".join(f"{location.host}/{one}:{tag}" for one in repositories)
    raise InvalidInput(f"there is no {reference}", detail=f"Neither tag nor image: {looked}.")


def _elsewhere(past: Past, record: Record) -> ImageReference:
    _, lock = past.read(record)
    image = parse_image_reference(lock.image.location)
    return ImageReference(
        registry=image.registry, repository=image.repository, digest=record.digest
    )

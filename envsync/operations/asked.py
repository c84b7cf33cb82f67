"""Asked: which registries are asked for a plan of somebody else's branch.

Its settings and locks name hosts, and whoever may open a pull request writes them. A request to
such a host goes out from where the plan is made, which may be a network that strangers do not
reach. So a branch that is judged by the policy of another revision is planned against what *that*
names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase

from envsync.errors import NotAllowed
from envsync.model.config import CONFIG_FILE, LAYOUT_HOST, Config
from envsync.model.reference import DOCKER_HUB, parse_image_reference, parse_registry_location
from envsync.operations.desire import desire
from envsync.operations.observe import Registries
from envsync.operations.readers import Readers
from envsync.ports.registry import RegistryReader
from envsync.ports.tree import CommittedTree


def asked_config(own: Config, target: Config) -> Config:
    """Return a branch's settings with the places of *target*, the settings that it goes into.

    Another registry is asked where the policy of *target* allows its host by name.
    """
    allowed = own.registry == target.registry or _allows(target, own.registry)
    return replace(own, registry=own.registry if allowed else target.registry, remote=target.remote)


def limited(
    registries: Registries,
    target: Config,
    tree: CommittedTree,
    readers: Readers,
    origin: str,
) -> Registries:
    """Return *registries* that refuse hosts of images which nobody but a branch names.

    Those of *target* and of the images of its *tree* may be asked, and Docker Hub, which is in no
    network of anybody's. Where its policy has a rule about images, those that are asked for have
    passed that. *origin* is how messages call the tree's revision.
    """
    known = {LAYOUT_HOST, DOCKER_HUB, *map(_host, (target.registry, *target.registries.values()))}
    ruled = target.policy.registries is not None or target.policy.base_images is not None

    @functools.cache
    def of_images() -> frozenset[str]:
        wishes = desire(tree, readers).wishes.values()
        images = (wish.desired.image for wish in wishes if not wish.desired.copied)
        return frozenset(parse_image_reference(image).registry for image in images)

    def source(host: str) -> RegistryReader:
        if ruled or host in known or host in of_images():
            return registries.source(host)
        raise NotAllowed(
            f"{host} is not asked: only this branch names it",
            hint=f"Let 'policy.registries' in {CONFIG_FILE} of {origin} allow it.",
        )

    asked: Callable[[str], RegistryReader] = source
    return replace(registries, source=asked)


def registry_notice(own: Config, target: Config, origin: str) -> str:
    """Return what to say of a branch that changes the registry; '' when it does not."""
    if own.registry == target.registry:
        return ""
    old, new = (one.registry or "the folder in the repository" for one in (target, own))
    asked = new if asked_config(own, target).registry == own.registry else old
    return (
        f"{CONFIG_FILE} changes the registry from {old} to {new}; asked was {asked},"
        f" as {origin} says. Once that is merged everything is published in {new}."
    )


def _host(registry: str) -> str:
    return parse_registry_location(registry).host if registry else LAYOUT_HOST


def _allows(target: Config, registry: str) -> bool:
    rule = target.policy.registries
    if rule is None or not registry:
        return False
    return any(fnmatchcase(_host(registry), glob) for glob in rule.texts)

"""Stages on which scenes are set: images in a folder, and a real registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.registry import Registry, run_registry
from tests.registry.proxy import Proxy, proxied
from tests.reliability.scenes import Stage


@pytest.fixture(scope="session")
def layout_stage(tmp_path_factory: pytest.TempPathFactory, tiny_packages: Path) -> Stage:
    """Images in a folder, records in a bare remote."""
    return Stage(folder=tmp_path_factory.mktemp("scenes"), channel=tiny_packages)


@pytest.fixture(scope="session")
def scene_registry() -> Iterator[Registry]:
    """A registry whose content each copy of a scene replaces."""
    with run_registry() as registry:
        yield registry


@pytest.fixture(scope="session")
def server_stage(
    tmp_path_factory: pytest.TempPathFactory, tiny_packages: Path, scene_registry: Registry
) -> Stage:
    """Images in a real registry that has only what the scene needs, records in a bare remote."""
    return Stage(
        folder=tmp_path_factory.mktemp("scenes"), channel=tiny_packages, registry=scene_registry
    )


@pytest.fixture(scope="session")
def scene_proxy(scene_registry: Registry) -> Iterator[Proxy]:
    """The fault proxy in front of that registry."""
    with proxied(scene_registry.host) as running:
        yield running


@pytest.fixture
def proxy(scene_proxy: Proxy) -> Iterator[Proxy]:
    """The proxy, without what another test has told it."""
    scene_proxy.forget()
    yield scene_proxy
    scene_proxy.forget()


@pytest.fixture(scope="session")
def proxied_stage(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_packages: Path,
    scene_registry: Registry,
    scene_proxy: Proxy,
) -> Stage:
    """As `server_stage`, and the settings name the proxy."""
    return Stage(
        folder=tmp_path_factory.mktemp("scenes"),
        channel=tiny_packages,
        registry=scene_registry,
        address=scene_proxy.host,
    )

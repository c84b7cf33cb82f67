"""Stages on which scenes are set: images in a folder, and a real registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.registry import Registry, run_registry
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

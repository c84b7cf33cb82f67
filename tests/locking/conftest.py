"""Repositories to lock, on real channels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.locking.repository import Repository


@pytest.fixture(scope="session")
def repodata_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for repodata and what else locking keeps."""
    return tmp_path_factory.mktemp("lock-cache")


@pytest.fixture
def small(tmp_path: Path, small_channel: Path, repodata_cache: Path) -> Repository:
    """An empty repository whose specs use the small channel."""
    root = tmp_path / "repository"
    (root / "environments").mkdir(parents=True)
    return Repository(root, small_channel.as_uri(), repodata_cache)


@pytest.fixture
def real(tmp_path: Path, real_repodata: Path, repodata_cache: Path) -> Repository:
    """An empty repository whose specs use 25,000 real records of conda-forge."""
    root = tmp_path / "repository"
    (root / "environments").mkdir(parents=True)
    return Repository(root, real_repodata.as_uri(), repodata_cache)

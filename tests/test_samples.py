"""The sample environments of this repository: valid, and their committed locks hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from conda_lock.lockfile import parse_conda_lock_file

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.adapters.locks.conda_lock_file import parse_lock
from envsync.adapters.solving.rattler_match import matches
from envsync.operations.load import load_repository
from envsync.operations.lock import check_locks
from envsync.planning.freshness import LockRules

ROOT = Path(__file__).parent.parent
LOCKED = ("two-platforms", "web")


def test_every_sample_is_valid() -> None:
    repository = load_repository(WorkTree(ROOT), parse_document)
    repository.check()
    assert list(repository.specs) == ["base", "trainer", "two-platforms", "web"]
    assert {spec.kind for spec in repository.specs.values()} == {"conda", "image"}


def test_the_committed_locks_satisfy_their_specs() -> None:
    tree = WorkTree(ROOT)
    repository = load_repository(tree, parse_document, LOCKED)
    rules = LockRules(config=repository.config, matches=matches, root=ROOT.as_posix())
    checks = check_locks(list(repository.specs.values()), tree, parse_lock, rules)
    assert [(check.name, check.fresh) for check in checks] == [(name, True) for name in LOCKED]


@pytest.mark.parametrize("name", LOCKED)
def test_conda_lock_reads_the_committed_locks_and_they_name_conda_forge(name: str) -> None:
    lock = parse_conda_lock_file(ROOT / "locks" / name / "conda-lock.yml")
    assert lock.package
    prefix = "https://conda.anaconda.org/conda-forge/"
    assert all(package.url.startswith(prefix) for package in lock.package)

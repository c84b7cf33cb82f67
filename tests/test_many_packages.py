"""Hundreds of packages by chance, each compared with what rattler installs, file by file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envsync.oci.overlay import Node
from tests.generated import Generator
from tests.images import (
    build_into,
    file_system,
    installed_in_one_go,
    lock_of,
    locked,
    prefix_of,
    unpacked,
)
from tests.parts.package import write_package
from tests.test_fidelity import _stub_python, differences

BATCH = 50
FAST, FULL = 10, 40


def compare(seed: int, tmp_path: Path) -> None:
    made = Generator(seed).batch(BATCH)
    assert made == Generator(seed).batch(BATCH)
    archives = [write_package(package, tmp_path / "channel") for package in made]
    packages = [*map(locked, archives), *_stub_python(tmp_path)]
    layouts = tmp_path / "layouts"
    image = build_into(layouts, lock_of({"linux-64": packages}), cache=tmp_path / "cache")
    prefix = tmp_path / "prefix"
    theirs = installed_in_one_go(packages, prefix, tmp_path / "packages")
    ours = prefix_of(file_system(image.top, layouts))
    assert differences(ours, theirs) == {}, f"seed {seed}"
    assert patched_as_recorded(ours, prefix) > 20
    if seed == 0:
        assert differences(unpacked(layouts, tmp_path / "bundle"), theirs) == {}


def patched_as_recorded(ours: dict[str, Node], prefix: Path) -> int:
    """Compare every hash that rattler wrote down of a file that it changed; return how many."""
    count = 0
    owners: dict[str, int] = {}
    records = [json.loads(file.read_bytes()) for file in (prefix / "conda-meta").glob("*.json")]
    for record in records:
        for path in record["paths_data"]["paths"]:
            name = path.get("original_path") or path["_path"]
            owners[name] = owners.get(name, 0) + 1
    for record in records:
        for path in record["paths_data"]["paths"]:
            name, patched = path["_path"], path.get("sha256_in_prefix")
            if patched and path.get("file_mode") and owners.get(name) == 1 and name in ours:
                assert ours[name].sha256 == patched, name
                count += 1
    return count


@pytest.mark.parametrize("seed", range(FAST))
def test_fifty_packages_by_chance_are_as_if_installed(seed: int, tmp_path: Path) -> None:
    compare(seed, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(FAST, FULL))
def test_fifty_more_packages_by_chance_are_as_if_installed(seed: int, tmp_path: Path) -> None:
    compare(seed, tmp_path)

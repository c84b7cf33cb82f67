"""The digest of an image is a function of its definition, whatever the machine is like."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from envsync.model.lock import LockedPackage
from tests.images import build_into, lock_of, locked
from tests.parts.cache import Unavailable
from tests.parts.madeup import clobbers, linked, made, prefixed, text, with_scripts
from tests.parts.package import Package, write_package
from tests.test_build import STUB
from tests.test_fidelity import newest
from tests.test_wheels import wheel

SCRIPT = """
import json, os, sys
from pathlib import Path
from envsync.model.lock import LockedPackage
from tests.images import build_into, lock_of
request = json.load(sys.stdin)
os.umask(request["umask"])
packages = {
    platform: [LockedPackage(**fields) for fields in found]
    for platform, found in request["packages"].items()
}
if request["cache_from"]:
    build_into(Path(request["folder"], "first"), lock_of(packages), cache=Path(request["cache"]))
image = build_into(
    Path(request["folder"], "layouts"), lock_of(packages), cache=Path(request["cache"]),
    cores=request["cores"],
)
print(json.dumps([image.top.digest, *sorted(blob.descriptor.digest for blob in image.blobs)]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What differs from one machine, user and run to the next."""

    umask: int = 0o022
    zone: str = "UTC"
    hash_seed: str = "0"
    locale: str = "C.UTF-8"
    cwd: str = "."
    cores: int = 2
    warm: bool = False
    reverse: bool = False
    variables: dict[str, str] = field(default_factory=dict)


MACHINES = {
    "a plain one": Machine(),
    "a private umask, another seed, one core": Machine(umask=0o077, hash_seed="1", cores=1),
    "an open umask, far east, many cores": Machine(umask=0, zone="Asia/Tokyo", cores=5),
    "a warm cache and another order": Machine(warm=True, reverse=True, hash_seed="77"),
    "another locale and folder": Machine(locale="C", cwd="/", zone="America/St_Johns"),
    "SOURCE_DATE_EPOCH": Machine(variables={"SOURCE_DATE_EPOCH": "1", "PYTHONOPTIMIZE": "2"}),
}


def digests(machine: Machine, packages: dict[str, list[LockedPackage]], folder: Path) -> list[str]:
    """Build in a process of its own and return the digests of the image and its blobs."""
    folder.mkdir(parents=True)
    order = {
        platform: found[::-1] if machine.reverse else found for platform, found in packages.items()
    }
    request = {
        "umask": machine.umask,
        "cores": machine.cores,
        "cache_from": machine.warm,
        "folder": str(folder),
        "cache": str(folder / "cache"),
        "packages": {
            platform: [{name: getattr(package, name) for name in _FIELDS} for package in found]
            for platform, found in order.items()
        },
    }
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd=folder if machine.cwd == "." else machine.cwd,
        env={
            **os.environ,
            "PYTHONPATH": root,
            "PYTHONHASHSEED": machine.hash_seed,
            "TZ": machine.zone,
            "LC_ALL": machine.locale,
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "xdg"),
            **machine.variables,
        },
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, list)
    return found


_FIELDS = ("manager", "name", "version", "platform", "url", "sha256", "build")


def _packages() -> Iterator[Package]:
    yield STUB
    yield prefixed()
    yield linked()
    yield from clobbers()
    yield from list(with_scripts())[:2]
    yield made("wide", *(text(f"share/wide/{n}", "é" * n) for n in range(300)))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[LockedPackage]]:
    """Made-up packages and a wheel."""
    folder = tmp_path_factory.mktemp("index")
    found = [locked(write_package(package, folder / "channel")) for package in _packages()]
    return {"linux-64": [*found, wheel(folder)]}


@pytest.fixture(scope="module")
def expected(
    packages: dict[str, list[LockedPackage]], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """The digests that this process finds."""
    folder = tmp_path_factory.mktemp("here")
    image = build_into(folder / "layouts", lock_of(packages), cache=folder / "cache")
    return [image.top.digest, *sorted(blob.descriptor.digest for blob in image.blobs)]


@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_builds_the_same_image(
    name: str,
    packages: dict[str, list[LockedPackage]],
    expected: list[str],
    tmp_path: Path,
) -> None:
    assert digests(MACHINES[name], packages, tmp_path / "build") == expected


def test_where_packages_come_from_changes_nothing(
    packages: dict[str, list[LockedPackage]], expected: list[str], tmp_path: Path
) -> None:
    moved = []
    for package in packages["linux-64"]:
        source = Path(package.url.removeprefix("file://"))
        target = tmp_path / "mirror" / "label" / source.parent.name / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        fields = {name: getattr(package, name) for name in _FIELDS}
        moved.append(LockedPackage(**{**fields, "url": target.as_uri()}))
    image = build_into(tmp_path / "layouts", lock_of({"linux-64": moved}), cache=tmp_path / "cache")
    assert image.top.digest == expected[0]


def test_what_the_lock_says_of_dependencies_changes_nothing(
    packages: dict[str, list[LockedPackage]], expected: list[str], tmp_path: Path
) -> None:
    other = []
    for package in packages["linux-64"]:
        fields = {name: getattr(package, name) for name in _FIELDS}
        depends = {"clobber-over": "*"} if package.name == "clobber-base" else {}
        md5 = hashlib.md5(b"").hexdigest()
        other.append(LockedPackage(**fields, depends=depends, md5=md5))
    image = build_into(tmp_path / "layouts", lock_of({"linux-64": other}), cache=tmp_path / "cache")
    assert image.top.digest == expected[0]


def test_a_cache_on_another_file_system_changes_nothing(
    packages: dict[str, list[LockedPackage]], expected: list[str], tmp_path: Path
) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        raise Unavailable("there is no second file system to write to")
    # Files are linked within one file system and copied between two.
    with TemporaryDirectory(dir=memory) as folder:
        image = build_into(tmp_path / "layouts", lock_of(packages), cache=Path(folder))
    assert image.top.digest == expected[0]


def test_builds_at_once_share_a_cold_cache(
    packages: dict[str, list[LockedPackage]], expected: list[str], tmp_path: Path
) -> None:
    def one(number: int) -> str:
        layouts = tmp_path / str(number) / "layouts"
        return build_into(layouts, lock_of(packages), cache=tmp_path / "cache").top.digest

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(one, range(4))) == {expected[0]}


@pytest.mark.full
def test_every_machine_builds_the_same_scientific_image(channel: Path, tmp_path: Path) -> None:
    packages = {"linux-64": [p for p in newest(channel) if p.name != "post-linked"]}
    found = {
        name: digests(machine, packages, tmp_path / str(number))
        for number, (name, machine) in enumerate(MACHINES.items())
    }
    assert len({tuple(one) for one in found.values()}) == 1

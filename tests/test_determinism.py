"""The digest of an image is a function of its definition, whatever the machine is like."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from envsync.model.lock import LockedPackage
from tests.images import build_into, lock_of, locked
from tests.machines import MACHINES, Machine
from tests.parts.cache import Unavailable
from tests.parts.madeup import clobbers, linked, made, prefixed, text, with_scripts
from tests.parts.package import Package, write_package
from tests.parts.process import tool
from tests.reliability.counts import count
from tests.test_build import STUB
from tests.test_fidelity import newest
from tests.test_wheels import wheel

SCRIPT = """
import json, os, random, resource, shutil, sys
from pathlib import Path
from envsync.model.lock import LockedPackage
from tests.images import build_into, lock_of
request = json.load(sys.stdin)
os.umask(request["umask"])
if request["open_files"]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (request["open_files"],) * 2)
packages = {
    platform: [LockedPackage(**fields) for fields in found]
    for platform, found in request["packages"].items()
}
folder, cache = Path(request["folder"]), Path(request["folder"], "cache")
if request["cache"] != "cold":
    build_into(folder / "first" / "layouts", lock_of(packages), cache=cache)
    if request["cache"] == "half":
        for number, file in enumerate(sorted(f for f in cache.rglob("*") if f.is_file())):
            if number % 2:
                file.unlink()
    elif request["cache"] == "records only":
        shutil.rmtree(cache / "segments")
    elif request["cache"] == "segments only":
        shutil.rmtree(cache / "layers")
        shutil.rmtree(cache / "inventories")
    elif request["cache"] == "old files":
        for file in cache.rglob("*"):
            os.utime(file, (1, 1))
image = build_into(folder / "layouts", lock_of(packages), cache=cache, cores=request["cores"])
print(json.dumps([image.top.digest, *sorted(blob.descriptor.digest for blob in image.blobs)]))
"""


def digests(machine: Machine, packages: dict[str, list[LockedPackage]], folder: Path) -> list[str]:
    """Build in a process of its own and return the digests of the image and its blobs."""
    with ExitStack() as stack:
        if machine.memory:
            folder = Path(stack.enter_context(other_file_system(folder)))
        work = folder / machine.folder
        work.mkdir(parents=True)
        found = _moved(packages, machine, folder / "archives")
        if machine.order != "as written":
            chance = random.Random(7)
            for listed in found.values():
                listed.reverse()
                if machine.order == "shuffled":
                    chance.shuffle(listed)
        request: dict[str, object] = {
            "umask": machine.umask,
            "cores": machine.cores,
            "cache": machine.cache,
            "open_files": machine.open_files,
            "folder": str(work),
            "packages": {
                platform: [{name: getattr(package, name) for name in _FIELDS} for package in listed]
                for platform, listed in found.items()
            },
        }
        return _run(machine, request, work)


def _run(machine: Machine, request: dict[str, object], work: Path) -> list[str]:
    found = run_on(machine, SCRIPT, request, work)
    assert isinstance(found, list)
    return found


def run_on(machine: Machine, script: str, request: dict[str, object], work: Path) -> object:
    """Run a script as *machine* would, in *work*, and return the JSON of its last line."""
    root = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, *machine.options, "-c", script]
    if machine.clock:
        command = [_faketime(), "-f", machine.clock, *command]
    if machine.user:
        # It takes itself for that user, and the files that it makes for that user's.
        mapped = [f"--map-user={machine.user}", f"--map-group={machine.user}"]
        command = [_unshare(), "--user", *mapped, *command]
    done = subprocess.run(
        command,
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd=work if machine.cwd == "." else machine.cwd,
        env={
            **os.environ,
            "PYTHONPATH": root,
            "PYTHONHASHSEED": machine.hash_seed,
            "TZ": machine.zone,
            **({"LC_ALL": machine.locale} if machine.locale else {}),
            "HOME": str(work),
            "XDG_CACHE_HOME": str(work / "xdg"),
            **machine.variables,
        },
    )
    assert done.returncode == 0, done.stderr
    found: object = json.loads(done.stdout.splitlines()[-1])
    return found


def _faketime() -> str:
    try:
        return tool("faketime")
    except Unavailable:
        raise Unavailable("there is no faketime to set a clock with") from None


def _unshare() -> str:
    try_it = [tool("unshare"), "--user", "--map-user=1", "true"]
    if subprocess.run(try_it, capture_output=True).returncode:
        raise Unavailable("this machine gives no user namespaces")
    return try_it[0]


def other_file_system(folder: Path) -> TemporaryDirectory[str]:
    memory = Path("/dev/shm")
    here = next(above for above in folder.parents if above.exists())
    if not memory.is_dir() or memory.stat().st_dev == here.stat().st_dev:
        raise Unavailable("there is no second file system to write to")
    return TemporaryDirectory(dir=memory)


def _moved(
    packages: dict[str, list[LockedPackage]], machine: Machine, folder: Path
) -> dict[str, list[LockedPackage]]:
    """Return packages whose archives are as the machine has them."""
    if machine.archives == "as they are":
        return {platform: list(found) for platform, found in packages.items()}
    moved: dict[str, list[LockedPackage]] = {}
    for platform, found in packages.items():
        for package in found:
            source = Path(package.url.removeprefix("file://"))
            target = folder / source.parent.name / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if machine.archives == "through a link":
                target.symlink_to(source)
            else:
                target.write_bytes(source.read_bytes())
                target.chmod(0o444 if machine.archives == "read-only" else 0o777)
                os.utime(target, (1_000_000_000, 1_000_000_000))
            fields = {name: getattr(package, name) for name in _FIELDS}
            fields["url"] = target.as_uri()
            moved.setdefault(platform, []).append(LockedPackage(**fields))
    return moved


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


def test_there_are_enough_machines() -> None:
    assert len(MACHINES) >= 48


def is_fast(number: int) -> bool:
    """Tell whether a machine is in the sample: every other one, so that every kind is."""
    return number % 2 == 0


@pytest.mark.parametrize(
    "name",
    [
        name if is_fast(number) else pytest.param(name, marks=pytest.mark.full)
        for number, name in enumerate(MACHINES)
    ],
)
def test_every_machine_builds_the_same_image(
    name: str,
    packages: dict[str, list[LockedPackage]],
    expected: list[str],
    tmp_path: Path,
) -> None:
    assert digests(MACHINES[name], packages, tmp_path / "build") == expected
    count("R10", builds=1)


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
        if number % 6 == 0
    }
    assert len({tuple(one) for one in found.values()}) == 1

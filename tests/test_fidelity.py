"""Our layers, laid over one another, equal what rattler installs in one go."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envsync.errors import InvalidInput
from envsync.model.lock import LockedPackage
from envsync.oci.overlay import Node, apply, members
from tests.images import (
    REPOSITORY,
    build_into,
    contents,
    file_system,
    installed_in_one_go,
    lock_of,
    locked,
    prefix_of,
    reader,
    unpacked,
)
from tests.parts.engine import Engine
from tests.parts.package import PLACEHOLDER, Entry, File, HardLink, Package, SoftLink, write_package
from tests.parts.process import tool
from tests.parts.realdata import shared_data
from tests.parts.registry import Registry

_SKIPPED = {"needs-cuda", "needs-new-glibc", "unsatisfiable", "two-homes", "only-extra"}


def newest(channel: Path, subdirs: Sequence[str] = ("noarch", "linux-64")) -> list[LockedPackage]:
    """Return one package per name of a channel."""
    archives = [
        path
        for subdir in subdirs
        for path in sorted((channel / subdir).iterdir())
        if path.name.endswith((".conda", ".tar.bz2"))
    ]
    found = {package.name: package for package in map(locked, archives)}
    return [package for name, package in sorted(found.items()) if name not in _SKIPPED]


def differences(ours: dict[str, Node], theirs: dict[str, Node]) -> dict[str, object]:
    left, right = contents(ours), contents(theirs)
    return {
        path: (left.get(path), right.get(path))
        for path in sorted(left.keys() | right.keys())
        if left.get(path) != right.get(path)
    }


def test_a_channel_of_python_packages_is_as_if_installed(
    channel: Path, tmp_path: Path, package_cache: Path
) -> None:
    packages = newest(channel)
    assert len(packages) > 40
    layouts = tmp_path / "layouts"
    image = build_into(
        layouts, lock_of({"linux-64": packages}), cache=package_cache, allow=["post-linked"]
    )
    theirs = installed_in_one_go(packages, tmp_path / "prefix", package_cache / "packages")
    ours = prefix_of(file_system(image.top, layouts))
    assert differences(ours, theirs) == {}
    assert differences(unpacked(layouts, tmp_path / "bundle"), theirs) == {}
    assert ours["bin/python3.11"].mode == 0o755
    assert ours["share/linked/one"].sha256 == ours["share/linked/two"].sha256


def test_umoci_sees_the_modes_and_times_that_our_model_sees(
    small_channel: Path, tmp_path: Path, package_cache: Path
) -> None:
    layouts = tmp_path / "layouts"
    packages = newest(small_channel)
    image = build_into(
        layouts, lock_of({"linux-64": packages}), cache=package_cache, allow=["post-linked"]
    )
    ours = prefix_of(file_system(image.top, layouts))
    theirs = unpacked(layouts, tmp_path / "bundle")
    assert ours == theirs
    assert {node.mode for node in ours.values()} <= {0o644, 0o755, 0o777}


def exported(
    engine: Engine, registry: Registry, layouts: Path, command: Sequence[str]
) -> dict[str, Node]:
    """Return what is below the prefix of a container that an engine made of an image."""
    reference = f"{registry.host}/fidelity/{uuid.uuid4().hex[:8]}:1"
    copy = [tool("skopeo"), "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
    subprocess.run(
        [*copy, f"oci:{layouts / REPOSITORY}:1", f"docker://{reference}"],
        check=True,
        capture_output=True,
    )
    engine.docker("pull", "--quiet", reference)
    container = engine.docker("create", reference, *command).strip()
    try:
        with tempfile.TemporaryFile() as file:
            export = [tool("docker"), "export", container]
            subprocess.run(export, env=engine.environment, stdout=file, check=True)
            file.seek(0)
            tree = apply({}, members(iter(lambda: file.read(1 << 20), b"")))
    finally:
        engine.docker("rm", container)
        engine.docker("rmi", reference)
    return prefix_of(tree)


def test_a_container_has_the_files_that_are_installed(
    channel: Path,
    engine: Engine,
    shared_registry: Registry,
    tmp_path: Path,
    package_cache: Path,
) -> None:
    packages = newest(channel)
    layouts = tmp_path / "layouts"
    image = build_into(
        layouts, lock_of({"linux-64": packages}), cache=package_cache, allow=["post-linked"]
    )
    theirs = installed_in_one_go(packages, tmp_path / "prefix", package_cache / "packages")
    found = exported(engine, shared_registry, layouts, ["/opt/env/bin/python"])
    assert differences(found, theirs) == {}
    ours = prefix_of(file_system(image.top, layouts))
    # The engine writes the kind of file into the mode, too.
    modes = {path: node.mode & 0o7777 for path, node in found.items()}
    assert modes == {path: node.mode for path, node in ours.items()}


def test_package_files_keep_their_times(
    small_channel: Path, tmp_path: Path, package_cache: Path
) -> None:
    (package,) = [p for p in newest(small_channel) if p.name == "click"]
    python = [p for p in newest(small_channel) if p.name == "python"]
    layouts = tmp_path / "layouts"
    image = build_into(layouts, lock_of({"linux-64": [package, *python]}), cache=package_cache)
    ours = prefix_of(file_system(image.top, layouts))
    theirs = installed_in_one_go(
        [package, *python], tmp_path / "prefix", package_cache / "packages"
    )
    kept = [path for path in ours if path.startswith("lib/python3.11/site-packages/click/")]
    assert kept
    assert all(ours[path].mtime == theirs[path].mtime for path in kept)


def _real_packages() -> list[Path]:
    root = shared_data() / "packages"
    return sorted([*(root / "linux-64").iterdir(), *(root / "noarch").iterdir()])


def _compatible(pick: Callable[[list[LockedPackage]], LockedPackage]) -> list[LockedPackage]:
    by_name: dict[str, list[LockedPackage]] = {}
    for path in _real_packages():
        package = locked(path)
        by_name.setdefault(package.name, []).append(package)
    return [pick(found) for _, found in sorted(by_name.items())]


@pytest.mark.full
def test_real_packages_together_are_as_if_installed(
    shared_data: Path, channel: Path, tmp_path: Path, package_cache: Path
) -> None:
    python = [p for p in newest(channel) if p.name == "python"]
    packages = [*_compatible(lambda found: found[-1]), *python]
    layouts = tmp_path / "layouts"
    image = build_into(layouts, lock_of({"linux-64": packages}), cache=package_cache,
                       allow=["openssl"])  # fmt: skip
    theirs = installed_in_one_go(packages, tmp_path / "prefix", package_cache / "packages")
    ours = prefix_of(file_system(image.top, layouts))
    assert differences(ours, theirs) == {}
    assert len(image.top.document()["layers"]) <= 96
    assert differences(unpacked(layouts, tmp_path / "bundle"), theirs) == {}


def _one_by_one(paths: Sequence[Path], python: list[LockedPackage], tmp: Path, cache: Path) -> None:
    for number, path in enumerate(paths):
        packages = [locked(path), *python]
        layouts = tmp / str(number) / "layouts"
        image = build_into(layouts, lock_of({"linux-64": packages}), cache=cache, allow=["openssl"])
        ours = prefix_of(file_system(image.top, layouts))
        folder = tmp / str(number) / "prefix"
        theirs = installed_in_one_go(packages, folder, cache / "packages")
        assert differences(ours, theirs) == {}, path.name
        record = json.loads((next((folder / "conda-meta").glob(f"{packages[0].name}-*.json")))
                            .read_bytes())  # fmt: skip
        for entry in record["paths_data"]["paths"]:
            patched = entry.get("sha256_in_prefix")
            if patched and entry["path_type"] != "softlink":
                assert ours[entry["_path"]].sha256 == patched, (path.name, entry["_path"])


def _stub_python(tmp_path: Path) -> list[LockedPackage]:
    """Return a python that is only a name, so that noarch packages have somewhere to go."""
    package = Package(
        name="python", version="3.11.7", build="0_cpython", released=date(2024, 1, 1), entries=()
    )
    return [locked(write_package(package, tmp_path / "stub"))]


def test_real_packages_alone_are_as_if_installed(
    shared_data: Path, tmp_path: Path, package_cache: Path
) -> None:
    paths = _real_packages()
    _one_by_one(paths[::9], _stub_python(tmp_path), tmp_path, package_cache)


@pytest.mark.full
def test_each_real_package_alone_is_as_if_installed(
    shared_data: Path, tmp_path: Path, package_cache: Path
) -> None:
    _one_by_one(_real_packages(), _stub_python(tmp_path), tmp_path, package_cache)


_NAMES = st.sampled_from(["a", "b", "c.txt", "d-e", "f_g", "é"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=2).map(
    lambda parts: "/".join(["share", *(f"d{part}" for part in parts[:-1]), parts[-1]])
)
_TEXT = st.lists(
    st.sampled_from([PLACEHOLDER, "text", "\n", "/lib", " ", "é", "\t"]), max_size=8
).map("".join)


@st.composite
def _entries(draw: st.DrawFn) -> tuple[Entry, ...]:
    found: list[Entry] = []
    paths = draw(st.lists(_PATHS, unique=True, max_size=5))
    for path in paths:
        kind = draw(st.sampled_from(["text", "binary", "shebang", "plain", "link", "hard"]))
        files = [entry for entry in found if isinstance(entry, File) and not entry.placeholder]
        if kind == "link" and found:
            up = "../" * path.count("/")
            found.append(SoftLink(path=path, target=up + draw(st.sampled_from(found)).path))
        elif kind == "hard" and files:
            found.append(HardLink(path=path, source=draw(st.sampled_from(files)).path))
        else:
            found.append(_file(draw, path, kind))
    return tuple(found)


def _file(draw: st.DrawFn, path: str, kind: str) -> File:
    runs = draw(st.booleans())
    text = draw(_TEXT)
    if kind == "binary":
        parts = draw(
            st.lists(st.sampled_from([PLACEHOLDER, f"{PLACEHOLDER}/lib", "x"]), min_size=1)
        )
        data = b"\x7f" + b"".join(part.encode() + b"\0\xff" for part in parts)
        mode = "binary" if PLACEHOLDER.encode() in data else None
        return File(path=path, data=data, executable=runs, placeholder=mode)  # type: ignore[arg-type]
    if kind == "shebang":
        text = f"#!{PLACEHOLDER}/bin/python\n{text}"
    elif kind != "text":
        text = text.replace(PLACEHOLDER, "plain")
    mode = "text" if PLACEHOLDER in text else None
    return File(path=path, data=text.encode(), executable=runs, placeholder=mode)  # type: ignore[arg-type]


@st.composite
def _packages(draw: st.DrawFn) -> list[Package]:
    names = ["ape", "bee", "cat", "dog"][: draw(st.integers(1, 4))]
    found: list[Package] = []
    for number, name in enumerate(names):
        depends = draw(st.lists(st.sampled_from(names), unique=True, max_size=2))
        python = draw(st.booleans())
        entries = draw(_entries())
        if python:
            module = File(path=f"site-packages/{name}.py", data=b"def main(): ...\n")
            entries = (*entries, module)
        points = (f"{name} = {name}:main",) if python and draw(st.booleans()) else ()
        found.append(
            Package(
                name=name,
                version="1",
                build=f"h{number}_0",
                released=date(2024, 1, 1 + number),
                subdir="noarch" if python else "linux-64",
                noarch="python" if python else None,
                depends=tuple(depends),
                entries=entries,
                entry_points=points,
                archive=draw(st.sampled_from([".conda", ".tar.bz2"])),
            )
        )
    return found


_SETTINGS = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_SETTINGS
@given(packages=_packages())
def test_generated_packages_are_as_if_installed(
    packages: list[Package], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp_path = tmp_path_factory.mktemp("generated")
    archives = [write_package(package, tmp_path / "channel") for package in packages]
    found = [*map(locked, archives), *_stub_python(tmp_path)]
    layouts = tmp_path / "layouts"
    image = build_into(layouts, lock_of({"linux-64": found}), cache=tmp_path / "cache")
    theirs = installed_in_one_go(found, tmp_path / "prefix", tmp_path / "packages")
    assert differences(prefix_of(file_system(image.top, layouts)), theirs) == {}


def _made(name: str, *entries: Entry, depends: tuple[str, ...] = ()) -> Package:
    return Package(
        name=name,
        version="1",
        build="0",
        released=date(2024, 1, 1),
        depends=depends,
        entries=entries,
    )


@pytest.mark.parametrize("order", [("top", "low"), ("low", "top")])
def test_of_two_files_the_dependents_wins_and_is_shipped_once(
    order: tuple[str, str], tmp_path: Path
) -> None:
    winner, loser = order
    packages = [
        _made(winner, File(path="share/x", data=b"winner"), depends=(loser,)),
        _made(loser, File(path="share/x", data=b"loser"), File(path="share/y", data=b"")),
    ]
    found = [locked(write_package(package, tmp_path / "channel")) for package in packages]
    layouts = tmp_path / "layouts"
    image = build_into(layouts, lock_of({"linux-64": found}), cache=tmp_path / "cache")
    tree = prefix_of(file_system(image.top, layouts))
    assert tree["share/x"].sha256 == hashlib.sha256(b"winner").hexdigest()
    assert tree["share/y"].size == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (File(path="share/x", data=b""), File(path="share/x/y", data=b"")),
        (SoftLink(path="share/x", target="z"), File(path="share/x/y", data=b"")),
        (File(path="share", data=b""), File(path="share/x/y", data=b"")),
    ],
)
def test_a_file_against_a_folder_is_refused_by_name(
    first: Entry, second: Entry, tmp_path: Path
) -> None:
    packages = [_made("one", first), _made("two", second)]
    found = [locked(write_package(package, tmp_path / "channel")) for package in packages]
    with pytest.raises(InvalidInput) as refused:
        build_into(tmp_path / "layouts", lock_of({"linux-64": found}), cache=tmp_path / "cache")
    assert "one 1" in refused.value.detail
    assert "two 1" in refused.value.detail
    assert f"/opt/env/{first.path}" in refused.value.detail


def test_the_layout_is_what_the_reader_reads(tmp_path: Path) -> None:
    found = [locked(write_package(_made("one"), tmp_path / "channel"))]
    layouts = tmp_path / "layouts"
    image = build_into(layouts, lock_of({"linux-64": found}), cache=tmp_path / "cache")
    assert (layouts / REPOSITORY / "oci-layout").exists()
    config = b"".join(reader(layouts)(image.blobs[-1].descriptor))
    assert json.loads(config)["architecture"] == "amd64"

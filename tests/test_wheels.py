"""Wheels in an image: where files go, deterministic RECORD, and hostile wheels are refused."""

from __future__ import annotations

import base64
import csv
import hashlib
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envsync.adapters.building.wheels import WheelStore
from envsync.adapters.http.downloads import Downloads, plain_wire
from envsync.errors import InvalidInput, Unavailable
from envsync.model.lock import LockedPackage
from envsync.oci.entry import CONSTANT_TIME, Entry, File
from envsync.oci.inventory import Python
from tests import format_golden
from tests.images import build_into, file_system, lock_of, locked, prefix_of
from tests.parts.package import File as PackageFile
from tests.parts.package import Package, write_package
from tests.parts.serving import serve_folders
from tests.reliability.counts import count

PYTHON = Python(version="3.11", site_packages="lib/python3.11/site-packages")
SITE = "opt/env/lib/python3.11/site-packages"
FILES: Mapping[str, bytes] = {
    "tool/__init__.py": b"def main():\n    print('ran')\n",
    "tool-1.0.data/scripts/old": b"#!python -E\nprint('old')\n",
    "tool-1.0.data/scripts/plain.sh": b"#!/bin/sh\necho plain\n",
    "tool-1.0.data/data/share/tool/data.txt": b"data\n",
    "tool-1.0.data/headers/tool.h": b"/* */\n",
    "tool-1.0.dist-info/entry_points.txt": b"[console_scripts]\ntool = tool:main\n",
}


def wheel(
    folder: Path,
    files: Mapping[str, bytes] = FILES,
    *,
    file_name: str = "tool-1.0-py3-none-any.whl",
    executable: str = "",
    pure: bool = True,
) -> LockedPackage:
    """Write a wheel and return it as a lock would have it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name
    info = {
        "tool-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n",
        "tool-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: "
        + (b"true" if pure else b"false")
        + b"\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={_hash(data)},{len(data)}\n" for name, data in {**files, **info}.items()
    )
    info["tool-1.0.dist-info/RECORD"] = f"{record}tool-1.0.dist-info/RECORD,,\n".encode()
    info |= {name: files[name] for name in info if name in files}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**files, **info}.items():
            member = zipfile.ZipInfo(name, (2020, 2, 2, 2, 2, 2))
            mode = 0o755 if name == executable else 0o644
            member.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(member, data)
    return LockedPackage(
        manager="pip",
        name="tool",
        version="1.0",
        platform="linux-64",
        url=path.as_uri(),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def stage(
    package: LockedPackage, folder: Path, platform: str = "linux-64", staging: str = "staged"
) -> tuple[Entry, ...]:
    store = WheelStore(folder / "archives", Downloads(plain_wire()).fetch)
    store.fetch([package])
    (folder / staging).mkdir(parents=True)
    _, found = store.contents(package, PYTHON, platform, frozenset(), folder / staging)
    return (*found.head, *found.body)


def files_of(found: Iterable[Entry]) -> dict[str, bytes]:
    return {entry.path: b"".join(entry.content()) for entry in found if isinstance(entry, File)}


def test_files_go_where_their_scheme_says(tmp_path: Path) -> None:
    found = files_of(stage(wheel(tmp_path), tmp_path))
    assert sorted(found) == [
        "opt/env/bin/old",
        "opt/env/bin/plain.sh",
        "opt/env/bin/tool",
        "opt/env/include/python3.11/tool/tool.h",
        f"{SITE}/tool-1.0.dist-info/INSTALLER",
        f"{SITE}/tool-1.0.dist-info/METADATA",
        f"{SITE}/tool-1.0.dist-info/RECORD",
        f"{SITE}/tool-1.0.dist-info/WHEEL",
        f"{SITE}/tool-1.0.dist-info/entry_points.txt",
        f"{SITE}/tool/__init__.py",
        "opt/env/share/tool/data.txt",
    ]
    assert found["opt/env/bin/old"] == b"#!/opt/env/bin/python -E\nprint('old')\n"
    assert found["opt/env/bin/plain.sh"] == b"#!/bin/sh\necho plain\n"
    assert found["opt/env/bin/tool"].startswith(b"#!/opt/env/bin/python\nimport sys\n")
    assert found[f"{SITE}/tool-1.0.dist-info/INSTALLER"] == b"envsync\n"


def test_programs_run_and_nothing_else_does(tmp_path: Path) -> None:
    package = wheel(tmp_path, {**FILES, "tool/run": b"x"}, executable="tool/run")
    entries = [entry for entry in stage(package, tmp_path) if isinstance(entry, File)]
    assert {entry.path for entry in entries if entry.executable} == {
        *("opt/env/bin/old", "opt/env/bin/plain.sh", "opt/env/bin/tool", f"{SITE}/tool/run"),
    }
    assert {entry.mtime for entry in entries} == {CONSTANT_TIME}


def test_record_lists_every_file_sorted_and_right(tmp_path: Path) -> None:
    found = files_of(stage(wheel(tmp_path), tmp_path))
    rows = list(csv.reader(found[f"{SITE}/tool-1.0.dist-info/RECORD"].decode().splitlines()))
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert rows[0][0] == "../../../bin/old"
    assert len(rows) == len(found)
    for path, digest, size in rows:
        if digest:
            absolute = (Path("/", SITE) / path).as_posix()
            resolved = Path(absolute).resolve().as_posix().removeprefix("/")
            data = found[resolved]
            assert digest == f"sha256={_hash(data)}"
            assert size == str(len(data))


def test_what_only_an_installer_writes_is_not_taken_from_a_wheel(tmp_path: Path) -> None:
    extra = {
        "tool-1.0.dist-info/direct_url.json": b'{"url": "file:///home/somebody"}',
        "tool-1.0.dist-info/INSTALLER": b"somebody",
        "tool-1.0.dist-info/REQUESTED": b"",
        "tool/__pycache__/x.cpython-311.pyc": b"code",
    }
    found = files_of(stage(wheel(tmp_path, {**FILES, **extra}), tmp_path))
    assert not [path for path in found if "direct_url" in path or "pycache" in path]
    assert found[f"{SITE}/tool-1.0.dist-info/INSTALLER"] == b"envsync\n"


def test_the_bytes_of_format_2(tmp_path: Path) -> None:
    found = files_of(stage(wheel(tmp_path), tmp_path))
    listed = {path: hashlib.sha256(data).hexdigest() for path, data in found.items()}
    format_golden.check("wheel", listed)


def test_an_entry_points_program_runs(tmp_path: Path) -> None:
    found = files_of(stage(wheel(tmp_path), tmp_path))
    (tmp_path / "tool.py").write_bytes(found[f"{SITE}/tool/__init__.py"])
    (tmp_path / "run.py").write_bytes(found["opt/env/bin/tool"])
    done = subprocess.run(
        [sys.executable, str(tmp_path / "run.py")], capture_output=True, check=True
    )
    assert done.stdout == b"ran\n"


HOSTILE: Mapping[str, Mapping[str, bytes]] = {
    "parent": {"../../evil.py": b""},
    "deep parent": {"tool/../../../../evil": b""},
    "absolute": {"/tmp/envsync-evil": b""},
    "data parent": {"tool-1.0.data/data/../../evil": b""},
    "data absolute": {"tool-1.0.data/data//etc/evil": b""},
    "scripts parent": {"tool-1.0.data/scripts/../evil": b""},
    "unknown scheme": {"tool-1.0.data/etc/passwd": b""},
    "whiteout": {"tool/.wh.other": b""},
    "program with a path": {
        "tool-1.0.dist-info/entry_points.txt": b"[console_scripts]\n../evil = tool:main\n"
    },
    "program with a slash": {
        "tool-1.0.dist-info/entry_points.txt": b"[console_scripts]\n/tmp/evil = tool:main\n"
    },
    "program that is code": {
        "tool-1.0.dist-info/entry_points.txt": b"[console_scripts]\nx = tool:main;import os\n"
    },
    "module that is code": {
        "tool-1.0.dist-info/entry_points.txt": b"[console_scripts]\nx = os\nimport sys:main\n"
    },
    "program twice": {"tool-1.0.data/scripts/tool": b"#!python\n"},
    "null": {"tool/a\0b": b""},
    "backslashes": {"..\\..\\evil.py": b""},
    "a drive": {"C:/evil.py": b""},
    "dots within": {"tool/./evil.py": b"", "tool//evil.py": b""},
    "headers parent": {"tool-1.0.data/headers/../../../evil.h": b""},
    "purelib parent": {"tool-1.0.data/purelib/../../evil.py": b""},
    "platlib absolute": {"tool-1.0.data/platlib//tmp/envsync-evil": b""},
    "scripts far above": {"tool-1.0.data/scripts/../../../../evil": b"#!python\n"},
    "a scheme above": {"tool-1.0.data/../evil.py": b""},
    "a scheme alone": {"tool-1.0.data/evil": b""},
    "a whiteout by data": {"tool-1.0.data/data/bin/.wh.python": b""},
    "an opaque folder": {"tool-1.0.data/data/.wh..wh..opq": b""},
    "conda's history": {"tool-1.0.data/data/conda-meta/history": b""},
    "a conda package's record": {"tool-1.0.data/data/conda-meta/numpy-1-0.json": b"{}"},
    "a program of a line": {
        "tool-1.0.dist-info/entry_points.txt": b"[console_scripts]\nx\r/../evil = tool:main\n"
    },
    "a program of dots": {
        "tool-1.0.dist-info/entry_points.txt": b"[console_scripts]\n.. = tool:main\n"
    },
    "a program that is a whiteout": {
        "tool-1.0.dist-info/entry_points.txt": b"[console_scripts]\n.wh.python = tool:main\n"
    },
    "an attribute that is code": {
        "tool-1.0.dist-info/entry_points.txt": b"[gui_scripts]\nx = tool:main()\n"
    },
    "entry points that are none": {"tool-1.0.dist-info/entry_points.txt": b"[[[\n\0"},
    "a file and a folder": {"tool/x": b"", "tool/x/y": b""},
    "a file in place of the package": {"tool": b""},
    "a RECORD that lacks a file": {"tool-1.0.dist-info/RECORD": b"tool/__init__.py,,\n"},
    "a RECORD that is none": {"tool-1.0.dist-info/RECORD": b"\0\xff,,,,,\n"},
    "a RECORD with a path above": {"tool-1.0.dist-info/RECORD": b"../../evil,sha256=x,1\n"},
    "a RECORD with a hash of nothing": {"tool-1.0.dist-info/RECORD": b"tool/__init__.py,md5,x\n"},
    "a WHEEL of another time": {"tool-1.0.dist-info/WHEEL": b"Wheel-Version: 9.0\n"},
    "a WHEEL that is none": {"tool-1.0.dist-info/WHEEL": b""},
    "two dist-infos": {"evil-1.0.dist-info/RECORD": b"", "evil-1.0.dist-info/WHEEL": b""},
}

HARMLESS_WHEELS = {
    "null", "data absolute", "platlib absolute", "a drive", "backslashes", "dots within",
    "a RECORD that lacks a file", "a RECORD with a path above",
}  # fmt: skip
"""What zip itself, or a name that is only odd, makes harmless: it may be there, inside."""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_wheels_are_refused_and_write_nothing_outside(name: str, tmp_path: Path) -> None:
    package = wheel(tmp_path / "index", {**FILES, **HOSTILE[name]})
    staging = tmp_path / "a" / "b" / "c"
    before = set(tmp_path.rglob("*"))
    try:
        found = stage(package, staging)
    except InvalidInput as refused:
        assert refused.summary == "the wheel tool 1.0 cannot be used"  # noqa: PT017
    else:
        assert name in HARMLESS_WHEELS
        assert all(entry.path.startswith("opt/env/") for entry in found)
        assert not [entry for entry in found if ".." in entry.path.split("/")]
    outside = {
        path for path in tmp_path.rglob("*") if path not in before and staging not in path.parents
    }
    assert outside <= {tmp_path / "a", tmp_path / "a" / "b", staging}
    assert not Path("/tmp/envsync-evil").exists()
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name
                and staging not in path.parents]  # fmt: skip
    count("X5", payloads=1, **{"harmless" if name in HARMLESS_WHEELS else "refused": 1})


def test_a_project_whose_name_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    for project in ("..", "."):
        folder = tmp_path / f"project{project}"
        files = {
            f"{project}-1.0.data/headers/python3.11/Python.h": b"",
            f"{project}-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n",
            f"{project}-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: x\nVersion: 1.0\n",
        }
        listed = "".join(f"{name},,\n" for name in files)
        files[f"{project}-1.0.dist-info/RECORD"] = (
            f"{listed}{project}-1.0.dist-info/RECORD,,\n".encode()
        )
        folder.mkdir()
        path = folder / f"{project}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        package = LockedPackage(
            manager="pip", name="-", version="1.0", platform="linux-64", url=path.as_uri(),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )  # fmt: skip
        with pytest.raises(InvalidInput, match="cannot be used"):
            stage(package, folder / "stage")
        count("X5", payloads=1, refused=1)


def rewritten(package: LockedPackage, change: Callable[[zipfile.ZipFile], None]) -> LockedPackage:
    """Change the wheel's archive; the lock agrees."""
    path = Path(package.url.removeprefix("file://"))
    with zipfile.ZipFile(path, "a") as archive:
        change(archive)
    return replace(package, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_link_in_a_wheel_is_a_file_with_a_path_in_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("SECRET")
    record = "".join(f"{name},,\n" for name in [*FILES, "tool/link"])
    info = "tool-1.0.dist-info"
    record += f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
    package = wheel(tmp_path / "index", {**FILES, f"{info}/RECORD": record.encode()})

    def link(archive: zipfile.ZipFile) -> None:
        member = zipfile.ZipInfo("tool/link")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, str(tmp_path / "secret"))

    found = files_of(stage(rewritten(package, link), tmp_path / "stage"))
    assert found[f"{SITE}/tool/link"] == str(tmp_path / "secret").encode()
    assert b"SECRET" not in b"".join(found.values())
    count("X5", payloads=1, harmless=1)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["tool/__init__.py", "tool-1.0.dist-info/RECORD",
                                  "tool-1.0.dist-info/METADATA"])  # fmt: skip
def test_a_member_that_stands_twice_is_refused_or_one(name: str, tmp_path: Path) -> None:
    package = rewritten(wheel(tmp_path / "index"), lambda a: a.writestr(name, b"evil = 1\n"))
    with pytest.raises(InvalidInput, match="cannot be used"):
        stage(package, tmp_path / "stage")
    count("X5", payloads=1, refused=1)


@pytest.mark.parametrize(
    ("file_name", "platform", "fits"),
    [
        ("tool-1.0-py3-none-any.whl", "linux-64", True),
        ("tool-1.0-py2.py3-none-any.whl", "linux-64", True),
        ("tool-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "linux-64", True),
        ("tool-1.0-cp38-abi3-manylinux2014_x86_64.whl", "linux-64", True),
        ("tool-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "linux-aarch64", False),
        ("tool-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", "linux-64", False),
        ("tool-1.0-cp312-abi3-manylinux2014_x86_64.whl", "linux-64", False),
        ("tool-1.0-py2-none-any.whl", "linux-64", False),
        ("tool-1.0-cp311-cp311-win_amd64.whl", "linux-64", False),
        ("tool-1.0-cp311-cp311-macosx_11_0_arm64.whl", "linux-64", False),
        ("tool-1.0-cp311-cp311-musllinux_1_1_x86_64.whl", "linux-64", False),
        ("tool-2.0-py3-none-any.whl", "linux-64", False),
        ("other-1.0-py3-none-any.whl", "linux-64", False),
        ("tool.whl", "linux-64", False),
    ],
)
def test_only_wheels_for_the_platform_and_the_python_are_taken(
    file_name: str, platform: str, fits: bool, tmp_path: Path
) -> None:
    package = wheel(tmp_path, file_name=file_name)
    if fits:
        assert stage(package, tmp_path, platform)
    else:
        with pytest.raises(InvalidInput, match=r"wheel tool 1\.0"):
            stage(package, tmp_path, platform)


def test_a_wheel_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tool-1.0-py3-none-any.whl"
    path.write_bytes(b"something else")
    package = replace(wheel(tmp_path / "x"), url=path.as_uri(),
                      sha256=hashlib.sha256(b"something else").hexdigest())  # fmt: skip
    with pytest.raises(InvalidInput, match="cannot be used"):
        stage(package, tmp_path)


@settings(deadline=None, max_examples=80)
@given(
    changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=4),
    end=st.sampled_from([None, *range(0, 3000, 97)]),
)
def test_broken_wheels_are_refused_in_words(
    changes: list[tuple[int, int]], end: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp_path = tmp_path_factory.mktemp("broken")
    package = wheel(tmp_path)
    path = tmp_path / "tool-1.0-py3-none-any.whl"
    data = bytearray(path.read_bytes()[:end])
    for at, value in changes:
        if data:
            data[at % len(data)] = value
    path.write_bytes(data)
    package = replace(package, sha256=hashlib.sha256(data).hexdigest())
    try:
        found = stage(package, tmp_path / "stage")
    except InvalidInput as refused:
        assert "tool 1.0" in str(refused)  # noqa: PT017
    else:
        assert all(entry.path.startswith("opt/env/") for entry in found)


def test_a_wheel_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tool-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tool/zeros", bytes(1 << 20))
        # What it says in its directory, as an archive of so many zeros would.
        archive.filelist[0].file_size = 2 << 30
    package = replace(wheel(tmp_path / "x"), url=path.as_uri(),
                      sha256=hashlib.sha256(path.read_bytes()).hexdigest())  # fmt: skip
    with pytest.raises(InvalidInput, match="cannot be used"):
        stage(package, tmp_path)
    assert sum(f.stat().st_size for f in (tmp_path / "staged").rglob("*") if f.is_file()) == 0


def test_wheels_come_over_http_and_are_kept(tmp_path: Path) -> None:
    package = wheel(tmp_path / "index")
    with serve_folders({"index": tmp_path / "index"}) as server:
        remote = replace(package, url=f"{server.url('index')}/tool-1.0-py3-none-any.whl")
        first = files_of(stage(remote, tmp_path / "one"))
    again = stage(remote, tmp_path / "one", staging="again")
    assert files_of(again) == first == files_of(stage(package, tmp_path / "two"))


def test_a_changed_wheel_is_refused_and_not_kept(tmp_path: Path) -> None:
    package = wheel(tmp_path / "index")
    with serve_folders({"index": tmp_path / "index"}) as server:
        remote = replace(
            package,
            url=f"{server.url('index')}/tool-1.0-py3-none-any.whl",
            sha256="0" * 64,
        )
        with pytest.raises(InvalidInput, match="not what the lock says"):
            stage(remote, tmp_path)
        missing = replace(package, url=f"{server.url('index')}/no/tool-1.0-py3-none-any.whl")
        with pytest.raises(Unavailable, match="cannot be fetched"):
            stage(missing, tmp_path)
    assert [path for path in (tmp_path / "archives").rglob("*") if path.is_file()] == []


def _python(folder: Path, *extra: PackageFile) -> LockedPackage:
    package = Package(
        name="python", version="3.11.7", build="0", released=date(2024, 1, 1), entries=extra
    )
    return locked(write_package(package, folder / "channel"))


def test_a_wheel_is_a_layer_of_its_own_in_an_image(tmp_path: Path) -> None:
    layouts = tmp_path / "layouts"
    lock = lock_of({"linux-64": [_python(tmp_path), wheel(tmp_path)]})
    image = build_into(layouts, lock, cache=tmp_path / "cache")
    tree = prefix_of(file_system(image.top, layouts))
    assert tree["bin/tool"].mode == 0o755
    assert len(image.top.document()["layers"]) == 3


def test_a_wheel_that_overwrites_a_conda_package_is_refused_by_name(tmp_path: Path) -> None:
    python = _python(tmp_path, PackageFile(path="bin/tool", data=b""))
    lock = lock_of({"linux-64": [python, wheel(tmp_path)]})
    with pytest.raises(InvalidInput) as refused:
        build_into(tmp_path / "layouts", lock, cache=tmp_path / "cache")
    assert "wheel tool 1.0 overwrites /opt/env/bin/tool of python 3.11.7" in refused.value.detail


def test_wheels_without_a_python_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="need a python"):
        build_into(
            tmp_path / "layouts",
            lock_of({"linux-64": [wheel(tmp_path)]}),
            cache=tmp_path / "cache",
        )

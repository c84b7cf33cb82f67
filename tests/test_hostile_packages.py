"""Conda packages made to do harm: nothing is written outside, nothing of the machine is read."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from envsync.errors import InvalidInput
from envsync.model.lock import LockedPackage
from tests.images import build_into, file_system, lock_of, prefix_of
from tests.test_build import STUB, packages_of

X = hashlib.sha256(b"x").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """An archive: members beside ``info``, what its paths.json lists, and its other files."""

    members: Sequence[tuple[str, Mapping[str, Any]]] = ()
    paths: Sequence[tuple[str, str]] = ()
    index: Mapping[str, Any] = field(default_factory=dict)
    entry_points: Sequence[str] = ()
    listed: Mapping[str, Any] = field(default_factory=dict)
    """More keys of each listed path; a value of None takes one away."""
    told: str = ""


def link(target: str) -> dict[str, Any]:
    return {"type": tarfile.SYMTYPE, "linkname": target}


def hard(target: str) -> dict[str, Any]:
    return {"type": tarfile.LNKTYPE, "linkname": target}


A = [("bin/a", "hardlink")]
NO_HASH = {"sha256": None, "size_in_bytes": None}
PREFIXED = {
    **NO_HASH,
    "prefix_placeholder": "/long/enough/prefix/to/be/replaced",
    "file_mode": "text",
}

HOSTILE = {
    "a member above": Hostile(members=[("../../evil", {}), ("bin/a", {})], paths=A),
    "a member far above": Hostile(members=[("bin/../../../evil", {}), ("bin/a", {})], paths=A),
    "an absolute member": Hostile(members=[("OUTSIDE/evil", {}), ("bin/a", {})], paths=A),
    "a listed path above": Hostile(
        members=[("bin/a", {})], paths=[("../../evil", "hardlink")], told="../../evil"
    ),
    "an absolute listed path": Hostile(
        members=[("bin/a", {})], paths=[("OUTSIDE/evil", "hardlink")], told="not a path inside"
    ),
    "a path through dots": Hostile(members=[("bin/a", {})], paths=[("bin/../bin/a", "hardlink")]),
    "a member through a link": Hostile(
        members=[("d", link("OUTSIDE")), ("d/evil", {})], paths=[("d/evil", "hardlink")]
    ),
    "a file below a link": Hostile(
        members=[("d", link("OUTSIDE")), ("bin/a", {})],
        paths=[("d", "softlink"), ("d/a", "hardlink")],
        told="a file and a folder",
    ),
    "a secret below a link": Hostile(
        members=[("d", link("SECRETS"))],
        paths=[("d/secret", "hardlink")],
        listed=NO_HASH,
        told="is a link where",
    ),
    "a secret through a file that is a link": Hostile(
        members=[("bin/a", link("SECRETS/secret"))], paths=A, listed=PREFIXED
    ),
    "a hard link to a secret": Hostile(
        members=[("bin/a", hard("SECRETS/secret"))], paths=A, listed=NO_HASH
    ),
    "a hard link above": Hostile(
        members=[("bin/a", hard("../../../secrets/secret"))], paths=A, listed=NO_HASH
    ),
    "an absolute link": Hostile(
        members=[("bin/a", link("SECRETS/secret"))], paths=[("bin/a", "softlink")], told="absolute"
    ),
    "a link out of the environment": Hostile(
        members=[("bin/a", link("../../x"))], paths=[("bin/a", "softlink")], told="outside"
    ),
    "a link that pretends to be a file": Hostile(
        members=[("bin/a", link("SECRETS/secret"))], paths=A, listed=NO_HASH
    ),
    "programs through a link": Hostile(
        members=[("bin", link("OUTSIDE")), ("site-packages/a.py", {})],
        paths=[("bin", "softlink"), ("site-packages/a.py", "hardlink")],
        index={"noarch": "python"},
        entry_points=["evil = a:b"],
        told="a file and a folder",
    ),
    "modules through a link": Hostile(
        members=[("lib", link("OUTSIDE")), ("site-packages/evil.py", {})],
        paths=[("lib", "softlink"), ("site-packages/evil.py", "hardlink")],
        index={"noarch": "python"},
        told="a file and a folder",
    ),
    "a program with a path": Hostile(
        members=[("site-packages/a.py", {})],
        paths=[("site-packages/a.py", "hardlink")],
        index={"noarch": "python"},
        entry_points=["../../evil = a:b"],
        told="not an entry point",
    ),
    "a program that is code": Hostile(
        members=[("site-packages/a.py", {})],
        paths=[("site-packages/a.py", "hardlink")],
        index={"noarch": "python"},
        entry_points=["x = a:b; import os"],
        told="not an entry point",
    ),
    "a whiteout": Hostile(
        members=[("bin/.wh.a", {})], paths=[("bin/.wh.a", "hardlink")], told="whiteout"
    ),
    "a path twice": Hostile(members=[("bin/a", {})], paths=[*A, *A], told="listed twice"),
    "the history": Hostile(
        members=[("conda-meta/history", {})], paths=[("conda-meta/history", "hardlink")],
        told="not a package's to bring",
    ),
    "another package's record": Hostile(
        members=[("conda-meta/numpy-1-0.json", {})],
        paths=[("conda-meta/numpy-1-0.json", "hardlink")],
        told="not a package's to bring",
    ),
    "another content than it lists": Hostile(members=[("bin/a", {"data": b"y"})], paths=A),
    "a file that is not there": Hostile(members=[], paths=A),
    "another name": Hostile(members=[("bin/a", {})], paths=A, index={"name": "numpy"},
                            told="calls itself numpy"),
    "another version": Hostile(members=[("bin/a", {})], paths=A, index={"version": "2"},
                               told="calls itself"),
    "a depends that is no list": Hostile(members=[("bin/a", {})], paths=A,
                                         index={"depends": "python"}, told="depends"),
    "a noarch that is a list": Hostile(members=[("bin/a", {})], paths=A, index={"noarch": []},
                                       told="noarch"),
    "a device": Hostile(
        members=[("bin/a", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})], paths=A
    ),
}  # fmt: skip


def archive(hostile: Hostile, folder: Path) -> LockedPackage:
    """Write the archive; OUTSIDE and SECRETS in it become folders beside *folder*."""

    def named(text: str) -> str:
        secrets, outside = folder.parent / "secrets", folder.parent / "outside"
        return text.replace("SECRETS", str(secrets)).replace("OUTSIDE", str(outside))

    index = {
        "name": "hostile",
        "version": "1",
        "build": "0",
        "build_number": 0,
        "depends": [],
        "subdir": "linux-64",
        "timestamp": 1_700_000_000_000,
        **hostile.index,
    }
    listed = [
        {
            key: value
            for key, value in {
                "_path": named(path),
                "path_type": kind,
                "sha256": X,
                "size_in_bytes": 1,
                **hostile.listed,
            }.items()
            if value is not None
        }
        for path, kind in hostile.paths
    ]
    documents = {
        "info/index.json": index,
        "info/paths.json": {"paths_version": 1, "paths": listed},
        "info/link.json": {
            "noarch": {"type": "python", "entry_points": list(hostile.entry_points)},
            "package_metadata_version": 1,
        },
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, data: bytes, **values: Any) -> None:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            for key, value in values.items():
                setattr(header, key, named(value) if isinstance(value, str) else value)
            tar.addfile(header, io.BytesIO(data))

        for name, document in documents.items():
            add(name, json.dumps(document).encode())
        for name, values in hostile.members:
            more = dict(values)
            plain = more.get("type", tarfile.REGTYPE) == tarfile.REGTYPE
            add(named(name), more.pop("data", b"x" if plain else b""), **more)
    path = folder / "linux-64" / "hostile-1-0.tar.bz2"
    path.parent.mkdir(parents=True)
    path.write_bytes(bz2.compress(buffer.getvalue()))
    return LockedPackage(
        manager="conda",
        name="hostile",
        version="1",
        build="0",
        platform="linux-64",
        url=path.as_uri(),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


@pytest.fixture
def sentinels(tmp_path: Path) -> Path:
    """A folder that nothing may be written into, and a file that nothing may read."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "secrets").mkdir()
    secret = f"SECRET {PREFIXED['prefix_placeholder']}/x\n"
    (tmp_path / "secrets" / "secret").write_text(secret)
    return tmp_path


def standing(folder: Path) -> set[Path]:
    """Return all that stands below *folder*; rattler may still be tidying up in its cache."""
    return {
        Path(top, name) for top, folders, files in os.walk(folder) for name in (*folders, *files)
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_by_name_and_does_no_harm(name: str, sentinels: Path) -> None:
    package = archive(HOSTILE[name], sentinels / "channel")
    lock = lock_of({"linux-64": [package, *packages_of(sentinels, STUB)]})
    before = standing(sentinels)
    with pytest.raises(InvalidInput) as refused:
        build_into(sentinels / "work" / "layouts", lock, cache=sentinels / "cache")
    assert "hostile" in refused.value.summary + refused.value.detail
    assert HOSTILE[name].told in refused.value.detail
    assert "SECRET" not in str(refused.value).replace(str(sentinels / "secrets"), "")
    after = {
        path
        for path in standing(sentinels)
        if not {"cache", "work"} & set(path.relative_to(sentinels).parts)
    }
    assert after == before
    assert not [path for path in standing(sentinels) if "evil" in path.name]


def test_set_id_bits_do_not_arrive(tmp_path: Path) -> None:
    package = archive(Hostile(members=[("bin/a", {"mode": 0o6755})], paths=A), tmp_path / "channel")
    layouts = tmp_path / "layouts"
    image = build_into(layouts, lock_of({"linux-64": [package]}), cache=tmp_path / "cache")
    assert prefix_of(file_system(image.top, layouts))["bin/a"].mode == 0o755


def test_extended_attributes_do_not_arrive(tmp_path: Path) -> None:
    attributes = {"SCHILY.xattr.security.capability": "\x01", "SCHILY.xattr.user.x": "y"}
    package = archive(
        Hostile(members=[("bin/a", {"pax_headers": attributes})], paths=A), tmp_path / "channel"
    )
    layouts = tmp_path / "layouts"
    image = build_into(layouts, lock_of({"linux-64": [package]}), cache=tmp_path / "cache")
    blobs = b"".join(path.read_bytes() for path in layouts.rglob("*") if path.is_file())
    assert b"xattr" not in blobs
    assert prefix_of(file_system(image.top, layouts))["bin/a"].sha256 == X


def test_an_archive_that_is_none_is_refused(tmp_path: Path) -> None:
    package = archive(Hostile(members=[("bin/a", {})], paths=A), tmp_path / "channel")
    path = Path(package.url.removeprefix("file://"))
    for data in (b"", b"PK\x05\x06" + bytes(18), bz2.compress(b"no tar"), path.read_bytes()[:90]):
        path.write_bytes(data)
        changed = LockedPackage(
            **{name: getattr(package, name) for name in ("manager", "name", "version", "build")},
            platform="linux-64",
            url=package.url,
            sha256=hashlib.sha256(data).hexdigest(),
        )
        with pytest.raises(InvalidInput, match="hostile 1 cannot be used"):
            build_into(
                tmp_path / "layouts", lock_of({"linux-64": [changed]}), cache=tmp_path / "cache"
            )

"""Conda packages made to do harm: nothing is written outside, nothing of the machine is read."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from envsync.adapters.building import conda_archive
from envsync.errors import InvalidInput
from envsync.model.lock import LockedPackage
from tests.images import build_into, file_system, lock_of, prefix_of
from tests.reliability.counts import count
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
    raw: Mapping[str, bytes] = field(default_factory=dict)
    """Files of ``info`` in place of those that follow from the rest."""
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
    "a disk": Hostile(
        members=[("bin/a", {"type": tarfile.BLKTYPE, "devmajor": 8})], paths=A, listed=NO_HASH
    ),
    "a pipe": Hostile(members=[("bin/a", {"type": tarfile.FIFOTYPE})], paths=A, listed=NO_HASH),
    "a chain of links": Hostile(
        members=[("a", link("b")), ("b", link("../..")), ("bin/a", {})],
        paths=[("a", "softlink"), ("b", "softlink"), *A],
        told="outside",
    ),
    "links that go up one by one": Hostile(
        members=[("lib/a/up", link("..")), ("lib/a/up/up", link("..")),
                 ("lib/a/up/up/evil", {})],
        paths=[("lib/a/up", "softlink"), ("lib/a/up/up/evil", "hardlink")],
        told="a file and a folder",
    ),
    "hard links in a circle": Hostile(
        members=[("bin/a", hard("bin/b")), ("bin/b", hard("bin/a"))], paths=A, listed=NO_HASH,
        told="neither a file nor a link",
    ),
    "a hard link through a link": Hostile(
        members=[("d", link("SECRETS")), ("bin/a", hard("d/secret"))], paths=A, listed=NO_HASH
    ),
    "a hard link to a link": Hostile(
        members=[("s", link("SECRETS/secret")), ("bin/a", hard("s"))], paths=A, listed=NO_HASH,
        told="absolute",
    ),
    "a link that becomes a folder": Hostile(
        members=[("d", link("OUTSIDE")), ("d", {"type": tarfile.DIRTYPE}), ("d", link("OUTSIDE")),
                 ("d/evil", {})],
        paths=[("d/evil", "hardlink")],
        told="is a link where",
    ),
    "one name twice, the second worse": Hostile(
        members=[("bin/a", {}), ("bin/a", link("SECRETS/secret"))], paths=A, listed=NO_HASH
    ),
    "a name with a null": Hostile(
        members=[("bin/a", {})], paths=[("bin/a\0b", "hardlink")],
        told="characters that a file name cannot have",
    ),
    "half of a surrogate pair": Hostile(
        members=[("bin/a", {})], paths=[("bin/\ud800", "hardlink")], told="surrogates"
    ),
    "a name that is too long": Hostile(
        members=[("bin/a", {})], paths=[("bin/" + "n" * 256, "hardlink")], told="longer than 255"
    ),
    "a backslash and a drive are only names": Hostile(
        members=[("..\\evil", {}), ("bin/a", {"data": b"y"})], paths=A, told="has not the sha256"
    ),
    "an opaque folder": Hostile(
        members=[("lib/.wh..wh..opq", {})], paths=[("lib/.wh..wh..opq", "hardlink")],
        told="whiteout",
    ),
    "a folder above": Hostile(
        members=[("bin/a", {})], paths=[*A, ("../..", "directory")], told="leads out"
    ),
    "a folder that is a whiteout": Hostile(
        members=[("bin/a", {})], paths=[*A, (".wh.opt", "directory")], told="whiteout"
    ),
    "a program above by its points": Hostile(
        members=[("site-packages/a.py", {})], paths=[("site-packages/a.py", "hardlink")],
        index={"noarch": "python"}, entry_points=[".. = a:b"], told="not an entry point",
    ),
    "a program with a line in its name": Hostile(
        members=[("site-packages/a.py", {})], paths=[("site-packages/a.py", "hardlink")],
        index={"noarch": "python"}, entry_points=["x\nimport os = a:b"],
        told="not an entry point",
    ),
    "site-packages above": Hostile(
        members=[("bin/a", {})], paths=A, index={"python_site_packages_path": "../../../evil"},
        told="its site-packages",
    ),
    "a size without end": Hostile(
        members=[("bin/a", {})], paths=A, listed={"size_in_bytes": float("inf")}, told="Infinity"
    ),
    "a size below zero": Hostile(
        members=[("bin/a", {})], paths=A, listed={"size_in_bytes": -1}, told="number of bytes"
    ),
    "a time that is a fraction": Hostile(
        members=[("bin/a", {})], paths=A, index={"timestamp": 1e300}, told="timestamp"
    ),
    "a dependency that is no text": Hostile(
        members=[("bin/a", {})], paths=A, index={"depends": [{"a": 1}]}, told="depends"
    ),
    "a dependency that is half a character": Hostile(
        members=[("bin/a", {})], paths=A, index={"depends": ["\udfff"]}, told="surrogates"
    ),
    "a licence that is a list of lists": Hostile(
        members=[("bin/a", {})], paths=A, index={"license": [[[]]]}, told="license"
    ),
    "a name for the terminal": Hostile(
        members=[("bin/a", {})], paths=A, index={"name": "\x1b[2J\x1b]0;x\x07"}, told="x1b[2J"
    ),
    "an index that is nested without end": Hostile(
        members=[("bin/a", {})], paths=A, raw={"info/index.json": b"[" * 100_000}, told="too deep"
    ),
    "paths that are nested without end": Hostile(
        members=[("bin/a", {})], paths=A, raw={"info/paths.json": b'{"a":' * 100_000},
        told="too deep",
    ),
    "links that are nested without end": Hostile(
        members=[("bin/a", {})], paths=A, raw={"info/link.json": b"[" * 100_000}, told="too deep"
    ),
    "two names in one index": Hostile(
        members=[("bin/a", {})], paths=A, told="calls itself numpy",
        raw={"info/index.json": b'{"name":"hostile","version":"1","build":"0","name":"numpy"}'},
    ),
    "an old list of files above": Hostile(
        members=[("bin/a", {})], raw={"info/paths.json": b"", "info/files": b"../../evil\n"},
        told="../../evil",
    ),
    "an old prefix of a secret": Hostile(
        members=[("bin/a", link("SECRETS/secret"))], told="changed like a file",
        raw={"info/paths.json": b"", "info/files": b"bin/a\n",
             "info/has_prefix": b"/long/enough/prefix/to/be/replaced text bin/a\n"},
    ),
}  # fmt: skip

FORMS = (".tar.bz2", ".conda")


def _tar(members: Sequence[tuple[str, Mapping[str, Any]]], named: Callable[[str], str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, values in members:
            more = dict(values)
            plain = more.get("type", tarfile.REGTYPE) == tarfile.REGTYPE
            data = more.pop("data", b"x" if plain else b"")
            header = tarfile.TarInfo(name)
            header.size = len(data)
            for key, value in more.items():
                setattr(header, key, named(value) if isinstance(value, str) else value)
            tar.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def archive(hostile: Hostile, folder: Path, form: str = ".tar.bz2") -> LockedPackage:
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
    description = {name: json.dumps(document).encode() for name, document in documents.items()}
    description |= hostile.raw
    about = [(name, {"data": data}) for name, data in description.items() if data]
    members = [(named(name), values) for name, values in hostile.members]
    path = folder / "linux-64" / f"hostile-1-0{form}"
    path.parent.mkdir(parents=True)
    if form == ".conda":
        with zipfile.ZipFile(path, "w") as parts:
            parts.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
            for part, found in (("info", about), ("pkg", members)):
                parts.writestr(
                    f"{part}-hostile-1-0.tar.zst", zstandard.compress(_tar(found, named))
                )
    else:
        path.write_bytes(bz2.compress(_tar([*about, *members], named)))
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


def _all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_by_name_and_does_no_harm(name: str, form: str, sentinels: Path) -> None:
    package = archive(HOSTILE[name], sentinels / "channel", form)
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
    assert b"SECRET" not in _all_bytes(sentinels / "work")
    count("X5", payloads=1, refused=1)


def test_set_id_bits_do_not_arrive(tmp_path: Path) -> None:
    package = archive(Hostile(members=[("bin/a", {"mode": 0o6755})], paths=A), tmp_path / "channel")
    layouts = tmp_path / "layouts"
    image = build_into(layouts, lock_of({"linux-64": [package]}), cache=tmp_path / "cache")
    assert prefix_of(file_system(image.top, layouts))["bin/a"].mode == 0o755
    count("X5", payloads=1, harmless=1)


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
    count("X5", payloads=1, harmless=1)


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
        count("X5", payloads=1, refused=1)


HARMLESS = {
    "members that are not listed": Hostile(
        members=[("d", link("OUTSIDE")), ("bin/a", {}), ("bin/.wh.a", {}), ("x" * 300, {}),
                 ("null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})],
        paths=A,
    ),
    "names that differ in case only": Hostile(
        members=[("bin/a", {}), ("bin/A", {}), ("BIN/a", {})],
        paths=[*A, ("bin/A", "hardlink"), ("BIN/a", "hardlink")],
    ),
    "a line in a name": Hostile(
        members=[("bin/a\nb", {}), ("bin/a", {})], paths=[*A, ("bin/a\nb", "hardlink")]
    ),
    "the member above the last one": Hostile(
        members=[("bin/a", {"data": b"y"}), ("./bin/a", {})], paths=A
    ),
    "a path that looks like an option": Hostile(
        members=[("-rf", {}), ("bin/a", {})], paths=[*A, ("-rf", "hardlink")]
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_only_odd_has_exactly_what_it_lists(name: str, form: str, sentinels: Path) -> None:
    hostile = HARMLESS[name]
    package = archive(hostile, sentinels / "channel", form)
    layouts = sentinels / "work" / "layouts"
    image = build_into(layouts, lock_of({"linux-64": [package]}), cache=sentinels / "cache")
    found = prefix_of(file_system(image.top, layouts))
    assert {path for path in found if not path.startswith("conda-meta/")} == {
        path for path, _ in hostile.paths
    }
    assert {found[path].sha256 for path, _ in hostile.paths} == {X}
    assert list((sentinels / "outside").iterdir()) == []
    count("X5", payloads=1, harmless=1)


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(
    form: str, sentinels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is always allowed is a gigabyte; a test need not write one.
    monkeypatch.setattr(conda_archive, "_ANY_RATIO", 1 << 20)
    zeros = Hostile(members=[("bin/a", {"data": bytes(64 << 20)})], paths=A, listed=NO_HASH)
    package = archive(zeros, sentinels / "channel", form)
    with pytest.raises(InvalidInput, match="unpack to more than"):
        build_into(
            sentinels / "work" / "layouts",
            lock_of({"linux-64": [package]}),
            cache=sentinels / "cache",
        )
    left = [p for p in (sentinels / "work").rglob("*") if p.is_file() and p.stat().st_size > 4096]
    assert left == []
    count("X5", payloads=1, refused=1)


def test_a_description_that_unpacks_to_far_more_is_refused(
    sentinels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conda_archive, "_INFO_MAX", 1 << 20)
    spaces = b" " * (16 << 20)
    huge = Hostile(members=[("bin/a", {})], paths=A, raw={"info/paths.json": spaces + b"{}"})
    package = archive(huge, sentinels / "channel", ".conda")
    with pytest.raises(InvalidInput, match="unpack to more than"):
        build_into(
            sentinels / "work" / "layouts",
            lock_of({"linux-64": [package]}),
            cache=sentinels / "cache",
        )
    count("X5", payloads=1, refused=1)


ZIPS = {
    "no description": {"pkg-hostile-1-0.tar.zst": b""},
    "two descriptions": {
        "info-a.tar.zst": b"", "info-b.tar.zst": b"", "pkg-hostile-1-0.tar.zst": b"",
    },
    "a part that is no zstd": {
        "info-hostile-1-0.tar.zst": b"no zstd", "pkg-hostile-1-0.tar.zst": b"no zstd",
    },
    "members above": {"../../evil": b"x", "info-../../evil.tar.zst": b"x"},
    "a zip in a zip": {"info-hostile-1-0.tar.zst": b"PK\x03\x04" * 9},
}  # fmt: skip


@pytest.mark.parametrize("name", ZIPS)
def test_a_conda_file_of_other_parts_is_refused(name: str, sentinels: Path) -> None:
    package = archive(Hostile(members=[("bin/a", {})], paths=A), sentinels / "channel", ".conda")
    path = Path(package.url.removeprefix("file://"))
    with zipfile.ZipFile(path, "w") as parts:
        for part, data in ZIPS[name].items():
            parts.writestr(part, data)
    changed = replace(package, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(InvalidInput, match="hostile 1 cannot be used"):
        build_into(
            sentinels / "work" / "layouts",
            lock_of({"linux-64": [changed]}),
            cache=sentinels / "cache",
        )
    assert not [path for path in standing(sentinels) if "evil" in path.name]
    count("X5", payloads=1, refused=1)

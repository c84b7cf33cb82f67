"""Layers, segments, clobbers and the validator that judges them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envsync.adapters.building.build_cache import BuildCacheFolder
from envsync.adapters.building.build_folder import BuildFolder
from envsync.errors import InvalidInput
from envsync.model.canonical import canonical_json
from envsync.model.definition import PackageIdentity
from envsync.oci.codec import CODECS, GZIP, Codec
from envsync.oci.config import BaseConfig, Settings, marks, render_config
from envsync.oci.descriptor import LAYER_GZIP, Descriptor, RawManifest, digest_of
from envsync.oci.entry import (
    ROOT,
    Entry,
    File,
    SoftLink,
    file_of,
    link_fault,
    path_fault,
    with_hard_links,
)
from envsync.oci.image import config_descriptor, render_manifest
from envsync.oci.inventory import Inventory, Python
from envsync.oci.layer import DIFF_ID, KEY, MEMBERS, Layer, WrittenLayer, closing
from envsync.oci.overlay import Member, Node, apply, gunzip, members
from envsync.oci.ownership import Owned, resolve
from envsync.oci.segment import Contents, Segment, segment_key
from envsync.oci.validate import validate
from envsync.operations.press import Press
from tests import format_golden

PYTHON = Python(version="3.11", site_packages="lib/python3.11/site-packages")


def identity(name: str, *, manager: str = "conda", subdir: str = "linux-64") -> PackageIdentity:
    return PackageIdentity(
        manager="pip" if manager == "pip" else "conda",
        name=name,
        version="1",
        build="0",
        subdir=subdir,
        sha256=hashlib.sha256(name.encode()).hexdigest(),
    )


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A package, and its entries as they would stand in a prefix of its own."""

    inventory: Inventory
    entries: tuple[Entry, ...]

    def contents(self, segment: Segment) -> Contents:
        gone = {f"{ROOT}/{path}" for path in segment.excluded}
        return Contents(
            head=(), body=with_hard_links(e for e in self.entries if e.path not in gone)
        )


def staged(name: str, *entries: Entry, manager: str = "conda") -> Staged:
    hashes = {
        entry.path: hashlib.sha256(b"".join(entry.content())).hexdigest()
        for entry in entries
        if isinstance(entry, File) and manager == "pip"
    }
    inventory = Inventory(
        package=identity(name, manager=manager),
        archive_size=len(name),
        paths=tuple(sorted((entry.path for entry in entries), key=str.encode)),
        hashes=hashes,
    )
    return Staged(inventory=inventory, entries=entries)


def owned(*packages: Staged) -> tuple[Owned, ...]:
    return resolve([package.inventory for package in packages], PYTHON)


def at(path: str, data: bytes = b"") -> File:
    return file_of(f"opt/env/{path}", data)


def layer_of(*packages: Staged) -> Layer:
    return Layer(segments=tuple(one.segment for one in owned(*packages)))


def write(
    layers: Sequence[Layer], packages: Sequence[Staged], folder: Path, cores: int = 2
) -> list[tuple[WrittenLayer, bytes]]:
    by_package = {package.inventory.package: package for package in packages}

    @contextmanager
    def source(segment: Segment) -> Iterator[Contents]:
        assert segment.package is not None
        yield by_package[segment.package].contents(segment)

    press = Press(BuildCacheFolder(folder), cores)
    try:
        found = []
        for layer in layers:
            written = press.layer(layer, source)
            with press.stream(layer, source) as chunks:
                found.append((written, b"".join(chunks)))
        return found
    finally:
        press.close()


def test_a_layer_is_its_folders_its_segments_and_an_end(tmp_path: Path) -> None:
    packages = [staged("a", at("bin/a", b"a")), staged("b", at("b"))]
    ((written, data),) = write([layer_of(*packages)], packages, tmp_path)
    assert [m.path for m in members(gunzip([data]))] == [
        *("opt", "opt/env", "opt/env/bin", "opt/env/bin/a", "opt/env/b"),
    ]
    assert len(data) == written.descriptor.size
    assert written.descriptor.digest == digest_of(data)
    assert written.diff_id == digest_of(gzip.decompress(data))
    assert data.endswith(closing(GZIP))


def test_a_segment_is_the_same_bytes_in_every_layer(tmp_path: Path) -> None:
    packages = [staged("one", at("x/one", b"1" * 5000)), staged("two", at("two", b"2" * 5000))]
    segments = tuple(one.segment for one in owned(*packages))
    layers = [Layer(segments=segments), Layer(segments=segments[1:])]
    (both, data), (alone, single) = write(layers, packages, tmp_path)
    size = alone.members[0].packed.size
    start, own = both.offset(1, GZIP), alone.offset(0, GZIP)
    assert data[start : start + size] == single[own : own + size]


def test_annotations_say_what_a_later_build_needs(tmp_path: Path) -> None:
    packages = [staged("a", at("a")), staged("b", at("a"))]
    layer = layer_of(*packages)
    ((written, _),) = write([layer], packages, tmp_path)
    descriptor = written.annotated()
    assert descriptor.annotations[KEY] == layer.key
    assert descriptor.annotations[DIFF_ID] == written.diff_id
    found = json.loads(descriptor.annotations[MEMBERS])
    assert [member["package"]["name"] for member in found] == ["a", "b"]
    assert found[0]["excluded"] == ["a"]
    assert [member["key"] for member in found] == [s.key for s in layer.segments]
    assert [member["archive_size"] for member in found] == [1, 1]
    assert WrittenLayer.parse(descriptor, GZIP) == written


@pytest.mark.parametrize("key", [KEY, DIFF_ID, MEMBERS])
def test_annotations_that_do_not_agree_are_nobodys_layer(key: str, tmp_path: Path) -> None:
    package = staged("a", at("a"))
    ((written, _),) = write([layer_of(package)], [package], tmp_path)
    good = written.annotated()
    for value in ("", "[]", "0" * 64, "{}", "null", '[{"key":"x","size":1}]'):
        notes = {**good.annotations, key: value}
        bad = Descriptor(
            media_type=good.media_type, digest=good.digest, size=good.size, annotations=notes
        )
        assert WrittenLayer.parse(bad, GZIP) is None
    assert WrittenLayer.parse(good, CODECS["zstd"]) is None


def test_a_path_that_is_twice_in_a_layer_is_refused(tmp_path: Path) -> None:
    package = staged("a", at("x"))
    segment = owned(package)[0].segment
    with pytest.raises(InvalidInput, match="twice"):
        write([Layer(segments=(segment, segment))], [package], tmp_path)


def test_a_package_that_holds_other_files_than_it_says_is_refused(tmp_path: Path) -> None:
    package = staged("a", at("x"))
    liar = Staged(inventory=package.inventory, entries=(at("y"),))
    with pytest.raises(InvalidInput, match="not what it says") as refused:
        write([layer_of(package)], [liar], tmp_path)
    assert refused.value.detail == "/opt/env/x\n/opt/env/y"


def test_a_damaged_segment_is_made_again(tmp_path: Path) -> None:
    package = staged("a", at("x", b"x" * 100_000))
    ((written, data),) = write([layer_of(package)], [package], tmp_path)
    (file,) = (f for f in (tmp_path / "segments").rglob("*") if f.is_file() and not f.suffix)
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    assert write([layer_of(package)], [package], tmp_path) == [(written, data)]


@given(st.integers(1, 4), st.integers(1, 6), st.sampled_from(list(CODECS.values())))
def test_cores_company_and_caches_do_not_move_a_byte(
    tmp_path_factory: pytest.TempPathFactory, cores: int, count: int, codec: Codec
) -> None:
    packages = [staged(f"p{n}", at(f"f{n}", bytes([n]) * (n * 700_000))) for n in range(count)]
    layers = [
        Layer(
            segments=(resolve([package.inventory], PYTHON, codec)[0].segment,),
            codec=codec,
        )
        for package in packages
    ]
    tmp_path = tmp_path_factory.mktemp("cores")
    found = write(layers, packages, tmp_path / "many", cores)
    assert found == write(layers, packages, tmp_path / "many", 1)
    assert found == [
        write([layer], packages, tmp_path / str(number), 1)[0]
        for number, layer in enumerate(layers)
    ]
    for written, data in found:
        plain = b"".join(codec.expand(iter([data])))
        assert (digest_of(data), digest_of(plain)) == (written.descriptor.digest, written.diff_id)


def test_what_a_killed_build_left_goes_with_the_next_and_a_living_one_stays(
    tmp_path: Path,
) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from envsync.adapters.building.build_folder import BuildFolder\n"
        "BuildFolder(Path(sys.argv[1])).staging('left'); os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)])
    assert done.returncode == 9
    (left,) = tmp_path.glob("build-*")
    with BuildFolder(tmp_path) as living:
        mine = living.staging("mine")
        with BuildFolder(tmp_path):
            assert mine.is_dir()
    assert not left.exists()
    assert not list(tmp_path.glob("build-*"))


@pytest.mark.parametrize("codec", CODECS.values(), ids=lambda codec: codec.name)
def test_the_layer_of_format_2(codec: Codec, tmp_path: Path) -> None:
    packages = [
        staged(
            "ape", at("bin/ape", b"#!/bin/sh\n"), at("share/" + "long/" * 40 + "x", b"x" * 2**21)
        ),
        staged("bee", at("share/ünï", b"u"), SoftLink(path="opt/env/bee", target="bin", mtime=7)),
    ]
    found = resolve([package.inventory for package in packages], PYTHON, codec)
    layer = Layer(segments=tuple(one.segment for one in found), codec=codec)
    ((written, _),) = write([layer], packages, tmp_path)
    prefix = "" if codec is GZIP else f"{codec.name} "
    format_golden.check(f"{prefix}layer key", layer.key)
    format_golden.check(f"{prefix}layer digest", written.descriptor.digest)
    format_golden.check("layer diff id", written.diff_id)


class TestSegmentKeys:
    def test_a_platforms_package_does_not_depend_on_python(self) -> None:
        package = identity("a")
        assert segment_key(package, PYTHON) == segment_key(package, None)

    @pytest.mark.parametrize(
        "package", [identity("a", subdir="noarch"), identity("a", manager="pip", subdir="")]
    )
    def test_a_python_package_does(self, package: PackageIdentity) -> None:
        other = Python(version="3.12", site_packages="lib/python3.12/site-packages")
        assert segment_key(package, PYTHON) != segment_key(package, other)

    def test_what_is_excluded_counts_and_its_order_does_not(self) -> None:
        package = identity("a")
        assert segment_key(package, None, ["x"]) != segment_key(package, None)
        assert segment_key(package, None, ["x", "y"]) == segment_key(package, None, ["y", "x"])


class TestClobbers:
    def test_the_later_conda_package_wins(self) -> None:
        one, two = owned(staged("one", at("x"), at("y")), staged("two", at("x")))
        assert one.segment.paths == ("opt/env/y",)
        assert one.segment.excluded == ("x",)
        assert two.segment.paths == ("opt/env/x",)

    def test_of_three_only_the_last_has_it(self) -> None:
        found = owned(*(staged(name, at("x")) for name in "abc"))
        assert [len(one.segment.paths) for one in found] == [0, 0, 1]

    def test_a_wheel_never_overwrites_a_conda_package(self) -> None:
        with pytest.raises(InvalidInput) as refused:
            owned(staged("a", at("x")), staged("w", at("x"), manager="pip"))
        assert "wheel w 1 overwrites /opt/env/x of a 1" in refused.value.detail

    def test_wheels_may_share_an_equal_file_and_no_other(self) -> None:
        same = [staged(name, at("x", b"same"), manager="pip") for name in "vw"]
        first, second = owned(*same)
        assert len(first.segment.paths) == 1
        assert second.segment.excluded == ("x",)
        with pytest.raises(InvalidInput, match="contradict"):
            owned(*same, staged("z", at("x", b"else"), manager="pip"))

    def test_nobody_has_the_environments_own_paths(self) -> None:
        with pytest.raises(InvalidInput) as refused:
            owned(staged("a", at("conda-meta/history"), at(".envsync/entrypoint")))
        assert refused.value.detail.count("environment's own") == 2

    def test_a_hard_links_target_that_is_lost_is_taken_over_by_the_next_name(self) -> None:
        names = [
            File(path=f"opt/env/{n}", size=1, executable=False, mtime=5,
                 content=lambda: iter([b"!"]), inode=1)
            for n in "abc"
        ]  # fmt: skip
        package = staged("one", *names)
        one, _ = owned(package, staged("two", at("a")))
        entries = package.contents(one.segment).body
        assert [type(entry).__name__ for entry in entries] == ["File", "HardLink"]
        assert entries[0].path == "opt/env/b"


@pytest.mark.parametrize(
    "path",
    ["", "/abs", "../up", "a/../b", "a//b", "./a", "a/", ".", "a/.wh.b", ".wh..wh..opq/c", "a\0b",
     "x" * 256, "a\udcff"],
)  # fmt: skip
def test_paths_that_no_image_may_have(path: str) -> None:
    assert path_fault(path)


@pytest.mark.parametrize("path", ["a", ".hidden", "a b/ü\n", "wh.x", "...", "x" * 255])
def test_odd_paths_that_are_fine(path: str) -> None:
    assert path_fault(path) == ""


@pytest.mark.parametrize(
    ("path", "target", "fine"),
    [
        ("lib/a", "b", True),
        ("lib/a", "../bin/b", True),
        ("lib/a", "../../etc", False),
        ("lib/x/a", "../../..", False),
        ("a", "..", False),
        ("a", ".", True),
        ("lib/a", "/etc/passwd", False),
        ("lib/a", "", False),
        ("lib/a", "../lib/../../b", False),
        ("lib/a", "b/c/../../d", True),
    ],
)
def test_links_stay_inside_the_environment(path: str, target: str, fine: bool) -> None:
    assert (link_fault(path, target) == "") is fine


def _members(*entries: tuple[str, str]) -> Iterator[Member]:
    for path, kind in entries:
        if kind == "folder":
            yield Member(path=path, node=Node(kind="folder", mode=0o755))
        else:
            yield Member(path=path, node=Node(kind="file", mode=0o644, sha256=kind))


def test_whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() -> None:
    lower = apply({}, _members(("a", "folder"), ("a/x", "1"), ("a/y", "1"), ("b", "1")))
    upper = apply(lower, _members(("a/.wh.x", ""), ("a/z", "2")))
    assert sorted(upper) == ["a", "a/y", "a/z", "b"]
    opaque = apply(lower, _members(("a/z", "2"), ("a/.wh..wh..opq", "")))
    assert sorted(opaque) == ["a", "a/z", "b"]
    replaced = apply(lower, _members(("a", "3")))
    assert sorted(replaced) == ["a", "b"]


# -- the validator -----------------------------------------------------------------------------


SETTINGS = Settings(
    platform="linux-64",
    definition_hash="d" * 64,
    base_digest="",
    variables={},
    user="",
    entry_point="",
)


def image_of(
    data: bytes,
    *,
    change: Callable[[dict[str, Any]], None] = lambda _: None,
    change_config: Callable[[dict[str, Any]], None] = lambda _: None,
) -> tuple[RawManifest, dict[str, bytes]]:
    """Return an image with one layer of any bytes, as if we had built it."""
    try:
        diff_id = digest_of(gzip.decompress(data))
    except (OSError, EOFError):
        diff_id = digest_of(b"")
    written = WrittenLayer(
        key=Layer(segments=()).key,
        descriptor=Descriptor(media_type=LAYER_GZIP, digest=digest_of(data), size=len(data)),
        diff_id=diff_id,
        members=(),
        comment="environment",
    )
    document = json.loads(render_config(BaseConfig(), SETTINGS, [written]))
    change_config(document)
    config = canonical_json(document)
    manifest = render_manifest(config, [written.annotated()], marks(SETTINGS)).document()
    change(manifest)
    raw = RawManifest(media_type=manifest["mediaType"], body=canonical_json(manifest))
    return raw, {written.descriptor.digest: data, config_descriptor(config).digest: config}


def faults_of(raw: RawManifest, blobs: dict[str, bytes], **options: Any) -> str:
    return "\n".join(validate(raw, (), lambda d: iter([blobs[d.digest]]), **options))


def tar(*infos: tuple[str, dict[str, Any]]) -> bytes:
    """Return a gzipped layer; what is not said of a member is as it should be."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, values in infos:
            info = tarfile.TarInfo(name)
            data = values.pop("data", b"")
            info.mode = 0o755 if values.get("type") == tarfile.DIRTYPE else 0o644
            for key, value in values.items():
                setattr(info, key, value)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


FOLDERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("opt", {"type": tarfile.DIRTYPE}),
    ("opt/env", {"type": tarfile.DIRTYPE}),
)


def folders() -> list[tuple[str, dict[str, Any]]]:
    return [(name, dict(values)) for name, values in FOLDERS]


def test_a_good_image_has_no_faults() -> None:
    assert faults_of(*image_of(tar(*folders(), ("opt/env/a", {"data": b"a"})))) == ""


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ([("opt/env/a", {}), ("opt/env/a", {})], "/opt/env/a is there twice"),
        ([("opt/env/a", {"mode": 0o4755})], "has the mode 4755"),
        ([("opt/env/a", {"mode": 0o666})], "has the mode 666"),
        ([("opt/env/a", {"uid": 7})], "belongs to"),
        ([("opt/env/a", {"uname": "root"})], "belongs to"),
        ([("opt/env/x/a", {})], "comes before its folder"),
        ([("opt/env/../a", {})], "leads out"),
        ([("/opt/env/a", {})], "not a path inside"),
        ([("opt/env/.wh.a", {})], "whiteout"),
        ([("opt/a", {})], "outside of /opt/env"),
        ([("opt/env/a", {"type": tarfile.CHRTYPE})], "neither a file"),
        ([("opt/env/a", {"type": tarfile.FIFOTYPE})], "neither a file"),
        ([("opt/env/a", {"type": tarfile.SYMTYPE, "linkname": "/etc"})], "absolute"),
        ([("opt/env/a", {"type": tarfile.SYMTYPE, "linkname": "../../x"})], "outside"),
        ([("opt/env/a", {"type": tarfile.LNKTYPE, "linkname": "etc/passwd"})], "hard link"),
        ([("opt/env/d", {"type": tarfile.DIRTYPE, "mode": 0o777})], "has the mode 777"),
        ([("opt/env/a", {"data": b"..PLACEHOLDER.."})], "left in it"),
    ],
)
def test_the_validator_tells(bad: list[tuple[str, dict[str, Any]]], told: str) -> None:
    data = tar(*folders(), *[(name, dict(values)) for name, values in bad])
    assert told in faults_of(*image_of(data), forbidden=(b"PLACEHOLDER",))


def _set(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set("history", []), "one history entry for each layer"),
        (_set("rootfs", {"type": "layers", "diff_ids": []}), "one diff id for each layer"),
        (_set("architecture", "riscv"), "no platform"),
        (_set("config", {"Labels": {"io.envsync.definition-hash": "e" * 64}}), "do not agree"),
        (
            _set("rootfs", {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}),
            "do not agree on its diff id",
        ),
    ],
)
def test_the_validator_compares_config_and_manifest(
    change: Callable[[dict[str, Any]], None], told: str
) -> None:
    assert told in faults_of(*image_of(tar(*folders()), change_config=change))


def test_the_validator_checks_every_blob() -> None:
    raw, blobs = image_of(tar(*folders()))
    for digest in blobs:
        assert digest in faults_of(raw, {**blobs, digest: blobs[digest] + b" "})
    broken = image_of(b"\x1f\x8b no")
    assert "gzip" in faults_of(*broken)


def test_the_validator_wants_canonical_json() -> None:
    raw, blobs = image_of(tar(*folders()))
    spaced = RawManifest(media_type=raw.media_type, body=raw.body + b"\n")
    assert "canonical" in faults_of(spaced, blobs)


def test_content_across_chunks_is_searched_too() -> None:
    data = tar(*folders(), ("opt/env/a", {"data": b"x" * (2**18 - 3) + b"PLACEHOLDER"}))
    assert "left in it" in faults_of(*image_of(data), forbidden=(b"PLACEHOLDER",))


def test_segments_know_the_environments_own_from_a_packages() -> None:
    own = Segment(key="k", package=None, archive_size=0, paths=())
    assert own.name == ""
    assert Layer(segments=(own,)).comment == "environment"

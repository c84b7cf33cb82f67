"""Images unpacked without an engine: what comes out, and what hostile layers cannot reach."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import multiprocessing
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.adapters.running.inside import Inside
from envsync.adapters.running.layer_files import LayerFiles
from envsync.adapters.running.unpacked_images import UnpackedImages
from envsync.errors import EnvsyncError, InvalidInput, Unavailable
from envsync.oci.descriptor import LAYER_GZIP, MANIFEST, Descriptor, RawManifest, digest_of
from envsync.oci.run_config import parse_run_config
from envsync.operations.locate import Place, locate
from envsync.ports.builder import Blob
from envsync.ports.engine import LocatedImage
from tests.images import walk
from tests.parts.baseimage import BaseImage
from tests.parts.process import tool

SECRET = "not of the image"


def entry(
    name: str,
    content: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
    mode: int = 0o644,
    uid: int = 0,
    mtime: float = 1_000_000,
    pax: dict[str, str] | None = None,
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.uid = kind, link, mode, uid
    info.mtime = mtime
    info.size = len(content)
    info.pax_headers = pax or {}
    if kind in {tarfile.CHRTYPE, tarfile.BLKTYPE}:
        info.devmajor, info.devminor = 1, 3
    return info, content


def soft(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, kind=tarfile.SYMTYPE, link=target, mode=0o777)


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, kind=tarfile.LNKTYPE, link=target)


def folder(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, kind=tarfile.DIRTYPE, mode=mode)


def layer(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def unpack(root: Path, *layers: bytes) -> Path:
    root.mkdir(exist_ok=True)
    with LayerFiles(root, owners=False) as files:
        for tar in layers:
            files.apply(iter([tar]), digest_of(tar))
    return root


def image_of(*tars: bytes, compress: Callable[[bytes], bytes] = gzip.compress) -> LocatedImage:
    """Return an image of uncompressed layers, as it would be located."""
    config = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
    }
    body = json.dumps(config).encode()
    blobs = [_blob(compress(tar)) for tar in tars]
    document = {
        "config": {"digest": digest_of(body), "size": len(body)},
        "layers": [blob.descriptor.document() for blob in blobs],
    }
    return LocatedImage(
        manifest=RawManifest(media_type=MANIFEST, body=json.dumps(document).encode()),
        config=body,
        settings=parse_run_config(body, "test"),
        layers=tuple(blobs),
    )


def _blob(data: bytes) -> Blob:
    @contextmanager
    def opened() -> Iterator[Iterator[bytes]]:
        yield (data[at : at + 1000] for at in range(0, len(data), 1000))

    descriptor = Descriptor(media_type=LAYER_GZIP, digest=digest_of(data), size=len(data))
    return Blob(descriptor=descriptor, open=opened)


@pytest.fixture(autouse=True)
def nothing_deep_is_left(tmp_path: Path) -> Iterator[None]:
    """Python's own removal of folders, which pytest uses, ends at a depth of a thousand."""
    yield
    subprocess.run(["rm", "-rf", "--", tmp_path / "root"], check=True)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the image's, with a file that nothing may read, change or link."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_text(SECRET)
    return place


def untouched(place: Path) -> None:
    secret = place / "secret"
    assert [path.name for path in place.iterdir()] == ["secret"]
    assert secret.read_text() == SECRET
    assert secret.stat().st_nlink == 1
    assert stat.S_IMODE(secret.stat().st_mode) == 0o644
    assert secret.stat().st_mtime > 1_600_000_000
    assert stat.S_IMODE(place.stat().st_mode) == 0o755


def hostile(out: str) -> dict[str, list[tuple[tarfile.TarInfo, bytes]]]:
    """Return layers that try to get to the folder *out*, or to break whoever unpacks them."""
    secret = f"{out}/secret"
    up = "../" * 12
    return {
        "upwards": [entry("../outside/evil", b"x")],
        "upwards from below": [entry("a/../../outside/evil", b"x")],
        "upwards many times": [entry(f"{up}{out[1:]}/evil", b"x")],
        "absolute": [entry(f"{out}/evil", b"x")],
        "absolute with two slashes": [entry(f"/{out}/evil", b"x")],
        "absolute in pax": [entry("a", b"x", pax={"path": f"{out}/evil"})],
        "upwards in pax": [entry("a", b"x", pax={"path": "../outside/evil"})],
        "nothing but dots": [entry("..", b"x")],
        "a folder upwards": [folder("../outside/evil")],
        "through an absolute link": [soft("a", out), entry("a/evil", b"x")],
        "through a link upwards": [soft("a", "../outside"), entry("a/evil", b"x")],
        "through a chain of links": [
            soft("a", "b"),
            soft("b", "c/.."),
            soft("c", out),
            entry("a/outside/evil", b"x"),
            entry("c/evil", b"x"),
        ],
        "through a link of a link": [
            folder("d"),
            soft("d/up", ".."),
            soft("far", "d/up/../../outside"),
            entry("far/evil", b"x"),
        ],
        "over a link to a file": [soft("a", secret), entry("a", b"x")],
        "a folder over a link": [soft("a", out), folder("a", 0o777), entry("a/evil", b"x")],
        "a mode through a link": [soft("a", out), folder("a/", 0o777)],
        "a hard link to the outside": [hard("a", secret), entry("a", b"x")],
        "a hard link upwards": [hard("a", "../outside/secret")],
        "a hard link through a link": [soft("d", out), hard("a", "d/secret")],
        "a hard link to a soft link": [soft("s", secret), hard("a", "s"), entry("a", b"x")],
        "a hard link to the root": [hard("a", "/")],
        "a hard link to a folder": [folder("d"), hard("a", "d")],
        "a whiteout upwards": [entry("../outside/.wh.secret")],
        "a whiteout through a link": [soft("a", out), entry("a/.wh.secret")],
        "a whiteout of the folder above": [entry(".wh...")],
        "a whiteout of the folder itself": [entry(".wh..")],
        "a whiteout of nothing": [entry(".wh.")],
        "an opaque folder through a link": [soft("a", out), entry("a/.wh..wh..opq")],
        "an opaque folder upwards": [entry("../outside/.wh..wh..opq")],
        "a circle of links": [soft("a", "b"), soft("b", "a"), entry("a/evil", b"x")],
        "a link to itself": [soft("a", "a"), entry("a/evil", b"x")],
        "a device": [entry("disk", kind=tarfile.BLKTYPE), entry("null", kind=tarfile.CHRTYPE)],
        "a pipe that is written": [entry("p", kind=tarfile.FIFOTYPE), entry("p", b"x")],
        "a name with a null": [entry("a", b"x", pax={"path": "a\0b"})],
        "a name that is too long": [entry("n" * 300, b"x")],
        "a file as a folder": [entry("a", b"x"), entry("a/evil", b"x")],
        "an unknown kind": [entry("a", kind=b"Z")],
        "a time beyond all": [entry("a", b"x", mtime=2**62)],
        "a time before all": [entry("a", b"x", mtime=-(2**40))],
        "a link without a target": [soft("a", "")],
        "very deep": [entry("d/" * 1500 + "evil", b"x")],
        "very deep by links": [
            step
            for number in range(1, 12)
            for step in (
                entry(f"{'' if number == 1 else f'l{number - 1}/'}{'d/' * 120}f", b"x"),
                soft(f"l{number}", f"{'' if number == 1 else f'l{number - 1}/'}{'d/' * 120}."),
            )
        ],
    }


@pytest.mark.parametrize("name", hostile("/x"))
def test_no_layer_reaches_what_is_outside(name: str, tmp_path: Path, outside: Path) -> None:
    tar = layer(*hostile(str(outside))[name])
    target = tmp_path / "root"
    with suppress(InvalidInput):  # some mean something harmless, and are unpacked
        unpack(target, layer(folder("etc"), entry("etc/base", b"base")), tar)
    untouched(outside)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == [
        "outside",
        "root",
    ]
    assert (target / "etc" / "base").read_bytes() == b"base"
    for path in target.rglob("*"):
        assert not stat.S_ISBLK(path.lstat().st_mode)
        assert not stat.S_ISCHR(path.lstat().st_mode)


@pytest.mark.parametrize(
    "name",
    [
        "upwards",
        "upwards in pax",
        "a hard link upwards",
        "a whiteout of the folder above",
        "an opaque folder upwards",
        "a circle of links",
        "a name that is too long",
        "a hard link to a folder",
        "very deep",
        "very deep by links",
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_name(
    name: str, tmp_path: Path, outside: Path
) -> None:
    tar = layer(*hostile(str(outside))[name])
    with pytest.raises(InvalidInput, match="cannot be unpacked") as refused:
        unpack(tmp_path / "root", tar)
    assert digest_of(tar) in refused.value.detail
    assert "'" in refused.value.detail


def test_links_lead_where_they_would_in_the_image(tmp_path: Path) -> None:
    root = unpack(
        tmp_path / "root",
        layer(folder("usr"), folder("usr/lib"), soft("lib", "usr/lib"), soft("abs", "/usr")),
        layer(entry("lib/a", b"a"), entry("abs/lib/b", b"b"), entry("/usr/lib/c", b"c")),
    )
    assert {path.name for path in (root / "usr" / "lib").iterdir()} == {"a", "b", "c"}
    assert (root / "lib").is_symlink()


def test_whiteouts_hide_what_is_below_and_nothing_of_their_own_layer(tmp_path: Path) -> None:
    lower = layer(
        folder("d"), entry("d/a", b"1"), entry("d/b", b"1"), folder("e"), entry("e/f", b"1"),
        folder("e/g"), entry("e/g/old", b"1"), entry("gone", b"1"), soft("link", "d"),
    )  # fmt: skip
    upper = layer(
        folder("d"), entry("d/new", b"2"), entry("d/.wh..wh..opq"), entry("d/late", b"2"),
        folder("e"), folder("e/g"), entry("e/g/new", b"2"), entry("e/.wh.f"), entry("e/.wh.g"),
        entry(".wh.gone"), entry(".wh.link"), entry(".wh.never"), entry(".wh..wh.plnk", b""),
    )  # fmt: skip
    root = unpack(tmp_path / "root", lower, upper)
    assert {path.relative_to(root).as_posix() for path in root.rglob("*")} == {
        "d", "d/new", "d/late", "e", "e/g", "e/g/new",
    }  # fmt: skip


def test_kinds_change_between_layers(tmp_path: Path) -> None:
    root = unpack(
        tmp_path / "root",
        layer(folder("a"), entry("a/x", b"1"), entry("b", b"1"), soft("c", "b")),
        layer(entry("a", b"2"), folder("b"), entry("b/y", b"2"), entry("c", b"2")),
    )
    assert (root / "a").read_bytes() == b"2"
    assert (root / "b" / "y").read_bytes() == b"2"
    assert (root / "c").read_bytes() == b"2"
    assert not (root / "c").is_symlink()


def test_hard_links_are_one_file(tmp_path: Path) -> None:
    root = unpack(tmp_path / "root", layer(entry("a", b"x"), hard("b", "a"), hard("c", "./b")))
    assert (root / "a").stat().st_ino == (root / "c").stat().st_ino
    assert (root / "a").stat().st_nlink == 3


def test_modes_and_times_are_the_layers_and_set_id_bits_are_dropped(tmp_path: Path) -> None:
    root = unpack(
        tmp_path / "root",
        layer(
            folder("shut", 0o555), entry("shut/in", b"x", mode=0o4755), folder("tmp", 0o1777),
            entry("secret", b"x", mode=0o200),
        ),
    )  # fmt: skip
    assert stat.S_IMODE((root / "shut").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "shut" / "in").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert stat.S_IMODE((root / "secret").stat().st_mode) == 0o600
    assert (root / "shut").stat().st_mtime == (root / "shut" / "in").stat().st_mtime == 1_000_000


def test_owners_are_kept_only_by_who_may(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    root = tmp_path / "root"
    root.mkdir()
    tar = layer(entry("a", b"x", uid=1234), entry("b", b"x", uid=2**33))
    with (
        pytest.raises(InvalidInput, match="cannot be unpacked"),
        LayerFiles(root, owners=True) as f,
    ):
        f.apply(iter([tar]), digest_of(tar))
    assert (root / "a").stat().st_uid == 1234
    other = unpack(tmp_path / "other", layer(entry("a", b"x", uid=1234)))
    assert (other / "a").stat().st_uid == 0


@pytest.mark.parametrize("junk", [b"no archive", b"\0" * 100 + b"x" * 2000, b"x" * 512])
def test_what_is_no_archive_is_refused(junk: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be unpacked"):
        unpack(tmp_path / "root", junk)


def test_a_real_base_comes_out_as_umoci_unpacks_it(debian_base: BaseImage, tmp_path: Path) -> None:
    place = Place(
        registry=LayoutRegistry(debian_base.layout.parent),
        repository=debian_base.layout.name,
        reference="latest",
        remote=False,
    )
    image = locate(place, "linux-64")
    ours, lock = UnpackedImages(tmp_path / "cache").get(image, lambda _: None)
    os.close(lock)
    command = [tool("umoci"), "unpack", "--image", f"{debian_base.layout}:latest"]
    subprocess.run([*command, str(tmp_path / "theirs")], check=True, capture_output=True)
    added = {"etc/resolv.conf", "etc/hosts"}
    mine, theirs = walk(ours / "rootfs"), walk(tmp_path / "theirs" / "rootfs")
    assert len(theirs) > 1000
    plain = {path: replace(node, mode=node.mode & 0o777) for path, node in theirs.items()}
    assert {p: n for p, n in mine.items() if p not in added} == {
        p: n for p, n in plain.items() if p not in added
    }


# The cache


def test_an_image_is_unpacked_once_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    image = image_of(layer(entry("a", b"1")), layer(entry("b", b"2")))
    images, said = UnpackedImages(tmp_path / "images"), list[str]()
    for _ in range(2):
        found, lock = images.get(image, said.append)
        os.close(lock)
    assert len(said) == 1
    assert (found / "rootfs" / "b").read_bytes() == b"2"
    name = image.manifest.digest.removeprefix("sha256:")
    assert {path.name for path in (tmp_path / "images").iterdir()} == {
        name, f"{name}.lock", f"{name}.making",
    }  # fmt: skip
    assert stat.S_IMODE((tmp_path / "images").stat().st_mode) == 0o700


@pytest.mark.parametrize("compress", [gzip.compress, lambda tar: tar])
def test_layers_are_what_they_are_whatever_they_are_called(
    compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    image = image_of(layer(entry("a", b"1")), compress=compress)
    found, lock = UnpackedImages(tmp_path).get(image, lambda _: None)
    os.close(lock)
    assert (found / "rootfs" / "a").read_bytes() == b"1"


def test_members_one_after_another_are_one_stream(tmp_path: Path) -> None:
    def cut(tar: bytes) -> bytes:
        return b"".join(gzip.compress(tar[at : at + 700]) for at in range(0, len(tar), 700))

    content = os.urandom(5000)
    image = image_of(layer(entry("a", content)), compress=cut)
    found, lock = UnpackedImages(tmp_path).get(image, lambda _: None)
    os.close(lock)
    assert (found / "rootfs" / "a").read_bytes() == content


def _broken() -> Iterable[tuple[str, LocatedImage, type[EnvsyncError], str]]:
    tar = layer(entry("a", b"1"))
    good = image_of(tar)
    other = replace(good.settings, diff_ids=(f"sha256:{'0' * 64}",))
    yield "another diff id", replace(good, settings=other), Unavailable, "is damaged"
    less = replace(good.settings, diff_ids=())
    yield "too few diff ids", replace(good, settings=less), InvalidInput, "contradicts itself"
    cut = image_of(tar, compress=lambda data: gzip.compress(data)[:-20])
    yield "cut off", cut, Unavailable, "is damaged"
    junk = image_of(tar, compress=lambda _: b"\x1f\x8b" + b"junk" * 100)
    yield "junk", junk, Unavailable, "is damaged"
    zstd = image_of(tar, compress=lambda _: b"\x28\xb5\x2f\xfd" + b"junk" * 100)
    yield "zstd", zstd, InvalidInput, "zstd"
    after = image_of(tar + b"\0" * 1024 + b"more", compress=gzip.compress)
    wrong = replace(after.settings, diff_ids=good.settings.diff_ids)
    yield "more after its end", replace(after, settings=wrong), Unavailable, "is damaged"


@pytest.mark.parametrize(
    ("image", "kind", "words"),
    [pytest.param(image, kind, words, id=name) for name, image, kind, words in _broken()],
)
def test_a_broken_image_leaves_nothing(
    image: LocatedImage, kind: type[EnvsyncError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=words):
        UnpackedImages(tmp_path / "images").get(image, lambda _: None)
    assert all(path.suffix in {".lock", ".making"} for path in (tmp_path / "images").iterdir())


def test_what_a_killed_process_left_is_made_anew(tmp_path: Path) -> None:
    image = image_of(layer(entry("a", b"1")))
    left = tmp_path / f".making-{image.manifest.digest.removeprefix('sha256:')}"
    (left / "rootfs").mkdir(parents=True)
    (left / "rootfs" / "rubbish").touch()
    found, lock = UnpackedImages(tmp_path).get(image, lambda _: None)
    os.close(lock)
    assert not (found / "rootfs" / "rubbish").exists()
    assert not left.exists()


def _get(folder: Path, tar: bytes, start: float) -> str:
    while os.times().elapsed < start:
        pass
    found, lock = UnpackedImages(folder).get(image_of(tar), lambda _: None)
    digest = hashlib.sha256((found / "rootfs" / "big").read_bytes()).hexdigest()
    os.close(lock)
    return digest


def test_processes_that_want_one_image_at_once_all_get_it_whole(tmp_path: Path) -> None:
    content = os.urandom(4 << 20)
    tar = layer(entry("big", content))
    start = os.times().elapsed + 2
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.starmap(_get, [(tmp_path, tar, start)] * 4)
    assert set(found) == {hashlib.sha256(content).hexdigest()}


def test_a_lock_of_an_image_in_use_keeps_nobody_from_using_it(tmp_path: Path) -> None:
    image = image_of(layer(entry("a", b"1")))
    images = UnpackedImages(tmp_path)
    _, first = images.get(image, lambda _: None)
    _, second = images.get(image, lambda _: None)
    os.close(first)
    os.close(second)


# Paths inside


def test_nothing_is_opened_outside_of_the_root(tmp_path: Path, outside: Path) -> None:
    root = unpack(
        tmp_path / "root",
        layer(soft("file", str(outside / "secret")), soft("up", "../../outside"), soft("d", "/")),
    )
    with Inside(root) as inside:
        for path in ("file", "up/secret", "d/file", "../outside/secret", "d/../../outside/secret"):
            with pytest.raises(OSError, match=r".*"):
                inside.open_file(path)
        handle = inside.open_folder(["d", "..", "..", "made", "deep"], create=True)
        os.close(handle)
    assert (root / "made" / "deep").is_dir()
    untouched(outside)

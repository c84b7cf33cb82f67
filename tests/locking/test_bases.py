from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from pathlib import Path

import pytest

from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.adapters.registry.registries import Registries, RegistrySettings
from envsync.adapters.solving.base_glibc import BaseGlibc
from envsync.errors import InvalidInput, Unavailable
from envsync.model.reading import Present
from envsync.model.reference import ImageReference
from envsync.oci.descriptor import RawManifest, digest_of
from envsync.operations.base_images import Base, resolve_base
from envsync.ports.registry import RegistryReader
from tests.parts.baseimage import BaseImage, hollow_base
from tests.parts.layout import PlatformImage, tar_of, write_layout
from tests.parts.registry import Registry

BANNER = b"\0GNU C Library (Debian GLIBC 2.36-9+deb12u9) stable release version 2.36.\n\0"


def layout_of(folder: Path, *layers: bytes) -> tuple[LayoutRegistry, RawManifest]:
    folder.mkdir()
    write_layout(folder, [PlatformImage(architecture="amd64", layers=layers)])
    registry = LayoutRegistry(folder.parent)
    reading = registry.manifest(folder.name, "latest")
    assert isinstance(reading, Present)
    return registry, reading.value


def glibc(tmp_path: Path, *layers: bytes) -> str:
    registry, manifest = layout_of(tmp_path / "base", *layers)
    return BaseGlibc(tmp_path / "cache").find(registry, "base", manifest)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"lib/x86_64-linux-gnu/libc.so.6": BANNER}, "2.36"),
        ({"usr/lib64/libc.so.6": b"x" * 3_000_000 + BANNER}, "2.36"),
        ({"lib/x86_64-linux-gnu/libc.so.6": "libc-2.31.so"}, "2.31"),
        ({"lib/x86_64-linux-gnu/libc-2.28.so": b"elf"}, "2.28"),
        ({"lib/ld-musl-x86_64.so.1": b"elf", "bin/busybox": b"x"}, ""),
        ({"bin/busybox": b"x", "etc/libc.so.6.txt": BANNER}, ""),
    ],
)
def test_the_c_library_of_a_base_is_found(
    tmp_path: Path, files: dict[str, bytes | str], expected: str
) -> None:
    assert glibc(tmp_path, tar_of(files)) == expected


def test_layers_are_read_from_the_bottom_until_one_has_it(tmp_path: Path) -> None:
    other = BANNER.replace(b"2.36.", b"2.99.")
    layers = [
        tar_of({"etc/x": b"x"}),
        tar_of({"lib/libc.so.6": BANNER}),
        tar_of({"lib/libc.so.6": other}),
    ]
    assert glibc(tmp_path, *layers) == "2.36"


def test_what_was_found_is_kept_by_digest(tmp_path: Path) -> None:
    registry, manifest = layout_of(tmp_path / "base", tar_of({"lib/libc.so.6": BANNER}))
    finder = BaseGlibc(tmp_path / "cache")
    assert finder.find(registry, "base", manifest) == "2.36"
    nobody = LayoutRegistry(tmp_path / "nothing")
    assert finder.find(nobody, "base", manifest) == "2.36"
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_text("{broken")
    assert finder.find(registry, "base", manifest) == "2.36"


def test_a_layer_of_several_gzip_members_is_read_whole(tmp_path: Path) -> None:
    registry, manifest = layout_of(tmp_path / "base", tar_of({"lib/libc.so.6": BANNER}))
    # The layer again, its compressed form cut into members as envsync's own layers are.
    document = manifest.document()
    layer = document["layers"][0]
    blob = tmp_path / "base/blobs/sha256" / layer["digest"].removeprefix("sha256:")
    plain = gzip.decompress(blob.read_bytes())
    half = len(plain) // 2
    cut = gzip.compress(plain[:half]) + gzip.compress(plain[half:])
    digest = digest_of(cut)
    (blob.parent / digest.removeprefix("sha256:")).write_bytes(cut)
    body = manifest.body.replace(layer["digest"].encode(), digest.encode())
    body = body.replace(f'"size":{layer["size"]}'.encode(), f'"size":{len(cut)}'.encode())
    moved = RawManifest(media_type=manifest.media_type, body=body)
    assert str(len(cut)) in body.decode()
    assert BaseGlibc(tmp_path / "cache").find(registry, "base", moved) == "2.36"


def test_a_layer_that_is_no_tar_is_unavailable_and_not_a_base_without_glibc(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="damaged"):
        glibc(tmp_path, b"this is no tar" * 100)
    assert not list(tmp_path.glob("cache/*.json"))


def test_debian_has_the_glibc_it_says(debian_base: BaseImage, tmp_path: Path) -> None:
    found = base_of(debian_base, ("linux-64",), tmp_path)
    major, minor = found.platforms["linux-64"].glibc.split(".")
    assert (major, int(minor) >= 28) == ("2", True)


def base_of(image: BaseImage, platforms: tuple[str, ...], tmp_path: Path) -> Base:
    def opened(reference: ImageReference) -> RegistryReader:
        return LayoutRegistry(tmp_path / "layouts")

    name = f"layouts.test/{image.name}:latest"
    shutil.copytree(image.layout, tmp_path / "layouts" / image.name, dirs_exist_ok=True)
    finder = BaseGlibc(tmp_path / "cache").find
    return resolve_base(name, platforms, open_registry=opened, find_glibc=finder)


def test_an_index_gives_each_platform_its_own_digest(tmp_path: Path) -> None:
    with hollow_base() as image:
        found = base_of(image, ("linux-64", "linux-aarch64", "osx-arm64"), tmp_path)
    digests = {base.digest for base in found.platforms.values()}
    assert sorted(found.platforms) == ["linux-64", "linux-aarch64"]
    assert len({*digests, found.digest}) == 3


def test_a_platform_that_the_base_lacks_is_said_with_what_it_has(tmp_path: Path) -> None:
    with hollow_base(name="single", architectures=("amd64",)) as single:
        with pytest.raises(InvalidInput, match="linux/amd64 only"):
            base_of(single, ("linux-aarch64",), tmp_path)
        assert base_of(single, ("linux-64",), tmp_path).digest
    with hollow_base() as image, pytest.raises(InvalidInput) as raised:
        base_of(image, ("win-64",), tmp_path)
    assert "no windows/amd64 for win-64; it has linux/amd64, linux/arm64" in raised.value.detail


def test_scratch_needs_no_registry() -> None:
    def never(reference: ImageReference) -> RegistryReader:
        raise AssertionError(f"asked for {reference}")

    assert resolve_base("scratch", ("linux-64",), open_registry=never, find_glibc=None) == Base()


def test_a_real_registry_is_asked_for_tag_and_digest(registry: Registry, tmp_path: Path) -> None:
    with hollow_base(content="first") as image:
        name = image.push(registry)
    finder = BaseGlibc(tmp_path / "cache").find
    with Registries(RegistrySettings()) as registries:

        def opened(reference: ImageReference) -> RegistryReader:
            return registries.at(reference.registry)

        first = resolve_base(name, ("linux-64",), open_registry=opened, find_glibc=finder)
        with hollow_base(content="second") as image:
            image.push(registry)
        second = resolve_base(name, ("linux-64",), open_registry=opened, find_glibc=finder)
        again = resolve_base(
            name, ("linux-64",), open_registry=opened, find_glibc=finder, digest=first.digest
        )
        assert first != second
        assert again == first
        with pytest.raises(InvalidInput, match="There is no such base image"):
            resolve_base(f"{registry.host}/base/none:1", (), open_registry=opened, find_glibc=None)
    with Registries(RegistrySettings()) as registries:
        gone = f"127.0.0.1:1/{name.partition('/')[2]}"
        with pytest.raises(Unavailable, match="cannot be read"):
            resolve_base(
                gone, ("linux-64",), find_glibc=None,
                open_registry=lambda reference: registries.at(reference.registry),
            )  # fmt: skip


def test_a_tar_with_a_hard_link_to_the_library_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        header = tarfile.TarInfo("lib/libc.so.6")
        header.type, header.linkname = tarfile.LNKTYPE, "lib/libc-2.27.so"
        archive.addfile(header)
    assert glibc(tmp_path, buffer.getvalue()) == "2.27"

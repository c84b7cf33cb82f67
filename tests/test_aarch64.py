"""An image for another processor, made without running a byte of it, and then run all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from envsync.model.lock import LockedPackage
from envsync.oci.codec import GZIP
from envsync.oci.descriptor import Descriptor
from envsync.oci.layer import WrittenLayer
from envsync.ports.builder import BuiltImage
from tests.images import (
    REPOSITORY,
    build_into,
    file_system,
    installed_in_one_go,
    lock_of,
    prefix_of,
)
from tests.parts.cache import Unavailable
from tests.parts.debs import unpacked as unpacked_debs
from tests.parts.process import tool
from tests.test_fidelity import differences, newest

AARCH64 = "linux-aarch64"


@pytest.fixture(scope="module")
def packages(two_platform_channel: Path) -> dict[str, list[LockedPackage]]:
    """What there is for both processors, of the channel that has most."""
    both: dict[str, list[LockedPackage]] = {}
    names: dict[str, set[str]] = {}
    for platform in ("linux-64", AARCH64):
        found = [p for p in newest(two_platform_channel, ("noarch", platform))
                 if p.name != "post-linked"]  # fmt: skip
        both[platform] = found
        names[platform] = {package.name for package in found}
    common = names["linux-64"] & names[AARCH64]
    return {
        platform: [package for package in found if package.name in common or platform == AARCH64]
        for platform, found in both.items()
    }


@pytest.fixture(scope="module")
def built(
    packages: dict[str, list[LockedPackage]],
    tmp_path_factory: pytest.TempPathFactory,
    package_cache: Path,
) -> tuple[BuiltImage, Path]:
    """An index of two images."""
    folder = tmp_path_factory.mktemp("aarch64")
    return build_into(folder / "layouts", lock_of(packages), cache=package_cache), folder


def layers(image: BuiltImage, number: int) -> dict[str, str]:
    """Return package to digest of the layer that has it alone."""
    found = {}
    for entry in image.children[number].document()["layers"]:
        layer = WrittenLayer.parse(Descriptor.parse(entry), GZIP)
        assert layer is not None
        if len(layer.members) == 1 and (package := layer.members[0].package) is not None:
            found[f"{package.subdir}/{package.name}"] = layer.descriptor.digest
    return found


def test_every_file_is_what_rattler_installs_for_that_processor(
    packages: dict[str, list[LockedPackage]],
    built: tuple[BuiltImage, Path],
    tmp_path: Path,
    package_cache: Path,
) -> None:
    image, folder = built
    theirs = installed_in_one_go(
        packages[AARCH64], tmp_path / "prefix", package_cache / "packages", AARCH64
    )
    ours = prefix_of(file_system(image.children[1], folder / "layouts"))
    assert differences(ours, theirs) == {}
    assert len(ours) > 3000


def test_packages_for_any_processor_are_the_same_layers_in_both_images(
    built: tuple[BuiltImage, Path],
) -> None:
    image, _ = built
    one, two = layers(image, 0), layers(image, 1)
    shared = {name for name in one.keys() & two.keys() if name.startswith("noarch/")}
    assert len(shared) > 20
    assert all(one[name] == two[name] for name in shared)
    assert not set(one.values()) & {two[name] for name in two if not name.startswith("noarch/")}


def test_it_runs_on_an_emulated_processor(built: tuple[BuiltImage, Path], tmp_path: Path) -> None:
    if os.getuid():
        raise Unavailable("only root may change the root folder")
    _, folder = built
    root = tmp_path / "root"
    libraries = unpacked_debs(["libc6", "libgcc-s1", "libstdc++6"], "arm64")
    shutil.copytree(libraries, root, symlinks=True)
    bundle = tmp_path / "bundle"
    command = [tool("skopeo"), "--insecure-policy", "--override-arch=arm64", "copy", "--quiet"]
    source = f"oci:{folder / 'layouts' / REPOSITORY}:1"
    subprocess.run([*command, source, f"oci:{tmp_path / 'arm'}:1"], check=True)
    command = [tool("umoci"), "unpack", "--image", f"{tmp_path / 'arm'}:1", str(bundle)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.move(bundle / "rootfs" / "opt", root / "opt")
    shutil.copy(tool("qemu-aarch64-static"), root / "qemu")
    script = (
        "import platform, sys, numpy, yaml, click, flask; "
        "print(platform.machine(), sys.prefix, int(numpy.arange(5).sum()))"
    )
    done = subprocess.run(
        [tool("chroot"), str(root), "/qemu", "/opt/env/bin/python", "-c", script],
        capture_output=True,
        text=True,
        env={"PATH": "/opt/env/bin", "LANG": "C.UTF-8"},
    )
    assert done.stdout == "aarch64 /opt/env 10\n", done.stderr

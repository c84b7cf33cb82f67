"""Building images in tests, and seeing them as others see them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rattler import PackageRecord, RepoDataRecord, install
from rattler.package import BuildString
from rattler.package_cache import PackageCache, ValidationMode
from rattler.package_streaming import PackageArchive
from rattler.platform import Subdir

from envsync.adapters.building.build_cache import BuildCacheFolder
from envsync.adapters.building.build_folder import BuildFolder
from envsync.adapters.building.package_store import ArchiveStore
from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.model.definition import Definition, PackageIdentity, PlatformDefinition
from envsync.model.lock import BasePlatform, ImageLock, Lock, LockedPackage
from envsync.oci.descriptor import Descriptor, RawManifest
from envsync.oci.entry import PREFIX, ROOT
from envsync.oci.overlay import Node, apply, gunzip, members
from envsync.oci.validate import validate
from envsync.operations.build import build
from envsync.operations.make_layers import Bench
from envsync.operations.press import Press
from envsync.operations.prior import Prior
from envsync.ports.builder import BuiltImage
from envsync.ports.progress import Silent
from envsync.ports.registry import RegistryReader
from tests.parts.process import tool

REPOSITORY = "envs/test"


def locked(archive: Path, platform: str = "linux-64") -> LockedPackage:
    """Return a conda package file as a lock would have it; its folder is the subdir."""
    stem = archive.name.removesuffix(".conda").removesuffix(".tar.bz2")
    name, version, build_string = stem.rsplit("-", 2)
    return LockedPackage(
        manager="conda",
        name=name,
        version=version,
        build=build_string,
        platform=platform,
        url=archive.as_uri(),
        sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
    )


def lock_of(
    packages: Mapping[str, Sequence[LockedPackage]],
    *,
    image: str = "scratch",
    base: Mapping[str, str] | None = None,
) -> Lock:
    """Return a lock; *base* is platform to manifest digest."""
    return Lock(
        image=ImageLock(
            request="",
            image=image,
            platforms={
                platform: BasePlatform(digest=digest) for platform, digest in (base or {}).items()
            },
        ),
        packages={platform: tuple(found) for platform, found in packages.items()},
    )


def definition_of(lock: Lock, **settings: object) -> Definition:
    """Return the definition of a lock of conda packages."""
    platforms = tuple(
        PlatformDefinition(
            platform=platform,
            base_digest=base.digest if (base := lock.image.platforms.get(platform)) else "",
            packages=tuple(sorted(map(PackageIdentity.of, packages))),
        )
        for platform, packages in lock.packages.items()
    )
    return Definition(kind="conda", platforms=platforms, **settings)  # type: ignore[arg-type]


@contextmanager
def bench(cache: Path, *, allow: Sequence[str] = (), cores: int | None = None) -> Iterator[Bench]:
    """Give what building is done with, in a cache of the test's own."""
    press = Press(BuildCacheFolder(cache), cores or len(os.sched_getaffinity(0)))
    try:
        yield Bench(store=ArchiveStore(cache, allow_link_scripts=allow), press=press)
    finally:
        press.close()


def build_into(
    layouts: Path,
    lock: Lock,
    *,
    cache: Path,
    base: RegistryReader | None = None,
    allow: Sequence[str] = (),
    tag: str = "1",
    cores: int | None = None,
    prior: Prior | None = None,
    **settings: object,
) -> BuiltImage:
    """Build and publish into an OCI layout at ``<layouts>/envs/test``; the result is valid."""
    registry = LayoutRegistry(layouts)
    with (
        BuildFolder(layouts.parent / "builds", cores=cores) as workspace,
        bench(cache, allow=allow, cores=cores) as tools,
    ):
        image = build(
            definition_of(lock, **settings), lock, tools, base, workspace, Silent(), prior=prior
        )
        for blob in image.blobs:
            registry.put_blob(REPOSITORY, blob.descriptor, blob.open)
    for child in image.children:
        registry.put_manifest(REPOSITORY, child.digest, child)
    registry.put_manifest(REPOSITORY, tag, image.top)
    assert validate(image.top, image.children, reader(layouts)) == ()
    return image


class reader:  # noqa: N801  used like a function
    """Reads blobs of the layout that `build_into` wrote."""

    def __init__(self, layouts: Path) -> None:
        self._registry = LayoutRegistry(layouts)

    def __call__(self, descriptor: Descriptor) -> Iterator[bytes]:
        with self._registry.blob(REPOSITORY, descriptor) as chunks:
            yield from chunks


def file_system(manifest: RawManifest, layouts: Path) -> dict[str, Node]:
    """Return the root file system of an image, by our own model of overlays."""
    tree: dict[str, Node] = {}
    for entry in manifest.document()["layers"]:
        descriptor = Descriptor.parse(entry)
        tree = apply(tree, members(gunzip(reader(layouts)(descriptor))))
    return tree


def prefix_of(tree: Mapping[str, Node]) -> dict[str, Node]:
    """Return what is below the prefix, without folders."""
    return {
        path.removeprefix(f"{ROOT}/"): node
        for path, node in tree.items()
        if path.startswith(f"{ROOT}/") and node.kind != "folder"
    }


def unpacked(layouts: Path, folder: Path, tag: str = "1") -> dict[str, Node]:
    """Return what is below the prefix after ``umoci unpack``."""
    image = f"{layouts / REPOSITORY}:{tag}"
    command = [tool("umoci"), "unpack", "--image", image, str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return walk(folder / "rootfs" / ROOT)


def walk(root: Path) -> dict[str, Node]:
    """Return the files and links below a folder."""
    found: dict[str, Node] = {}
    for parent, folders, files in os.walk(root):
        for name in [*files, *(one for one in folders if Path(parent, one).is_symlink())]:
            path = Path(parent, name)
            status = path.lstat()
            link = stat.S_ISLNK(status.st_mode)
            found[path.relative_to(root).as_posix()] = Node(
                kind="link" if link else "file",
                mode=stat.S_IMODE(status.st_mode),
                mtime=int(status.st_mtime),
                size=0 if link else status.st_size,
                sha256="" if link else hashlib.sha256(path.read_bytes()).hexdigest(),
                target=os.readlink(path) if link else "",  # noqa: PTH115  as it was written
            )
    return found


def installed_in_one_go(
    packages: Iterable[LockedPackage], folder: Path, cache: Path, platform: str = "linux-64"
) -> dict[str, Node]:
    """Return what rattler itself installs, all packages at once, for the image's prefix."""
    asyncio.run(_install(list(packages), folder, cache, platform))
    return walk(folder)


async def read_index(archive: Path) -> dict[str, Any]:
    """Return a package's ``info/index.json``, read by rattler."""
    opened = await PackageArchive.from_path(archive)
    files = await opened.read_files(["info/index.json"])
    found: dict[str, Any] = json.loads(files["info/index.json"] or b"")
    return found


async def _install(
    packages: Sequence[LockedPackage], folder: Path, cache: Path, platform: str
) -> None:
    records = []
    for package in packages:
        archive = Path(package.url.removeprefix("file://"))
        index = await read_index(archive)
        records.append(
            RepoDataRecord(
                PackageRecord(
                    package.name,
                    package.version,
                    BuildString.new_unchecked(package.build),
                    0,
                    package.subdir,
                    depends=[str(text) for text in index.get("depends") or ()],
                    sha256=bytes.fromhex(package.sha256),
                    python_site_packages_path=index.get("python_site_packages_path"),
                ),
                package.file_name,
                package.url,
                archive.parent.parent.as_uri(),
            )
        )
    await install(
        records,
        folder,
        package_cache=PackageCache.new_layered([cache], True, ValidationMode.skip()),
        platform=Subdir(platform),
        execute_link_scripts=False,
        show_progress=False,
        alternative_target_prefix=PREFIX,
    )


def contents(tree: Mapping[str, Node]) -> dict[str, tuple[str, bool, int, str, str]]:
    """Return what must be equal of two trees: kind, whether it runs, size, hash, link target.

    Left out is what belongs to the installer and not to packages: its records, the marker for
    backup programs, and the copies it keeps of files that another package overwrote.
    """
    return {
        path: (node.kind, bool(node.mode & 0o100), node.size, node.sha256, node.target)
        for path, node in tree.items()
        if not path.startswith(("conda-meta/", "__clobbers__/", ".envsync/"))
        and path != "CACHEDIR.TAG"
    }

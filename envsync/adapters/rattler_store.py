"""Packages linked by py-rattler, each alone, so that what it gives depends on nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path

from rattler import PackageRecord, RepoDataRecord, install
from rattler.exceptions import ExtractError, InstallerError, IoError, LinkError, TransactionError
from rattler.package import BuildString
from rattler.package_cache import PackageCache, ValidationMode
from rattler.package_streaming import download_to_path
from rattler.platform import Subdir

from envsync.adapters.archives import Archives
from envsync.adapters.package_info import PackageInfo, check_placed, read_package_info
from envsync.adapters.rattler_client import open_client
from envsync.adapters.staged_files import staged_package
from envsync.adapters.wheels import WheelStore
from envsync.errors import InvalidInput, PolicyRefused, Unavailable
from envsync.model.lock import LockedPackage
from envsync.oci.entry import PREFIX
from envsync.oci.ownership import StagedPackage
from envsync.oci.segment import Python
from envsync.ports.builder import Staged

_AT_ONCE = 8


class RattlerStore:
    """A `envsync.ports.builder.PackageStore` that keeps archives and unpacked packages in *cache*.

    *allow_link_scripts* names packages whose pre- and post-link scripts may be left out; no script
    is ever run. Credentials come from rattler's authentication store.
    """

    def __init__(self, cache: Path, *, allow_link_scripts: Collection[str] = ()) -> None:
        self._cache = cache
        self._allowed = frozenset(allow_link_scripts)

    def keep(self, wheel: bytes) -> None:
        """Take in a wheel of the repository; see the port."""
        WheelStore(self._cache / "archives").keep(wheel)

    def stage(self, packages: Sequence[LockedPackage], platform: str, staging: Path) -> Staged:
        """Link *packages*, each into a folder of its own below *staging*; see the port."""
        conda = [package for package in packages if package.manager == "conda"]
        wheels = [package for package in packages if package.manager == "pip"]
        infos, linked = asyncio.run(self._link_all(conda, platform, staging / "conda"))
        python = _python(infos)
        wheel_store = WheelStore(self._cache / "archives")
        return Staged(
            packages=(
                *linked,
                *wheel_store.stage(wheels, python, platform, staging / "wheels"),
            ),
            python=python,
        )

    async def _link_all(
        self, packages: Sequence[LockedPackage], platform: str, staging: Path
    ) -> tuple[list[PackageInfo], list[StagedPackage]]:
        client = open_client()

        async def download(url: str, path: Path) -> None:
            await download_to_path(client, url, path)

        archives = await Archives(self._cache / "archives", download).fetch(packages)
        infos = list(await asyncio.gather(*map(read_package_info, packages, archives)))
        self._refuse_scripts(infos)
        interpreter = next((_record(i) for i in infos if i.package.name == "python"), None)
        python = _python(infos)
        cache = PackageCache.new_layered([self._cache / "packages"], True, ValidationMode.skip())
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(info: PackageInfo, folder: Path) -> StagedPackage:
            async with turn:
                check_placed(info, python)
                await _link(info, interpreter, platform, folder, cache)
                try:
                    return await asyncio.to_thread(staged_package, info, folder, python)
                except (FileNotFoundError, NotADirectoryError) as error:
                    raise InvalidInput(
                        f"{info.package.name} {info.package.version} is not complete",
                        detail=str(error),
                    ) from error

        # In the order that decides who wins where two packages have one path.
        order = _topological(infos)
        staging.mkdir(parents=True)
        return infos, list(
            await asyncio.gather(
                *(one(info, staging / str(number)) for number, info in enumerate(order))
            )
        )

    def _refuse_scripts(self, infos: Sequence[PackageInfo]) -> None:
        refused = [i for i in infos if i.link_scripts and i.package.name not in self._allowed]
        if refused:
            raise PolicyRefused(
                "packages want to run scripts when they are installed",
                detail="\n".join(
                    f"{i.package.name} {i.package.version}: {', '.join(i.link_scripts)}"
                    for i in refused
                ),
                hint="envsync never runs them. If the packages work without, allow them by name "
                "under policy: allow_link_scripts in envsync.yaml.",
            )


def _python(infos: Sequence[PackageInfo]) -> Python | None:
    return next((info.python for info in infos if info.package.name == "python"), None)


def _record(info: PackageInfo) -> RepoDataRecord:
    package, index = info.package, info.index
    return RepoDataRecord(
        PackageRecord(
            package.name,
            package.version,
            BuildString.new_unchecked(package.build),
            int(index.get("build_number") or 0),
            package.subdir,
            noarch=index.get("noarch") if index.get("noarch") in {"python", "generic"} else None,
            depends=info.depends,
            sha256=bytes.fromhex(package.sha256),
            size=info.size,
            python_site_packages_path=index.get("python_site_packages_path"),
        ),
        package.file_name,
        # The verified archive, so that rattler's cache is keyed by it and fetches nothing.
        info.archive.absolute().as_uri(),
        info.archive.parent.absolute().as_uri(),
    )


def _topological(infos: Sequence[PackageInfo]) -> list[PackageInfo]:
    by_name = {info.package.name: info for info in infos}
    records: list[PackageRecord] = [_record(info) for info in infos]
    ordered = PackageRecord.sort_topologically(records)
    return [by_name[record.name.source] for record in ordered]


async def _link(
    info: PackageInfo,
    interpreter: RepoDataRecord | None,
    platform: str,
    folder: Path,
    cache: PackageCache,
) -> None:
    records, ignored = [_record(info)], set[str]()
    if interpreter is not None and info.package.name != "python":
        # It tells rattler where python packages go; ignored, it is not linked itself.
        records, ignored = [interpreter, *records], {"python"}
    elif info.index.get("noarch") == "python":
        raise InvalidInput(
            f"{info.package.name} {info.package.version} needs a python",
            detail="It is a python package, and the lock has no package python.",
        )
    try:
        await install(
            records,
            folder,
            package_cache=cache,
            installed_packages=[],
            ignored_packages=ignored,
            platform=Subdir(platform),
            execute_link_scripts=False,
            show_progress=False,
            alternative_target_prefix=PREFIX,
        )
    except (ExtractError, InstallerError, IoError, LinkError, TransactionError, OSError) as error:
        if "No space left" in str(error):
            raise Unavailable(
                "the disk is full",
                detail=f"There was no room to link {info.package.name} {info.package.version}.",
                hint="Free some space, or choose another cache folder.",
            ) from error
        raise InvalidInput(
            f"the package {info.package.name} {info.package.version} cannot be installed",
            detail=str(error),
        ) from error

"""Packages of channels, indexes and the repository: fetched once, verified, opened as entries.

No package is unpacked into files: its archive is decoded as a stream. What comes of one depends on
nothing but the package and the interpreter that its files are for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from envsync.adapters.building.archives import Archives
from envsync.adapters.building.conda_archive import BROKEN, decode, described, read_description
from envsync.adapters.building.conda_entries import conda_contents
from envsync.adapters.building.package_info import broken, check_placed, package_info
from envsync.errors import EnvsyncError, PolicyRefused, Unavailable
from envsync.model.lock import LockedPackage
from envsync.oci.inventory import Inventory, Python
from envsync.oci.segment import Contents

if TYPE_CHECKING:
    from envsync.adapters.building.wheels import WheelStore
    from envsync.adapters.http.wire import Wire


class ArchiveStore:
    """A `envsync.ports.builder.PackageStore` that keeps archives below *cache*.

    *allow_link_scripts* names packages whose pre- and post-link scripts may be left out; no script
    is ever run. *others* are folders of archives that other programs keep. Credentials for channels
    come from rattler's authentication store; wheels are fetched over *wire*, without any.
    """

    def __init__(
        self,
        cache: Path,
        *,
        allow_link_scripts: Collection[str] = (),
        others: Sequence[Path] = (),
        wire: Callable[[], Wire] | None = None,
    ) -> None:
        self._cache = cache
        self._wire = wire
        self._allowed = frozenset(allow_link_scripts)
        self._archives = Archives(cache / "archives", _download, others)

    @cached_property
    def _wheels(self) -> WheelStore:
        # Loaded for the first wheel: most environments have none.
        from envsync.adapters.building.wheels import WheelStore

        return WheelStore(self._cache / "archives", self._download_wheel)

    def _download_wheel(self, url: str, path: Path) -> None:
        # Loaded here, because most builds find every archive on this machine.
        from envsync.adapters.http.downloads import Downloads, plain_wire

        Downloads(self._wire() if self._wire else plain_wire()).fetch(url, path)

    def keep(self, wheel: bytes) -> None:
        """Take in a wheel of the repository; see the port."""
        self._wheels.keep(wheel)

    def fetch(self, packages: Sequence[LockedPackage]) -> None:
        """Fetch what is not on this machine; see the port."""
        away = [package for package in packages if not self.is_here(package)]
        if conda := [package for package in away if package.manager == "conda"]:
            self._archives.fetch(conda)
        if wheels := [package for package in away if package.manager == "pip"]:
            self._wheels.fetch(wheels)

    def inventory(self, package: LockedPackage, python: Python | None) -> Inventory | None:
        """Read a fetched package's own description; see the port."""
        if package.manager == "pip":
            return None
        path = self._archives.verified(package)
        try:
            files = read_description(path)
        except EnvsyncError:
            raise
        except BROKEN as error:
            raise broken(package, error) from error
        if files is None:
            return None
        info = package_info(package, path.stat().st_size, files)
        check_placed(info, python)
        return info.inventory(python)

    @contextmanager
    def open(
        self,
        package: LockedPackage,
        python: Python | None,
        platform: str,
        excluded: frozenset[str],
        scratch: Path,
    ) -> Iterator[tuple[int, Contents]]:
        """Open a fetched package; see the port."""
        if package.manager == "pip":
            with TemporaryDirectory(dir=scratch, prefix="wheel-") as folder:
                yield self._wheels.contents(package, python, platform, excluded, Path(folder))
            return
        path = self._archives.verified(package)
        size = path.stat().st_size
        with ExitStack() as stack:
            try:
                archive = stack.enter_context(decode(path, scratch))
                info = package_info(package, size, described(archive))
                check_placed(info, python)
                found = conda_contents(info, archive, python, excluded)
            except EnvsyncError:
                raise
            except BROKEN as error:
                raise broken(package, error) from error
            yield size, found

    def is_here(self, package: LockedPackage) -> bool:
        """Tell whether a package's archive is on this machine; see the port."""
        return self._archives.is_here(package)

    def check(self, inventories: Sequence[Inventory]) -> None:
        """Refuse packages with scripts that nobody allowed to be left out; see the port."""
        refused = [
            one for one in inventories if one.link_scripts and one.package.name not in self._allowed
        ]
        if refused:
            raise PolicyRefused(
                "packages want to run scripts when they are installed",
                detail="\n".join(f"{one}: {', '.join(one.link_scripts)}" for one in refused),
                hint="envsync never runs them. If the packages work without, allow them by name "
                "under policy: allow_link_scripts in envsync.yaml.",
            )

    def order(self, inventories: Sequence[Inventory]) -> list[Inventory]:
        """Return conda packages, dependencies first, in the order in which rattler links them."""
        from envsync.adapters.building.rattler_order import linking_order

        return linking_order(inventories)


def _download(url: str, path: Path) -> None:
    # Loaded here, because most builds find every archive on this machine.
    import asyncio

    from rattler.package_streaming import download_to_path

    from envsync.adapters.http.addresses import check_place
    from envsync.adapters.solving.rattler_client import open_client

    try:
        check_place(url, "it")
    except Unavailable as error:
        raise OSError(f"{error.summary}: {error.detail}") from error
    asyncio.run(download_to_path(open_client(), url, path))

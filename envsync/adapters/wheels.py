"""Wheels: fetched and verified as the lock says, unpacked by PyPA's installer.

Where files go, scripts and RECORD are written by ourselves, because their bytes are part of the
image format and must not change with the installer's version. No bytecode is made.
Sources: https://packaging.python.org/en/latest/specifications/binary-distribution-format/ and
https://packaging.python.org/en/latest/specifications/recording-installed-packages/
"""

from __future__ import annotations

import asyncio
import configparser
import csv
import errno
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import httpx
from installer import install
from installer.exceptions import InstallerError
from installer.records import InvalidRecordEntry
from installer.sources import WheelContentElement, WheelFile
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from envsync.adapters.archives import Archives
from envsync.adapters.wheel_files import WheelFiles
from envsync.errors import InvalidInput, Unavailable
from envsync.model.definition import PackageIdentity
from envsync.model.lock import LockedPackage
from envsync.model.wheel_tags import best_wheel, supported_tags
from envsync.oci.ownership import StagedPackage
from envsync.oci.segment import Python

_ANY_GLIBC = "2.99"  # which C library the image has is checked when the environment is locked
_TIMEOUT = 60.0
_MAX_RATIO = 200
_SMALL = 1 << 30
_NOT_TAKEN = frozenset({"INSTALLER", "REQUESTED", "direct_url.json"})
"""What only an installer writes; a wheel that brings it would say who installed it from where."""

_BROKEN = (
    *(InstallerError, InvalidRecordEntry, configparser.Error, csv.Error),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError),
    *(AssertionError, AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError),
    ValueError,
)
"""What a hostile or broken wheel makes zipfile and installer raise."""


class WheelStore:
    """Wheels by their sha256 below *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def stage(
        self, wheels: Sequence[LockedPackage], python: Python | None, platform: str, staging: Path
    ) -> list[StagedPackage]:
        """Unpack *wheels* for *python*, each into a folder of its own below *staging*, by name.

        Raises Unavailable when one cannot be fetched, InvalidInput when it is not what the lock
        says, does not fit the platform, or holds what no image may hold.
        """
        if not wheels:
            return []
        if python is None:
            raise InvalidInput(
                "wheels need a python",
                detail=f"The lock has {len(wheels)} wheels and no conda package python.",
                hint="Add python to the conda dependencies.",
            )
        for wheel in wheels:
            _check_name(wheel, python, platform)
        order = sorted(wheels, key=lambda wheel: wheel.name)
        paths = asyncio.run(self._fetch(order))

        def one(number: int) -> StagedPackage:
            return _unpack(order[number], paths[number], python, staging / str(number))

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return list(pool.map(one, range(len(order))))

    def keep(self, wheel: bytes) -> None:
        """Take in a wheel of the repository, for `stage` to find by its sha256."""

        async def nowhere(url: str, _: Path) -> None:
            raise OSError(f"{url} is not fetched")

        Archives(self._folder, nowhere).keep(wheel, ".whl")

    async def _fetch(self, wheels: Sequence[LockedPackage]) -> list[Path]:
        plain = {"Accept-Encoding": "identity"}
        async with httpx.AsyncClient(
            follow_redirects=True, timeout=_TIMEOUT, headers=plain
        ) as client:

            async def download(url: str, path: Path) -> None:
                try:
                    async with client.stream("GET", url) as response:
                        response.raise_for_status()
                        with path.open("wb") as out:
                            async for chunk in response.aiter_raw():
                                out.write(chunk)
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise OSError(str(error) or type(error).__name__) from error

            return await Archives(self._folder, download).fetch(wheels)


class _Source(WheelFile):
    """A wheel without what does not belong into an image."""

    def get_contents(self) -> Iterator[WheelContentElement]:
        for element in super().get_contents():
            *folders, name = element[0][0].split("/")
            if "__pycache__" in folders or (folders == [self.dist_info_dir] and name in _NOT_TAKEN):
                continue
            yield element


def _check_name(wheel: LockedPackage, python: Python, platform: str) -> None:
    file_name = unquote(wheel.file_name)
    try:
        name, version, _, _ = parse_wheel_filename(file_name)
    except InvalidWheelFilename as error:
        raise _bad(wheel, f"{file_name!r} is not the name of a wheel: {error}") from error
    if (name, str(version)) != (canonicalize_name(wheel.name), wheel.version):
        raise _bad(wheel, f"The lock says {wheel.name} {wheel.version}, the file is {file_name}.")
    tags = supported_tags(platform, python=python.version, glibc=_ANY_GLIBC, osx="")
    if best_wheel([file_name], tags) is None:
        raise _bad(wheel, f"{file_name} is not for {platform} with python {python.version}.")


def _unpack(wheel: LockedPackage, path: Path, python: Python, folder: Path) -> StagedPackage:
    folder.mkdir(parents=True)
    files = WheelFiles(folder, python)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_size(wheel, path, archive)
            # In the cache it is named by its hash, and installer reads the name for the project's.
            archive.filename = unquote(wheel.file_name)
            source = _Source(archive)
            files.distribution = source.distribution
            install(source, files, additional_metadata={"INSTALLER": b"envsync\n"})
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise _bad(wheel, f"It cannot be unpacked: {error}") from error
        raise Unavailable(
            "the disk is full",
            detail=f"There was no room to unpack {wheel.name} {wheel.version}.",
            hint="Free some space, or choose another cache folder.",
        ) from error
    except _BROKEN as error:
        raise _bad(wheel, f"It cannot be unpacked: {error}") from error
    return StagedPackage(
        package=PackageIdentity.of(wheel),
        archive_size=path.stat().st_size,
        entries=tuple(files.entries),
    )


def _check_size(wheel: LockedPackage, path: Path, archive: zipfile.ZipFile) -> None:
    total = sum(info.file_size for info in archive.infolist())
    if total > max(_SMALL, path.stat().st_size * _MAX_RATIO):
        raise _bad(wheel, f"It would unpack to {total} bytes.")


def _bad(wheel: LockedPackage, detail: str) -> InvalidInput:
    return InvalidInput(f"the wheel {wheel.name} {wheel.version} cannot be used", detail=detail)

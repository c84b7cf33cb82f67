"""Wheels: fetched and verified as the lock says, unpacked by PyPA's installer.

Where files go, scripts and RECORD are written by ourselves, because their bytes are part of the
image format and must not change with the installer's version. No bytecode is made.
Sources: https://packaging.python.org/en/latest/specifications/binary-distribution-format/ and
https://packaging.python.org/en/latest/specifications/recording-installed-packages/
"""

from __future__ import annotations

import configparser
import csv
import errno
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from installer import install
from installer.exceptions import InstallerError
from installer.records import InvalidRecordEntry
from installer.sources import WheelContentElement, WheelFile
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from envsync.adapters.building.archives import Archives, Download
from envsync.adapters.building.wheel_files import WheelFiles
from envsync.errors import InvalidInput, Unavailable
from envsync.model.definition import PackageIdentity
from envsync.model.lock import LockedPackage
from envsync.model.wheel_tags import best_wheel, supported_tags
from envsync.oci.entry import ROOT, File, sort_key
from envsync.oci.inventory import Python, is_head
from envsync.oci.segment import Contents

_ANY_GLIBC = "2.99"  # which C library the image has is checked when the environment is locked
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
    """Wheels by their sha256 below *folder*, fetched with *download*."""

    def __init__(self, folder: Path, download: Download) -> None:
        self._archives = Archives(folder, download)

    def fetch(self, wheels: Sequence[LockedPackage]) -> None:
        """Fetch the wheels that are not on this machine."""
        self._archives.fetch(wheels)

    def contents(
        self,
        wheel: LockedPackage,
        python: Python | None,
        platform: str,
        excluded: frozenset[str],
        staging: Path,
    ) -> tuple[int, Contents]:
        """Unpack a fetched wheel below the empty folder *staging*.

        Returns the size of its archive in bytes and its entries without those at *excluded*
        (relative to the prefix), which can be read as long as *staging* stands. Raises InvalidInput
        when the wheel is not what the lock says, does not fit the platform, or holds what no image
        may hold.
        """
        if python is None:
            raise InvalidInput(
                "wheels need a python",
                detail=f"The lock has the wheel {wheel.name} and no conda package python.",
                hint="Add python to the conda dependencies.",
            )
        _check_name(wheel, python, platform)
        path = self._archives.verified(wheel)
        entries = _unpack(wheel, path, python, staging)
        own = PackageIdentity.of(wheel)
        kept = [e for e in entries if e.path.removeprefix(f"{ROOT}/") not in excluded]
        by_path = sorted(kept, key=lambda entry: sort_key(entry.path))
        return path.stat().st_size, Contents(
            head=tuple(entry for entry in by_path if is_head(own, entry.path)),
            body=tuple(entry for entry in by_path if not is_head(own, entry.path)),
        )

    def keep(self, wheel: bytes) -> None:
        """Take in a wheel of the repository, to be found by its sha256."""
        self._archives.keep(wheel, ".whl")


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


def _unpack(wheel: LockedPackage, path: Path, python: Python, folder: Path) -> list[File]:
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
    return files.entries


def _check_size(wheel: LockedPackage, path: Path, archive: zipfile.ZipFile) -> None:
    total = sum(info.file_size for info in archive.infolist())
    if total > max(_SMALL, path.stat().st_size * _MAX_RATIO):
        raise _bad(wheel, f"It would unpack to {total} bytes.")


def _bad(wheel: LockedPackage, detail: str) -> InvalidInput:
    return InvalidInput(f"the wheel {wheel.name} {wheel.version} cannot be used", detail=detail)

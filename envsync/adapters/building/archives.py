"""Package archives: fetched once, verified against the lock's sha256, kept under that hash.

Nothing is taken from the cache that was not verified when it was written; files are written aside
and renamed, so that several processes can share the folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from urllib.parse import unquote, urlsplit

from envsync.errors import InvalidInput, NotAllowed, Unavailable
from envsync.model.canonical import sha256_hex
from envsync.model.channels import strip_credentials
from envsync.model.lock import LockedPackage
from envsync.model.own_wheels import path_in_repository
from envsync.model.places import without_secrets

Download = Callable[[str, Path], None]
"""Writes what is at a URL into a file, from any thread; OSError or RuntimeError when it cannot."""

_AT_ONCE = 8
_SUFFIXES = (".conda", ".tar.bz2", ".whl")
_REFUSED = re.compile(r"\b(401|403)\b")


class Archives:
    """The archives below *folder*; *download* fetches what is not a file of this machine.

    *others* are folders in which conda and its kin keep archives under their own names: what is
    there with the right hash is not fetched. They are only read.
    """

    def __init__(self, folder: Path, download: Download, others: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._others = tuple(others)
        self._download = download
        self._verified = set[str]()
        """Hashes of archives that this process has read and found right."""

    def fetch(self, packages: Sequence[LockedPackage]) -> None:
        """Fetch the archives that are not on this machine; see `verified`."""
        pool = ThreadPoolExecutor(_AT_ONCE, "fetch")
        try:
            tasks = [pool.submit(self._fetch, package) for package in packages]
            wait(tasks)
        finally:
            # What has not begun when the process is to end never does.
            pool.shutdown(wait=False, cancel_futures=True)
        # All were tried, so that which failure is told does not depend on which was quicker.
        for task in tasks:
            task.result()

    def verified(self, package: LockedPackage) -> Path:
        """Return a fetched archive after its bytes were compared with the lock's sha256.

        A damaged archive of the cache is removed, so that the next run fetches it again.
        """
        path = self._kept(package) if path_in_repository(package.url) else self._here(package)
        if package.sha256 not in self._verified:
            try:
                _verify(path, package)
            except InvalidInput:
                if path.is_relative_to(self._folder):
                    path.unlink(missing_ok=True)
                raise
            self._verified.add(package.sha256)
        return path

    def is_here(self, package: LockedPackage) -> bool:
        """Tell whether a package's archive need not be fetched."""
        return bool(path_in_repository(package.url)) or self._here(package).exists()

    def _here(self, package: LockedPackage) -> Path:
        url = package.url.partition("#")[0]
        if url.startswith("file://"):
            return Path(unquote(urlsplit(url).path))
        target = self._target(package.sha256, _suffix(package))
        return target if target.exists() else self._of_others(package) or target

    def _of_others(self, package: LockedPackage) -> Path | None:
        """Return an archive that another program has kept, if it is the right one."""
        for folder in self._others:
            path = folder / package.file_name
            try:
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:
                continue
            if found == package.sha256:
                return path
        return None

    def _fetch(self, package: LockedPackage) -> None:
        _suffix(package)
        url = package.url.partition("#")[0]
        if path_in_repository(package.url):
            self._kept(package)
        elif url.startswith("file://"):
            self.verified(package)
        elif not (target := self._here(package)).exists():
            self._fetch_into(target, url, package)
            self._verified.add(package.sha256)

    def keep(self, content: bytes, suffix: str) -> None:
        """Take in an archive that no URL leads to; Unavailable when there is no room for it."""
        target = self._target(sha256_hex(content), suffix)
        if target.exists():
            return
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
            aside = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                aside.replace(target)
            finally:
                aside.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(
                f"the cache folder {self._folder} cannot be written", detail=str(error)
            ) from error

    def _kept(self, package: LockedPackage) -> Path:
        target = self._target(package.sha256, ".whl")
        if not target.exists():
            raise InvalidInput(
                f"the wheel {package.name} {package.version} is not in the repository",
                detail=f"The lock has {path_in_repository(package.url)}, and no file that the "
                f"environment names has the sha256 {package.sha256}.",
                hint="Lock again:\n    envsync lock",
            )
        return target

    def _target(self, sha256: str, suffix: str) -> Path:
        return self._folder / sha256[:2] / f"{sha256}{suffix}"

    def _fetch_into(self, target: Path, url: str, package: LockedPackage) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
            os.close(handle)
            aside = Path(name)
            try:
                self._download(url, aside)
                _verify(aside, package)
                aside.replace(target)
            finally:
                aside.unlink(missing_ok=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise _unreachable(package, error) from error


def _suffix(package: LockedPackage) -> str:
    suffix = next((end for end in _SUFFIXES if package.file_name.endswith(end)), "")
    if not suffix:
        raise InvalidInput(
            f"{package.name} {package.version} is not a package file",
            detail=f"{strip_credentials(package.url)} ends with none of {', '.join(_SUFFIXES)}",
        )
    return suffix


def _verify(path: Path, package: LockedPackage) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreachable(package, error) from error
    if found != package.sha256:
        raise InvalidInput(
            f"{package.name} {package.version} is not what the lock says",
            detail=f"{strip_credentials(package.url)}\n"
            f"has the sha256 {found},\nand the lock wants  {package.sha256}.",
            hint="Its file was replaced or damaged. If the new file is right, lock again:\n"
            "envsync lock",
        )


def _unreachable(package: LockedPackage, error: Exception) -> Unavailable | NotAllowed:
    what = f"{package.name} {package.version}"
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Unavailable(
            "the disk is full",
            detail=f"There was no room for {what}.",
            hint="Free some space, or choose another cache folder.",
        )
    detail = f"{strip_credentials(package.url)}: {without_secrets(str(error))}"
    if _REFUSED.search(str(error)):
        return NotAllowed(f"{what} may not be fetched", detail=detail)
    return Unavailable(f"{what} cannot be fetched", detail=detail)

"""Files that appear in the working folder all together or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from envsync.errors import InvalidInput


class NewFiles:
    """Writes below *root*; implements `envsync.ports.files.FileWriter`.

    What belongs into a folder that does not exist yet arrives with that folder in one rename, so
    a crash leaves no half-written environment.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, files: Mapping[str, bytes]) -> None:
        """Create all of *files* or none; InvalidInput when something stands at one of the paths."""
        tops = sorted({self._first_missing(path) for path in files})
        with (
            _explained(),
            tempfile.TemporaryDirectory(prefix=".envsync-new-", dir=self._root) as aside,
        ):
            made: list[Path] = []
            try:
                for path, content in files.items():
                    _write(Path(aside, path), content)
                for top in tops:
                    _appear(Path(aside, top), self._root / top)
                    made.append(self._root / top)
            except BaseException:
                for path_made in reversed(made):
                    _remove(path_made)
                raise

    def replace(self, path: str, content: bytes) -> None:
        """Write one file, new or not, so that a crash leaves the old bytes or the new ones."""
        target = self._root / path
        mode = 0o644
        with suppress(FileNotFoundError):
            found = target.lstat().st_mode
            if not stat.S_ISREG(found):
                raise InvalidInput(f"{path} is not a regular file", hint="Edit it by hand.")
            mode = stat.S_IMODE(found)
        with _explained():
            handle, aside = tempfile.mkstemp(prefix=".envsync-new-", dir=target.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    os.fchmod(file.fileno(), mode)
                    file.flush()
                    os.fsync(file.fileno())
                Path(aside).replace(target)
            except BaseException:
                with suppress(OSError):
                    Path(aside).unlink()
                raise

    def _first_missing(self, path: str) -> str:
        """Return the topmost part of *path* that does not exist; it will be renamed into place."""
        parts = PurePosixPath(path).parts
        for count in range(1, len(parts) + 1):
            place = self._root.joinpath(*parts[:count])
            try:
                mode = place.lstat().st_mode
            except FileNotFoundError:
                return "/".join(parts[:count])
            if count < len(parts) and not stat.S_ISDIR(mode):
                raise InvalidInput(f"{'/'.join(parts[:count])} is not a folder")
        raise InvalidInput(f"{path} exists already", hint="It is left as it is.")


@contextmanager
def _explained() -> Iterator[None]:
    """Say in words that the folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(
            "The files cannot be written", detail=f"{error.filename}: {error.strerror}"
        ) from error


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _appear(source: Path, target: Path) -> None:
    """Move a file or folder to a place where nothing stands; never overwrites."""
    if source.is_dir():
        # rename(2) refuses a folder that has something in it, and takes an empty one.
        source.rename(target)
    else:
        os.link(source, target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()

"""A registry on disk: one OCI image layout for each repository, at ``<root>/<repository>/``.

Why one layout for each, and not one for all: ``skopeo inspect oci:ROOT/train:3`` and ``umoci unpack
--image ROOT/train:3`` then work with the tag as it is; an ``index.json`` stays as small as one
environment's history, so that writing a thousand environments does not rewrite all the others'
tags; two environments never wait for one lock. Repositories share bytes all the same: mounting a
blob makes a hard link.

``index.json`` comes into being last, and changes under a lock by rename. So at every instant a
repository is a valid layout or none.

Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from envsync.adapters.files.aside import Aside, sync_folder
from envsync.adapters.registry.manifest_bytes import (
    require_manifest,
    require_reference,
    require_repository,
)
from envsync.adapters.registry.oci_layout_files import (
    Damaged,
    blob_path,
    is_undamaged,
    read_index,
    read_manifest,
    tagged,
    with_tag,
)
from envsync.adapters.registry.streams import Content, outgoing, read_chunks, verified
from envsync.errors import EnvsyncError, InvalidInput, NotAllowed, Unavailable
from envsync.model.canonical import Json, canonical_json
from envsync.model.reading import ABSENT, Present, Reading, Unknown
from envsync.oci.descriptor import INDEX, Descriptor, RawManifest, is_digest
from envsync.ports.registry import ContentMissing

_LAYOUT_FILES = frozenset({"blobs", "index.json", "oci-layout"})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOENT})

T = TypeVar("T")


class LayoutRegistry:
    """A RegistryWriter over the OCI layouts below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def name(self) -> str:
        """The folder's path."""
        return str(self._root)

    def head(self, repository: str, reference: str) -> Reading[Descriptor]:
        """Return the descriptor that a tag or digest names; the manifest's bytes are verified."""
        reading = self.manifest(repository, reference)
        return Present(reading.value.descriptor) if isinstance(reading, Present) else reading

    def manifest(self, repository: str, reference: str) -> Reading[RawManifest]:
        """Read the manifest or index that a tag or digest names."""
        folder = self._folder(repository)
        require_reference(reference)
        return self._read(lambda: read_manifest(folder, reference))

    def tags(self, repository: str) -> Reading[tuple[str, ...]]:
        """List the tags; a repository without any is absent, as in a registry."""
        folder = self._folder(repository)

        def read() -> tuple[str, ...] | None:
            return tuple(sorted({tag for tag, _ in tagged(read_index(folder))})) or None

        return self._read(read)

    @contextmanager
    def blob(self, repository: str, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        """Stream a blob's bytes, verified."""
        path = blob_path(self._folder(repository), descriptor.digest)
        with self._explain("read"):
            try:
                file = path.open("rb")
            except (FileNotFoundError, NotADirectoryError) as error:
                raise Unavailable(
                    f"{repository} has no blob {descriptor.digest}", detail=f"{path} is not there."
                ) from error
        with file:
            yield verified(self._chunks(file), descriptor, str(path))

    def blob_part(self, repository: str, descriptor: Descriptor, start: int, length: int) -> bytes:
        """Read a part of a blob's file."""
        path = blob_path(self._folder(repository), descriptor.digest)
        with self._explain("read"):
            try:
                with path.open("rb") as file:
                    file.seek(start)
                    found = file.read(length)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise Unavailable(
                    f"{repository} has no blob {descriptor.digest}", detail=f"{path} is not there."
                ) from error
        if len(found) < length:
            raise Unavailable(f"{descriptor.digest} is damaged", detail=f"{path} is too short.")
        return found

    def has_blob(self, repository: str, digest: str) -> bool:
        """Tell whether the blob's file is there."""
        with self._explain("read"):
            return blob_path(self._folder(repository), digest).is_file()

    def mount_blob(self, repository: str, digest: str, source: str) -> bool:
        """Hard-link the blob from repository *source*; False where that is not possible."""
        origin = blob_path(self._folder(source), digest)
        target = self._prepare(repository, digest)
        with self._explain("write to"):
            try:
                target.hardlink_to(origin)
            except FileExistsError:
                return True
            except OSError as error:
                if error.errno in _NO_LINK:
                    return False
                raise
            sync_folder(target.parent)
            return True

    def repositories(self) -> Reading[tuple[str, ...]]:
        """List the folders that are layouts."""

        def read() -> tuple[str, ...] | None:
            found = self._root.rglob("oci-layout")
            return tuple(sorted(one.parent.relative_to(self._root).as_posix() for one in found))

        return self._read(read)

    def put_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        content: Content,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """Write a blob unless an undamaged one is there."""
        target = self._prepare(repository, descriptor.digest)
        with self._explain("write to"):
            if is_undamaged(target, descriptor):
                return
            with content() as source:
                Aside(self._folder(repository)).write(target, outgoing(source, descriptor, sent))

    def put_manifest(self, repository: str, reference: str, manifest: RawManifest) -> bool:
        """Write a manifest's blob, then name it in ``index.json`` when *reference* is a tag.

        A folder keeps no list of what refers to what.
        """
        folder = self._folder(repository)
        require_manifest(reference, manifest)
        target = self._prepare(repository, manifest.digest)
        with self._explain("write to"):
            self._require_content(folder, manifest)
            aside = Aside(folder)
            if not is_undamaged(target, manifest.descriptor):
                aside.write(target, [manifest.body])
            if is_digest(reference):
                return False
            with aside.lock():
                document = self._index_document(folder)
                changed = with_tag(document, reference, manifest.descriptor)
                if changed != document:
                    aside.write_locked(folder / "index.json", canonical_json(changed))
        return False

    def _read(self, read: Callable[[], T | None]) -> Reading[T]:
        """Turn what can go wrong while reading into a reading."""
        try:
            with self._explain("read"):
                value = read()
        except Damaged as damaged:
            return Unknown(why="unavailable", reason=f"{self._root} is damaged: {damaged}")
        except NotAllowed as error:
            return Unknown(why="not allowed", reason=str(error))
        except Unavailable as error:
            return Unknown(why="unavailable", reason=str(error))
        return ABSENT if value is None else Present(value)

    def _chunks(self, file: BinaryIO) -> Iterator[bytes]:
        with self._explain("read"):
            yield from read_chunks(file)

    def _folder(self, repository: str) -> Path:
        require_repository(repository)
        reserved = _LAYOUT_FILES.intersection(repository.split("/")[1:])
        if reserved:
            raise InvalidInput(
                f"{repository!r} cannot be a repository in a folder",
                detail=f"{min(reserved)!r} is a name of the OCI layout's own.",
            )
        return self._root / repository

    def _prepare(self, repository: str, digest: str) -> Path:
        """Make the repository a layout if it is none; return where the blob belongs."""
        folder = self._folder(repository)
        path = blob_path(folder, digest)
        with self._explain("write to"):
            if (folder / "index.json").exists() and path.parent.is_dir():
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = Aside(folder)
            with aside.lock():
                if (folder / "index.json").exists():
                    return path  # another has made it meanwhile, and the index is written last
                version: Json = {"imageLayoutVersion": "1.0.0"}
                aside.write_locked(folder / "oci-layout", canonical_json(version))
                empty: Json = {"schemaVersion": 2, "mediaType": INDEX, "manifests": ()}
                aside.write_locked(folder / "index.json", canonical_json(empty))
        return path

    def _index_document(self, folder: Path) -> dict[str, Any]:
        try:
            document = read_index(folder) or {}
            list(tagged(document))
            canonical_json(document)
        except (Damaged, TypeError) as damaged:
            raise Unavailable(
                f"{folder} is damaged",
                detail=f"{damaged}; nothing was written.",
                hint="Move the folder away: `envsync apply` publishes again what git records.",
            ) from damaged
        return document

    def _require_content(self, folder: Path, manifest: RawManifest) -> None:
        document = manifest.document()
        try:
            parts = [*document.get("layers", ()), *document.get("manifests", ())]
            if "config" in document:
                parts.append(document["config"])
            digests = {Descriptor.parse(part).digest for part in parts if not part.get("urls")}
        except (ValueError, AttributeError, TypeError) as error:
            raise InvalidInput(
                "the registry refuses a manifest", detail=f"It names {error}."
            ) from error
        missing = sorted(digest for digest in digests if not blob_path(folder, digest).is_file())
        if missing:
            raise ContentMissing(
                f"{folder} does not have what manifest {manifest.digest} names",
                detail="Missing: " + ", ".join(missing),
            )

    @contextmanager
    def _explain(self, verb: str) -> Iterator[None]:
        """Give the file system's errors envsync's words."""
        try:
            yield
        except OSError as error:
            raise _explained(self._root, verb, error) from error


def _explained(root: Path, verb: str, error: OSError) -> EnvsyncError:
    where = f"{error.filename or root}: {error.strerror or error}"
    if error.errno in _FULL:
        return Unavailable(
            f"no space left for {root}",
            detail=f"{where}. What was being written has been removed.",
            hint="Free some space and run the same command again.",
        )
    if error.errno in _FORBIDDEN:
        return NotAllowed(
            f"not allowed to {verb} {root}", detail=where, hint="Check who owns the folder."
        )
    return Unavailable(f"cannot {verb} {root}", detail=where)

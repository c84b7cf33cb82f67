"""OCI archives: an image layout in one tar file, as skopeo, podman and docker read it.

Blobs are streamed into and out of it; nothing is unpacked.
Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from envsync.adapters.registry.manifest_bytes import MANIFEST_MAX, manifest_type
from envsync.adapters.registry.oci_layout_files import REF_NAME
from envsync.adapters.registry.streams import CHUNK, outgoing, verified
from envsync.errors import EnvsyncError, InvalidInput, Unavailable
from envsync.model.canonical import Json, canonical_json
from envsync.model.json_text import read_json
from envsync.model.reading import ABSENT, Present, Reading, Unknown
from envsync.oci.descriptor import INDEX, Descriptor, RawManifest, digest_of, is_digest
from envsync.ports.builder import WholeImage

_LAYOUT: Json = {"imageLayoutVersion": "1.0.0"}
_MEMBERS = 100_000


class ArchiveFile:
    """Writes one archive; implements `envsync.ports.archive.WriteArchive`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(
        self,
        image: WholeImage,
        tag: str,
        annotations: Mapping[str, str],
        written: Callable[[int], None],
    ) -> None:
        """Write the image beside the path, then link it there; the same image, the same bytes."""
        if self._path.exists():
            raise _exists(self._path)
        entry = {**image.top.descriptor.document(), "annotations": {REF_NAME: tag, **annotations}}
        index: Json = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        try:
            handle, aside = tempfile.mkstemp(prefix=".envsync-", dir=self._path.parent)
        except OSError as error:
            raise _failed(self._path, error) from error
        try:
            with os.fdopen(handle, "wb") as file:
                with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    _add(tar, "oci-layout", canonical_json(_LAYOUT))
                    _add(tar, "index.json", canonical_json(index))
                    for manifest in (image.top, *image.children):
                        _add(tar, _blob_path(manifest.digest), manifest.body)
                    for blob in sorted(image.blobs, key=lambda blob: blob.descriptor.digest):
                        with blob.open() as content:
                            chunks = outgoing(content, blob.descriptor, written)
                            source = _Chunks(chunks)
                            name = _blob_path(blob.descriptor.digest)
                            tar.addfile(_member(name, blob.descriptor.size), source)
                            source.finish()
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            os.link(aside, self._path)
        except FileExistsError as error:
            raise _exists(self._path) from error
        except OSError as error:
            raise _failed(self._path, error) from error
        finally:
            with suppress(OSError):
                Path(aside).unlink()


class OpenArchive:
    """An archive that is there; implements `envsync.ports.archive.Archive` for many threads."""

    def __init__(self, path: Path) -> None:
        """Read where everything stands in the file; InvalidInput when it is no OCI archive."""
        self._path = path
        self._members: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    name = member.name.removeprefix("./")
                    if member.isfile():
                        self._members.setdefault(name, (member.offset_data, member.size))
                    if len(self._members) > _MEMBERS:
                        raise tarfile.ReadError(f"more than {_MEMBERS:,} files")
        except (tarfile.TarError, EOFError) as error:
            raise _no_archive(path, f"It is not an uncompressed tar file: {error}.") from error
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read", detail=str(error)) from error

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self._path)

    def images(self) -> tuple[Descriptor, ...]:
        """Return what the index names, with annotations."""
        body = self._small("index.json")
        if body is None:
            raise _no_archive(self._path, "It has no index.json.")
        try:
            document = read_json(body)
            return tuple(Descriptor.parse(entry) for entry in document["manifests"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _no_archive(self._path, f"Its index.json is {error!r}.") from error

    def head(self, repository: str, reference: str) -> Reading[Descriptor]:
        """Return the descriptor of a manifest."""
        reading = self.manifest(repository, reference)
        return Present(reading.value.descriptor) if isinstance(reading, Present) else reading

    def manifest(self, repository: str, reference: str) -> Reading[RawManifest]:
        """Read a manifest by digest or by the tag that the index gives it."""
        digest = reference
        if not is_digest(reference):
            named = [d for d in self.images() if d.annotations.get(REF_NAME) == reference]
            if not named:
                return ABSENT
            digest = named[0].digest
        body = self._small(_blob_path(digest))
        if body is None:
            return ABSENT
        if digest_of(body) != digest:
            reason = f"the bytes of {digest} in {self._path} have another digest"
            return Unknown(why="unavailable", reason=reason)
        try:
            kind = manifest_type(body)
        except ValueError:
            kind = None
        return ABSENT if kind is None else Present(RawManifest(media_type=kind, body=body))

    def tags(self, repository: str) -> Reading[tuple[str, ...]]:
        """List the tags of the index."""
        found = {d.annotations.get(REF_NAME, "") for d in self.images()} - {""}
        return Present(tuple(sorted(found)))

    def repositories(self) -> Reading[tuple[str, ...]]:
        """Say nothing: an archive is one repository without a name."""
        return ABSENT

    @contextmanager
    def blob(self, repository: str, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        """Stream a blob, verified."""
        where = self._members.get(_blob_path(descriptor.digest))
        if where is None:
            raise Unavailable(
                f"{self._path} is not complete", detail=f"Blob {descriptor.digest} is missing."
            )
        with self._path.open("rb") as file:
            file.seek(where[0])
            yield verified(_part(file, where[1]), descriptor, str(self._path))

    def blob_part(self, repository: str, descriptor: Descriptor, start: int, length: int) -> bytes:
        """Read a part of a blob."""
        with self.blob(repository, descriptor) as chunks:
            return b"".join(chunks)[start : start + length]

    def _small(self, name: str) -> bytes | None:
        where = self._members.get(name)
        if where is None or where[1] > MANIFEST_MAX:
            return None
        with self._path.open("rb") as file:
            file.seek(where[0])
            return file.read(where[1])


class _Chunks(io.RawIOBase):
    """Chunks as a file that is read once, for tarfile."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def finish(self) -> None:
        """Read to the end, where the digest is verified."""
        for _ in self._chunks:
            pass


def _part(file: io.BufferedReader, size: int) -> Iterator[bytes]:
    while size and (chunk := file.read(min(CHUNK, size))):
        size -= len(chunk)
        yield chunk


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_member(name, len(content)), io.BytesIO(content))


def _member(name: str, size: int) -> tarfile.TarInfo:
    # No clock, no owner: the same image gives the same file.
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member


def _blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/', 1)}"


def _exists(path: Path) -> InvalidInput:
    return InvalidInput(f"{path} exists already", hint="It is left as it is.")


def _no_archive(path: Path, detail: str) -> InvalidInput:
    return InvalidInput(
        f"{path} is not an OCI archive",
        detail=detail,
        hint="Make one:\n    envsync copy NAME:VERSION archive.tar",
    )


def _failed(path: Path, error: OSError) -> EnvsyncError:
    return InvalidInput(f"{path} cannot be written", detail=error.strerror or str(error))

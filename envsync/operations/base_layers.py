"""Base images: manifest and config are read, layers stay where they are until they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from envsync.errors import InvalidInput
from envsync.model.reading import Present, Unknown
from envsync.oci.descriptor import MANIFESTS, Descriptor, RawManifest
from envsync.oci.image import adopted_layer
from envsync.ports.builder import BaseImage, Blob
from envsync.ports.registry import RegistryReader

_MAX_CONFIG = 8 << 20


def read_base(reader: RegistryReader, repository: str, digest: str) -> BaseImage:
    """Read the base image whose manifest, for one platform, has *digest*.

    Raises InvalidInput when it is gone or cannot be used, Unavailable or NotAllowed when the
    registry does not answer.
    """
    manifest = _manifest(reader, repository, digest)
    try:
        document = manifest.document()
        config = Descriptor.parse(document["config"])
        layers = [Descriptor.parse(layer) for layer in document["layers"]]
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(reader, repository, digest, f"Its manifest cannot be read: {error}.") from error
    if config.size > _MAX_CONFIG:
        raise _bad(reader, repository, digest, f"Its config has {config.size} bytes.")
    with reader.blob(repository, config) as chunks:
        body = b"".join(chunks)
    return BaseImage(
        config=body,
        layers=tuple(_layer(reader, repository, layer) for layer in layers),
        digest=digest,
    )


def _manifest(reader: RegistryReader, repository: str, digest: str) -> RawManifest:
    reading = reader.manifest(repository, digest)
    where = f"{reader.name}/{repository}@{digest}"
    if isinstance(reading, Unknown):
        raise reading.error("the base image cannot be read", where=where)
    if not isinstance(reading, Present):
        raise InvalidInput(
            "the base image is gone",
            detail=f"{where} does not exist.",
            hint="Lock again to take what its tag means now:\nenvsync lock",
        )
    if reading.value.media_type not in MANIFESTS:
        raise _bad(reader, repository, digest, f"It is {reading.value.media_type}.")
    return reading.value


def _layer(reader: RegistryReader, repository: str, found: Descriptor) -> Blob:
    descriptor = adopted_layer(found)

    def read() -> AbstractContextManager[Iterator[bytes]]:
        return reader.blob(repository, descriptor)

    return Blob(descriptor=descriptor, open=read, registry=reader.name, repository=repository)


def _bad(reader: RegistryReader, repository: str, digest: str, detail: str) -> InvalidInput:
    return InvalidInput(
        "the base image cannot be used", detail=f"{reader.name}/{repository}@{digest}: {detail}"
    )

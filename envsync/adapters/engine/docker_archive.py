"""An image as the archive that ``docker load`` takes, written while it is sent.

Source: https://github.com/moby/docker-image-spec/blob/main/spec.md (combined image JSON)
"""

from __future__ import annotations

from collections.abc import Iterator

from envsync.adapters.registry.streams import CHUNK
from envsync.model.canonical import canonical_json
from envsync.oci.entry import Entry, File, file_of
from envsync.oci.tar import END, entry_stream
from envsync.ports.builder import Blob
from envsync.ports.engine import LocatedImage


def docker_archive(image: LocatedImage, name: str) -> Iterator[bytes]:
    """Yield the archive of *image*, which will be called *name* (``repository:tag``).

    Layers stay compressed as they are; engines unpack gzip on the way in.
    """
    config = f"{image.manifest.document()['config']['digest'].removeprefix('sha256:')}.json"
    paths = [_path(layer) for layer in image.layers]
    listed = [{"Config": config, "RepoTags": [name], "Layers": paths}]
    entries: dict[str, Entry] = {config: file_of(config, image.config)}
    for path, layer in zip(paths, image.layers, strict=True):
        entries.setdefault(path, _file(path, layer))
    entries["manifest.json"] = file_of("manifest.json", canonical_json(listed))
    yield from entry_stream(entries.values())
    yield END


def _path(layer: Blob) -> str:
    return f"{layer.descriptor.digest.removeprefix('sha256:')}/layer.tar"


def _file(path: str, layer: Blob) -> File:
    return File(
        path=path,
        size=layer.descriptor.size,
        executable=False,
        mtime=0,
        content=lambda: _bytes(layer),
    )


def _bytes(layer: Blob) -> Iterator[bytes]:
    with layer.open() as source:
        read = getattr(source, "read", None)
        yield from iter(lambda: read(CHUNK), b"") if read else source

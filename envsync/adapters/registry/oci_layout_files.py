"""The files of one OCI image layout: blobs, and ``index.json`` that gives some of them tags."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envsync.adapters.registry.manifest_bytes import MANIFEST_MAX, manifest_type, require_digest
from envsync.adapters.registry.streams import read_chunks, verified
from envsync.errors import Unavailable
from envsync.model.json_text import read_json
from envsync.oci.descriptor import INDEX, Descriptor, RawManifest, digest_of, is_digest

REF_NAME = "org.opencontainers.image.ref.name"
"""Annotation of an entry of ``index.json``: its tag."""


class Damaged(Exception):
    """The layout contradicts itself."""


def blob_path(folder: Path, digest: str) -> Path:
    """Return where a blob belongs in a layout."""
    require_digest(digest)
    return folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def is_undamaged(path: Path, descriptor: Descriptor) -> bool:
    """Tell whether the file is there with exactly the bytes that *descriptor* says."""
    try:
        with path.open("rb") as file:
            for _ in verified(read_chunks(file), descriptor, str(path)):
                pass
    except (FileNotFoundError, Unavailable):
        return False
    return True


def read_index(folder: Path) -> dict[str, Any] | None:
    """Return ``index.json``; None when the folder is no layout."""
    try:
        body = (folder / "index.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        document = read_json(body)
    except ValueError as error:
        raise Damaged(f"{folder / 'index.json'} is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("manifests"), list):
        raise Damaged(f"{folder / 'index.json'} is not an image index")
    return document


def tagged(document: dict[str, Any] | None) -> Iterator[tuple[str, Descriptor]]:
    """Yield the tags of ``index.json`` and what they name."""
    for entry in (document or {}).get("manifests", ()):
        try:
            descriptor = Descriptor.parse(entry)
        except (ValueError, AttributeError) as error:
            raise Damaged(f"index.json has an entry that is {error}") from error
        tag = descriptor.annotations.get(REF_NAME)
        if tag is not None:
            yield tag, descriptor


def with_tag(document: dict[str, Any], tag: str, descriptor: Descriptor) -> dict[str, Any]:
    """Return ``index.json`` with *tag* naming the manifest; all other entries stay."""
    entry = {**descriptor.document(), "annotations": {REF_NAME: tag}}
    kept = [
        other
        for other in document.get("manifests", ())
        if (other.get("annotations") or {}).get(REF_NAME) != tag
    ]
    if entry in document.get("manifests", ()) and len(kept) + 1 == len(document["manifests"]):
        return document
    base = {"schemaVersion": 2, "mediaType": INDEX}
    return {**base, **document, "manifests": [*kept, entry]}


def read_manifest(folder: Path, reference: str) -> RawManifest | None:
    """Read what a tag or digest names, verified; None when it is not there."""
    if is_digest(reference):
        return _manifest_bytes(folder, reference)
    named = {d.digest: d for tag, d in tagged(read_index(folder)) if tag == reference}
    if not named:
        return None
    if len(named) > 1:
        raise Damaged(f"{len(named)} images are called {reference}")
    (descriptor,) = named.values()
    manifest = _manifest_bytes(folder, descriptor.digest)
    if manifest is None:
        raise Damaged(f"{reference} names {descriptor.digest}, which is no manifest here")
    return manifest


def _manifest_bytes(folder: Path, digest: str) -> RawManifest | None:
    try:
        with blob_path(folder, digest).open("rb") as file:
            if os.fstat(file.fileno()).st_size > MANIFEST_MAX:
                return None  # a layer
            body = file.read(MANIFEST_MAX)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if digest_of(body) != digest:
        raise Damaged(f"the bytes of {digest} have another digest")
    try:
        kind = manifest_type(body)
    except ValueError:
        return None  # a small layer
    return None if kind is None else RawManifest(media_type=kind, body=body)

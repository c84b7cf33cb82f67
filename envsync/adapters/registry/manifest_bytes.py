"""Manifests as bytes, before anything is believed: their type, their size, what names them."""

from __future__ import annotations

from envsync.errors import InvalidInput
from envsync.model.json_text import read_json
from envsync.model.reference import is_repository, is_tag
from envsync.oci.descriptor import INDEX, INDEXES, MANIFEST, MANIFESTS, RawManifest, is_digest

MANIFEST_MAX = 4 << 20
"""Bytes of a manifest: registries must take this much, and take no more."""

MANIFEST_TYPES = (*sorted(INDEXES), *sorted(MANIFESTS))
"""Media types of everything that a tag may name: OCI's and Docker's, images and indexes."""


def manifest_type(body: bytes, default: str = "") -> str | None:
    """Return a manifest's media type, from its bytes or else *default*; None when it is none.

    Raises ValueError when the bytes are not JSON.
    """
    document = read_json(body)
    if not isinstance(document, dict):
        return None
    stated = document.get("mediaType")
    if stated is not None:
        return stated if stated in MANIFEST_TYPES else None
    if isinstance(document.get("manifests"), list):
        return default or INDEX
    if isinstance(document.get("layers"), list) and "config" in document:
        return default or MANIFEST
    return None


def require_repository(repository: str) -> None:
    """Raise InvalidInput unless *repository* can be one."""
    if not is_repository(repository):
        raise InvalidInput(f"{repository!r} is not a repository of a registry")


def require_reference(reference: str) -> None:
    """Raise InvalidInput unless *reference* is a tag or a digest."""
    if not is_tag(reference) and not is_digest(reference):
        raise InvalidInput(f"{reference!r} is neither a tag nor a sha256 digest")


def require_digest(digest: str) -> None:
    """Raise InvalidInput unless *digest* is one that can be verified."""
    if not is_digest(digest):
        raise InvalidInput(f"{digest!r} is not a sha256 digest")


def require_manifest(reference: str, manifest: RawManifest) -> None:
    """Raise InvalidInput for what every registry would refuse under *reference*."""

    def refuse(detail: str) -> InvalidInput:
        return InvalidInput("the registry refuses a manifest", detail=detail)

    require_reference(reference)
    if is_digest(reference) and reference != manifest.digest:
        raise refuse(f"Its digest is {manifest.digest}, not {reference}.")
    if len(manifest.body) > MANIFEST_MAX:
        raise refuse(f"It has {len(manifest.body)} bytes; {MANIFEST_MAX} are allowed.")
    try:
        kind = manifest_type(manifest.body, manifest.media_type)
    except ValueError as error:
        raise refuse(f"It is not JSON: {error}.") from error
    if kind != manifest.media_type:
        raise refuse(f"It is put as {manifest.media_type}, and says that it is {kind}.")

"""OCI image layouts written by hand, so that base images depend on no code under test."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OCI = "application/vnd.oci.image"
_CREATED = "2024-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformImage:
    """One platform's image: uncompressed layer tars, the lowest first."""

    architecture: str
    layers: Sequence[bytes]
    command: Sequence[str] = ("/bin/sh",)
    labels: Mapping[str, str] | None = None


def write_layout(folder: Path, images: Sequence[PlatformImage]) -> str:
    """Write a layout with one image, or an index when there are more, and return its digest."""
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="ascii")
    descriptors = [_image(folder, image) for image in images]
    top = descriptors[0]
    if len(descriptors) > 1:
        index = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.index.v1+json",
            "manifests": descriptors,
        }
        top = _blob(folder, f"{_OCI}.index.v1+json", _json(index))
    top = {**top, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
    (folder / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [top]}))
    return str(top["digest"])


def tar_of(files: Mapping[str, bytes | str]) -> bytes:
    """Return a layer tar: bytes are executable files, text is the target of a soft link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folders = {str(parent) for path in files for parent in Path(path).parents} - {"."}
        for folder in sorted(folders):
            header = tarfile.TarInfo(folder)
            header.type, header.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(header)
        for path, content in sorted(files.items()):
            header = tarfile.TarInfo(path)
            header.mode = 0o755
            if isinstance(content, str):
                header.type, header.linkname = tarfile.SYMTYPE, content
                archive.addfile(header)
            else:
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def _image(folder: Path, image: PlatformImage) -> dict[str, Any]:
    layers, diff_ids = [], []
    for tar in image.layers:
        diff_ids.append(f"sha256:{hashlib.sha256(tar).hexdigest()}")
        packed = gzip.compress(tar, compresslevel=1, mtime=0)
        layers.append(_blob(folder, f"{_OCI}.layer.v1.tar+gzip", packed))
    settings: dict[str, Any] = {
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": list(image.command),
    }
    if image.labels:
        settings["Labels"] = dict(image.labels)
    config = {
        "architecture": image.architecture,
        "os": "linux",
        "created": _CREATED,
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": _CREATED, "created_by": "made by hand"} for _ in layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _blob(folder, f"{_OCI}.config.v1+json", _json(config)),
        "layers": layers,
    }
    platform = {"architecture": image.architecture, "os": "linux"}
    return {**_blob(folder, f"{_OCI}.manifest.v1+json", _json(manifest)), "platform": platform}


def _blob(folder: Path, media_type: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    path = folder / "blobs" / "sha256" / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

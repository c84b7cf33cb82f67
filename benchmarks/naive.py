"""The naive way: install into a folder, make one layer of it, copy the image to the registry."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.engine import install_here
from benchmarks.measure import Usage, observed, timed, together
from benchmarks.science import NAME, Science
from tests.parts.baseimage import debian_base
from tests.parts.process import tool

BY_TAR = (
    "linker.py (py-rattler's install); tar --create --directory root opt | gzip > layer.tar.gz;"
    " skopeo copy oci:layout:latest docker://host/peer/tar:latest"
)
BY_UMOCI = (
    "linker.py (py-rattler's install); umoci insert --image layout:latest prefix /opt/env;"
    " skopeo copy oci:layout:latest docker://host/peer/umoci:latest"
)
TAR_NOTE = "the manifest that names the layer is written by hand, and not counted"


def install_tar_copy(science: Science, name: str = NAME) -> Usage:
    """Install, pack the folder with tar and gzip, put it on the base as one layer, and push."""
    folder = _fresh(science)
    installed = install_here(science, folder / "root/opt/env", name=name)
    layer = folder / "layer.tar.gz"
    script = f"tar --create --directory {folder}/root opt | gzip > {layer}"
    packed = timed(["/bin/sh", "-c", script], environment=science.place.environment)
    put_on_top(folder / "layout", layer)
    return together(installed, packed, _copy(science, folder, "tar"))


def install_umoci_copy(science: Science) -> Usage:
    """Install, put the folder on the base as one layer with umoci, and push."""
    folder = _fresh(science)
    installed = install_here(science, folder / "prefix")
    words = ["insert", "--image", f"{folder}/layout:latest", f"{folder}/prefix", "/opt/env"]
    layered = timed([tool("umoci"), *words], environment=science.place.environment)
    return together(installed, layered, _copy(science, folder, "umoci"))


def forget_packages(science: Science) -> None:
    """Empty the cache that the installer unpacks packages into."""
    shutil.rmtree(science.place.folder / "peer/cache", ignore_errors=True)


def unpacked_bytes(science: Science) -> int:
    """Return how large the regular files of the environment are, installed by rattler."""
    folder = science.place.folder / "unpacked"
    install_here(science, folder)
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    total = sum(path.stat().st_size for path in files)
    shutil.rmtree(folder)
    return total


def put_on_top(layout: Path, layer: Path) -> None:
    """Add a gzip layer to the image `latest` of an OCI layout; the file is moved into it."""
    index = json.loads((layout / "index.json").read_bytes())
    (entry,) = index["manifests"]
    manifest = json.loads(_blob(layout, entry["digest"]).read_bytes())
    config = json.loads(_blob(layout, manifest["config"]["digest"]).read_bytes())
    config["rootfs"]["diff_ids"].append(f"sha256:{_plain_sha256(layer)}")
    config["history"].append({"created_by": "tar | gzip"})
    manifest["config"] |= _written(layout, config)
    with layer.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    size = layer.stat().st_size
    media_type = manifest["layers"][-1]["mediaType"]
    manifest["layers"].append({"mediaType": media_type, "digest": digest, "size": size})
    layer.replace(_blob(layout, digest))
    entry |= _written(layout, manifest)
    (layout / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _fresh(science: Science) -> Path:
    folder = science.place.folder / "naive"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(debian_base().layout, folder / "layout")
    (folder / "root/opt").mkdir(parents=True)
    return folder


def _copy(science: Science, folder: Path, name: str) -> Usage:
    target = f"docker://{science.registry.host}/peer/{name}:latest"
    words = [tool("skopeo"), "--insecure-policy", "copy", "--dest-tls-verify=false"]
    words += [f"oci:{folder}/layout:latest", target]
    environment = science.place.environment
    return observed(science.registry, lambda: timed(words, environment=environment))


def _plain_sha256(layer: Path) -> str:
    with gzip.open(layer) as file:
        found = hashlib.sha256()
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs/sha256" / digest.removeprefix("sha256:")


def _written(layout: Path, document: object) -> dict[str, Any]:
    data = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    _blob(layout, digest).write_bytes(data)
    return {"digest": digest, "size": len(data)}

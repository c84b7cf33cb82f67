"""The limits: the bytes of a build, or of a copy, sent through no more than cannot be left out.

A program of its own. ``limit.py build packages.json host repository`` reads, decodes, hashes,
compresses and uploads packages; it links nothing and plans nothing, and its layers are of no use to
anybody. ``limit.py send folder host repository`` hashes and uploads the files of a folder.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import sys
import zipfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import zstandard

from envsync.oci.gzip import MEMBER, member

_CORES = len(os.sched_getaffinity(0))


def send(folder: str, host: str, repository: str) -> None:
    """Upload every file, eight at a time, the largest first."""
    paths = sorted(Path(folder).iterdir(), key=lambda path: -path.stat().st_size)
    with ThreadPoolExecutor(8) as uploads:
        tasks = [uploads.submit(_upload, host, repository, path.read_bytes()) for path in paths]
        for task in tasks:
            task.result()


def build(packages: str, host: str, repository: str) -> None:
    """Send every package through all that cannot be left out."""
    listed = json.loads(Path(packages).read_bytes())
    paths = [Path(unquote(urlsplit(package["url"]).path)) for package in listed]
    paths.sort(key=lambda path: -path.stat().st_size)
    with (
        ThreadPoolExecutor(_CORES) as compressors,
        ThreadPoolExecutor(8) as uploads,
        ThreadPoolExecutor(_CORES) as readers,
    ):

        def one(path: Path) -> Future[None]:
            return uploads.submit(_upload, host, repository, _packed(path, compressors))

        for task in [readers.submit(one, path) for path in paths]:
            task.result().result()


def _packed(path: Path, compressors: ThreadPoolExecutor) -> bytes:
    plain, packed = hashlib.sha256(), hashlib.sha256()
    found: list[bytes] = []
    window: deque[Future[bytes]] = deque()

    def take() -> None:
        data = window.popleft().result()
        packed.update(data)
        found.append(data)

    hashlib.sha256(path.read_bytes())
    for piece in _decoded(path):
        window.append(compressors.submit(member, piece))
        plain.update(piece)
        if len(window) > 2 * _CORES:
            take()
    while window:
        take()
    return b"".join(found)


def _decoded(path: Path) -> Iterator[bytes]:
    if path.suffix != ".conda":
        return
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.startswith("pkg-"))
        with (
            archive.open(name) as part,
            zstandard.ZstdDecompressor().stream_reader(part, read_size=MEMBER) as stream,
        ):
            while piece := stream.read(MEMBER):
                yield piece


def _upload(host: str, repository: str, data: bytes) -> None:
    connection = http.client.HTTPConnection(host)
    connection.request("POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"})
    answer = connection.getresponse()
    answer.read()
    place = urlsplit(answer.headers["Location"])
    digest = hashlib.sha256(data).hexdigest()
    target = f"{place.path}?{place.query}{'&' if place.query else ''}digest=sha256:{digest}"
    connection.request("PUT", target, body=data)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 201:
        raise SystemExit(f"{answer.status} {answer.reason}")


if __name__ == "__main__":
    {"build": build, "send": send}[sys.argv[1]](*sys.argv[2:])

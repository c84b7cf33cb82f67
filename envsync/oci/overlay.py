"""What a container sees: layers laid over one another, read with Python's own tar reader.

Nothing here shares code with the writer of layers, so that one can judge the other.
Source: https://github.com/opencontainers/image-spec/blob/main/layer.md#applying-changesets
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Literal, cast

Kind = Literal["file", "folder", "link", "other"]

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What stands at a path: mode with all its bits, time in seconds, content by hash."""

    kind: Kind
    mode: int
    mtime: int = 0
    size: int = 0
    sha256: str = ""
    target: str = ""
    """Of a symbolic link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of a layer's archive as it stands there."""

    path: str
    node: Node
    hard_link: str = ""
    """Path of the file it is another name of."""
    owner: tuple[int, int, str, str] = (0, 0, "", "")
    leftovers: tuple[bytes, ...] = ()
    """Which of the texts searched for are in the content."""


class _Stream:
    """A readable file over an iterator of chunks, as tarfile's stream mode needs it."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int) -> bytes:
        parts: list[bytes] = []
        have = 0
        while have < size:
            if not self._rest:
                # A chunk may be empty, where a decoder has only the start of a header so far.
                self._rest = next((chunk for chunk in self._chunks if chunk), b"")
                if not self._rest:
                    break
            part, self._rest = self._rest[: size - have], self._rest[size - have :]
            parts.append(part)
            have += len(part)
        return b"".join(parts)


def gunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the content of a gzip stream of any number of members; ValueError when broken."""
    decoder = zlib.decompressobj(wbits=31)
    started = False
    for chunk in chunks:
        data = chunk
        while data:
            started = True
            try:
                yield decoder.decompress(data)
            except zlib.error as error:
                raise ValueError(f"not a gzip stream: {error}") from error
            data = decoder.unused_data
            if decoder.eof:
                decoder, started = zlib.decompressobj(wbits=31), bool(data)
    if started:
        raise ValueError("the gzip stream ends too early")


def members(tar: Iterable[bytes], forbidden: tuple[bytes, ...] = ()) -> Iterator[Member]:
    """Yield the members of an uncompressed layer; ValueError when it is not a tar archive."""
    stream = cast("IO[bytes]", _Stream(tar))
    try:
        with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as archive:
            for info in archive:
                yield _member(archive, info, forbidden)
    except tarfile.TarError as error:
        raise ValueError(f"not a tar archive: {error}") from error


def apply(lower: dict[str, Node], layer: Iterable[Member]) -> dict[str, Node]:
    """Return *lower* with *layer* over it; paths without slashes at their ends."""
    tree = dict(lower)
    own: dict[str, Node] = {}
    for member in layer:
        folder, _, name = member.path.rpartition("/")
        if name == _OPAQUE:
            _remove(tree, folder, keep=own)
        elif name.startswith(_WHITEOUT):
            hidden = f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/")
            tree.pop(hidden, None)
            _remove(tree, hidden, keep=own)
        else:
            node = tree[member.hard_link] if member.hard_link else member.node
            before = tree.get(member.path)
            if before is not None and before.kind == "folder" and node.kind != "folder":
                _remove(tree, member.path, keep={})
            tree[member.path] = own[member.path] = node
    return tree


def _remove(tree: dict[str, Node], folder: str, keep: dict[str, Node]) -> None:
    below = f"{folder}/"
    for path in [path for path in tree if path.startswith(below) and path not in keep]:
        del tree[path]


def _member(
    archive: tarfile.TarFile, info: tarfile.TarInfo, forbidden: tuple[bytes, ...]
) -> Member:
    kind: Kind = "other"
    if info.isreg() or info.islnk():
        kind = "file"
    elif info.isdir():
        kind = "folder"
    elif info.issym():
        kind = "link"
    sha256 = ""
    found: tuple[bytes, ...] = ()
    if info.isreg():
        sha256, found = _read(archive, info, forbidden)
    return Member(
        path=info.name.removeprefix("./").rstrip("/"),
        node=Node(
            kind=kind,
            mode=info.mode,
            mtime=int(info.mtime),
            size=info.size if info.isreg() else 0,
            sha256=sha256,
            target=info.linkname if info.issym() else "",
        ),
        hard_link=info.linkname if info.islnk() else "",
        owner=(info.uid, info.gid, info.uname, info.gname),
        leftovers=found,
    )


def _read(
    archive: tarfile.TarFile, info: tarfile.TarInfo, forbidden: tuple[bytes, ...]
) -> tuple[str, tuple[bytes, ...]]:
    content = archive.extractfile(info)
    if content is None:
        raise ValueError(f"{info.name} has no content")
    digest = hashlib.sha256()
    longest = max(map(len, forbidden), default=0)
    found = set[bytes]()
    tail = b""
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
        if forbidden:
            window = tail + chunk
            found.update(text for text in forbidden if text in window)
            tail = window[-longest:]
    return digest.hexdigest(), tuple(sorted(found))


def read_files(archive: IO[bytes]) -> dict[str, bytes]:
    """Return the files of an uncompressed archive that may lack its end mark, by path.

    ValueError when it is none.
    """
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            members = [member for member in tar if member.isreg()]
            found = [(member.name, tar.extractfile(member)) for member in members]
            return {name: file.read() for name, file in found if file is not None}
    except tarfile.TarError as error:
        raise ValueError(str(error)) from error

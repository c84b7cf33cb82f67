"""Entries of a layer: files, links and folders as values, and what no entry may be.

Paths are relative to the root of the image, without a leading slash: ``opt/env/bin/python``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

PREFIX = "/opt/env"
"""Where every image has its environment; one prefix for all, so that all can share layers."""

ROOT = PREFIX.removeprefix("/")
"""`PREFIX` as the path of an entry."""

CONSTANT_TIME = 315532800
"""1980-01-01T00:00:00Z, for what has no time of its own: the first moment that zip can express."""

MAX_TIME = 8**11 - 1
"""The last second that eleven octal digits of a tar header can express."""

Content = Callable[[], Iterator[bytes]]
"""How to read a file from its start, as often as needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A regular file; *mtime* in seconds since 1970 UTC."""

    path: str
    size: int
    executable: bool
    mtime: int
    content: Content = field(compare=False, repr=False)
    inode: int = 0
    """Files of one package with the same number, other than 0, are one file with several names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HardLink:
    """A second name of *target*, a `File` of the same package whose path sorts first."""

    path: str
    target: str
    executable: bool
    mtime: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftLink:
    """A symbolic link; *target* is kept as it was written."""

    path: str
    target: str
    mtime: int


Entry = File | HardLink | SoftLink


def file_of(path: str, data: bytes, *, executable: bool = False, mtime: int = 0) -> File:
    """Return a file entry with *data*; without a time it gets `CONSTANT_TIME`."""
    return File(
        path=path,
        size=len(data),
        executable=executable,
        mtime=mtime or CONSTANT_TIME,
        content=lambda: iter((data,)),
    )


def with_hard_links(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return *entries* of one package sorted by path, further names of a file as hard links."""
    first: dict[int, File] = {}
    found: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: sort_key(entry.path)):
        if not isinstance(entry, File) or not entry.inode:
            found.append(entry)
            continue
        target = first.setdefault(entry.inode, entry)
        if target is entry:
            found.append(entry)
        else:
            found.append(
                HardLink(
                    path=entry.path,
                    target=target.path,
                    executable=target.executable,
                    mtime=target.mtime,
                )
            )
    return tuple(found)


def sort_key(path: str) -> bytes:
    """The one order of entries: the bytes of their paths."""
    return path.encode()


def parents(paths: Iterable[str]) -> tuple[str, ...]:
    """Return every folder above *paths*, each once, sorted."""
    found = set[str]()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return tuple(sorted(found, key=sort_key))


def path_fault(path: str) -> str:
    """Say why *path*, relative to the prefix, cannot be in an image; '' when it can."""
    if not path or path.startswith("/"):
        return "is not a path inside the environment"
    if "\0" in path or not _is_text(path):
        return "has characters that a file name cannot have"
    for part in path.split("/"):
        if part in {"", ".", ".."}:
            return "leads out of the environment, or is not in its plain form"
        if part.startswith(".wh."):
            # https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
            return "has a name that image layers give a meaning to (a whiteout)"
        if len(part.encode()) > 255:
            return "has a name longer than 255 bytes"
    return ""


def link_fault(path: str, target: str) -> str:
    """Say why a link at *path* (relative to the prefix) to *target* is refused; '' when it is fine.

    Links stay inside the environment whatever else is there, so they are judged by their text.
    """
    if not target or "\0" in target or not _is_text(target):
        return "is a link without a usable target"
    if target.startswith("/"):
        return f"is a link to the absolute path {target}"
    depth = path.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
        elif part not in {"", "."}:
            depth += 1
        if depth < 0:
            return f"is a link to {target}, which is outside of the environment"
    return ""


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True

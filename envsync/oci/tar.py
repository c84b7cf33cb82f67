"""Tar headers, written by ourselves so that their bytes never depend on a library's version.

USTAR, with a PAX header before it only where a path, a link target or a size does not fit.
Sources: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html and
https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envsync.errors import InvalidInput
from envsync.oci.entry import CONSTANT_TIME, MAX_TIME, Entry, File, HardLink, SoftLink

BLOCK = 512
END = b"\0" * (2 * BLOCK)
"""The end mark of an archive: two empty blocks."""

_NAME = 100
_PREFIX = 155
_MAX_SIZE = 8**11 - 1
_FILE, _HARD_LINK, _SOFT_LINK, _DIRECTORY, _PAX = b"0", b"1", b"2", b"5", b"x"


def directory_header(path: str) -> bytes:
    """Return the header of a folder; all folders have one mode and one time."""
    return _header(f"{path}/", _DIRECTORY, mode=0o755, mtime=CONSTANT_TIME)


def entry_header(entry: Entry) -> bytes:
    """Return the header blocks of an entry, PAX blocks included."""
    match entry:
        case File():
            mode = 0o755 if entry.executable else 0o644
            return _header(entry.path, _FILE, mode=mode, mtime=entry.mtime, size=entry.size)
        case HardLink():
            mode = 0o755 if entry.executable else 0o644
            return _header(
                entry.path, _HARD_LINK, mode=mode, mtime=entry.mtime, target=entry.target
            )
        case SoftLink():
            return _header(
                entry.path, _SOFT_LINK, mode=0o777, mtime=entry.mtime, target=entry.target
            )


def entry_stream(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield headers and contents of *entries*, in the order given, without an end mark.

    Raises InvalidInput when a file's size is not what its entry says.
    """
    for entry in entries:
        yield entry_header(entry)
        if isinstance(entry, File):
            yield from _content(entry)


def directory_stream(paths: Iterable[str]) -> Iterator[bytes]:
    """Yield headers of folders."""
    for path in paths:
        yield directory_header(path)


def _content(entry: File) -> Iterator[bytes]:
    size = 0
    for chunk in entry.content():
        size += len(chunk)
        yield chunk
    if size != entry.size:
        raise InvalidInput(
            f"{entry.path} changed while it was read",
            detail=f"It had {entry.size} bytes and has {size} now.",
        )
    if rest := size % BLOCK:
        yield b"\0" * (BLOCK - rest)


def _header(
    path: str, kind: bytes, *, mode: int, mtime: int, size: int = 0, target: str = ""
) -> bytes:
    records: dict[str, str] = {}
    name, prefix = _split(path)
    if not name:
        records["path"] = path
        name = path.encode(errors="replace")[:_NAME]
    link = target.encode()
    if len(link) > _NAME or not target.isascii():
        records["linkpath"] = target
        link = link[:_NAME]
    if size > _MAX_SIZE:
        records["size"] = str(size)
    fixed = 0 if "size" in records else size
    block = _block(name, prefix, kind, mode, min(max(mtime, 0), MAX_TIME), fixed, link)
    return _pax(records) + block if records else block


def _split(path: str) -> tuple[bytes, bytes]:
    """Return USTAR's (name, prefix) for *path*; (b"", b"") when only PAX can say it."""
    raw = path.encode()
    if not path.isascii():
        return b"", b""
    if len(raw) <= _NAME:
        return raw, b""
    # The first slash that leaves a name that fits; the slash of a folder's end is no separator.
    slash = raw.find(b"/", len(raw) - _NAME - 1, len(raw) - 1)
    if 0 < slash <= _PREFIX:
        return raw[slash + 1 :], raw[:slash]
    return b"", b""


def _pax(records: dict[str, str]) -> bytes:
    data = b"".join(_pax_record(key, value) for key, value in sorted(records.items()))
    block = _block(b"././@PaxHeader", b"", _PAX, 0o644, 0, len(data), b"")
    return block + data + b"\0" * (-len(data) % BLOCK)


def _pax_record(key: str, value: str) -> bytes:
    """Return ``"<length> key=value\\n"``; the length counts its own digits."""
    rest = f" {key}={value}\n".encode()
    length = len(rest)
    while (total := len(rest) + len(str(length))) != length:
        length = total
    return str(length).encode() + rest


def _block(
    name: bytes, prefix: bytes, kind: bytes, mode: int, mtime: int, size: int, link: bytes
) -> bytes:
    before = b"".join(
        (
            name.ljust(_NAME, b"\0"),
            b"%07o\0" % mode,
            b"0000000\0" * 2,  # uid, gid
            b"%011o\0" % size,
            b"%011o\0" % mtime,
        )
    )
    after = b"".join(
        (
            kind,
            link.ljust(_NAME, b"\0"),
            b"ustar\x0000",
            b"\0" * 64,  # user and group name
            b"0000000\0" * 2,  # device numbers
            prefix.ljust(_PREFIX, b"\0"),
            b"\0" * 12,
        )
    )
    checksum = sum(before) + sum(after) + 8 * ord(" ")
    return before + b"%06o\0 " % checksum + after

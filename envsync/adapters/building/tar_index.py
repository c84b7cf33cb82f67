"""Reading tar: where each member of an archive stands, found while its bytes go past.

Only what packages of conda hold is understood: files, links and folders, in ustar, GNU and pax
headers. Contents stay where they are, to be read in any order.
Source: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["file", "hard link", "soft link", "folder", "other"]

_BLOCK = 512
_KINDS: dict[int, Kind] = {
    0: "file",
    ord("0"): "file",
    ord("7"): "file",
    ord("1"): "hard link",
    ord("2"): "soft link",
    ord("5"): "folder",
}
_LONG_NAME, _LONG_LINK = ord("L"), ord("K")
_PAX, _PAX_GLOBAL = ord("x"), ord("g")
_META = frozenset({_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL})
_META_MAX = 1 << 20
"""Bytes of a header's extension: names are at most a few thousand bytes long."""


class BrokenTar(ValueError):
    """The archive is not one that can be read."""


@dataclass(slots=True)
class TarMember:
    """A member as its header tells it."""

    kind: Kind
    size: int
    mode: int
    mtime: int
    """Seconds since 1970 UTC."""
    target: str
    """Of a link."""
    offset: int
    """Where its content begins in the uncompressed archive."""


class TarIndex:
    """Takes an uncompressed archive chunk by chunk; `members` then has what is in it, by name.

    The last of two members with one name counts, as it would when the archive is unpacked.
    """

    def __init__(self) -> None:
        self.members: dict[str, TarMember] = {}
        self._position = 0
        self._header = bytearray()
        self._skip = 0
        self._wanted = 0
        """Bytes of a header's extension that are still to come."""
        self._meta = bytearray()
        self._meta_kind = 0
        self._long_name = ""
        self._long_link = ""
        self._pax: dict[str, str] = {}
        self._pax_global: dict[str, str] = {}
        self._ended = False

    def feed(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes; BrokenTar when they cannot be understood."""
        start, length = 0, len(chunk)
        while start < length and not self._ended:
            if self._skip:
                step = min(self._skip, length - start)
                if self._wanted:
                    taken = min(self._wanted, step)
                    self._meta += chunk[start : start + taken]
                    self._wanted -= taken
                self._skip -= step
                start += step
                self._position += step
                if not self._skip and self._meta_kind:
                    self._extend()
                continue
            if not self._header and length - start >= _BLOCK:
                block = bytes(chunk[start : start + _BLOCK])
                start += _BLOCK
                self._position += _BLOCK
            else:
                step = min(_BLOCK - len(self._header), length - start)
                self._header += chunk[start : start + step]
                start += step
                self._position += step
                if len(self._header) < _BLOCK:
                    return
                block = bytes(self._header)
                self._header.clear()
            self._take(block)

    def finish(self) -> None:
        """Say that there are no more bytes; BrokenTar when something is missing."""
        if self._skip or self._header:
            raise BrokenTar("it ends in the middle of a member")

    def _take(self, block: bytes) -> None:
        if block.count(0) == _BLOCK:
            self._ended = True
            return
        stated = _number(block[148:156])
        if sum(block) - sum(block[148:156]) + 256 != stated:
            raise BrokenTar("a header's checksum is wrong")
        kind = block[156]
        size = _number(block[124:136])
        if kind in _META:
            if size > _META_MAX:
                raise BrokenTar("a header is too long")
            self._meta_kind, self._wanted = kind, size
            self._meta.clear()
            self._skip = _padded(size)
            if not size:
                self._extend()
            return
        self._member(block, kind, size)

    def _member(self, block: bytes, kind: int, size: int) -> None:
        name, target = _text(block[:100]), _text(block[157:257])
        if block[257:263] == b"ustar\0" and block[345]:
            name = f"{_text(block[345:500])}/{name}"
        name = self._long_name or name
        target = self._long_link or target
        mtime: int | None = None
        if self._pax or self._pax_global:
            pax = {**self._pax_global, **self._pax}
            if any(key.startswith("GNU.sparse") for key in pax):
                raise BrokenTar(f"{name!r} is a sparse file")
            name, target = pax.get("path", name), pax.get("linkpath", target)
            size = int(pax.get("size", size))
            mtime = _time(pax["mtime"]) if "mtime" in pax else None
            self._pax = {}
        self._long_name = self._long_link = ""
        if name.startswith("/") or ".." in name.split("/"):
            raise BrokenTar(f"{name!r} leads out of the archive")
        found = _KINDS.get(kind, "other")
        if size < 0:
            raise BrokenTar(f"{name!r} has a size below zero")
        if found != "file":
            # A size beside a link or a folder says nothing of bytes that follow.
            size = size if found == "other" else 0
        clean = name.rstrip("/") if found == "folder" else name
        self.members[clean.removeprefix("./")] = TarMember(
            found,
            size,
            _number(block[100:108]),
            _number(block[136:148]) if mtime is None else mtime,
            target,
            self._position,
        )
        self._skip = _padded(size)

    def _extend(self) -> None:
        kind, data = self._meta_kind, bytes(self._meta)
        self._meta_kind = 0
        if kind == _LONG_NAME:
            self._long_name = _text(data)
        elif kind == _LONG_LINK:
            self._long_link = _text(data)
        elif kind == _PAX:
            self._pax = _records(data)
        else:
            self._pax_global |= _records(data)


def _padded(size: int) -> int:
    return (size + _BLOCK - 1) // _BLOCK * _BLOCK


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="surrogateescape")


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU's binary form of what eight octal digits do not hold
        value = int.from_bytes(field, "big")
        bits = 8 * len(field)
        return value - (1 << bits) if field[0] == 0xFF else value - (1 << (bits - 1))
    try:
        return int(field.split(b"\0", 1)[0].strip() or b"0", 8)
    except ValueError as error:
        raise BrokenTar(f"a header has {field!r} where a number stands") from error


def _time(text: str) -> int:
    try:
        return int(text.partition(".")[0])
    except ValueError as error:
        raise BrokenTar(f"a header has {text!r} where a time stands") from error


def _records(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    while data:
        length, _, _ = data.partition(b" ")
        try:
            size = int(length)
        except ValueError as error:
            raise BrokenTar("a header's extension is broken") from error
        record = data[len(length) + 1 : size]
        if size <= len(length) + 1 or size > len(data) or not record.endswith(b"\n"):
            raise BrokenTar("a header's extension is broken")
        key, equals, value = record[:-1].partition(b"=")
        if not equals:
            raise BrokenTar("a header's extension is broken")
        text = value.decode(errors="surrogateescape")
        found[key.decode(errors="surrogateescape")] = text
        data = data[size:]
    return found

"""The record of a version: an annotated git tag ``env/<name>/<version>``, as values.

The tag's message is one readable line, an empty line, then canonical JSON. Nothing in it comes from
a clock or a run, so that two racers who made the same version make the same tag object.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from envsync.model.canonical import Json, canonical_json
from envsync.model.json_text import read_json
from envsync.model.names import is_name, is_version

TAG_PREFIX = "env/"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One version of one environment: what it is and which commit it was built from."""

    name: str
    version: str
    definition: str
    """Definition hash, 64 hexadecimal digits."""
    request: str
    digest: str
    """``sha256:…`` of the manifest or index that ``<repository>:<version>`` names."""
    platforms: tuple[str, ...]
    lock_sha256: str
    base_digest: str
    format: int
    commit: str = ""
    """The commit the tag points at; not part of the message."""
    created: int = 0
    """The tagger's date in seconds since 1970 UTC: the commit's, or a second after the record
    before it, whichever is later. Not part of the message."""

    @property
    def tag(self) -> str:
        """The git tag's name."""
        return f"{TAG_PREFIX}{self.name}/{self.version}"

    def message(self) -> str:
        """Return the tag's message; `parse_record` reads it back."""
        document: Json = {
            "name": self.name,
            "version": self.version,
            "definition": self.definition,
            "request": self.request,
            "digest": self.digest,
            "platforms": list(self.platforms),
            "lock_sha256": self.lock_sha256,
            "base_digest": self.base_digest,
            "format": self.format,
        }
        return (
            f"envsync: {self.name} version {self.version} is {self.digest}\n\n"
            f"{canonical_json(document).decode()}\n"
        )


def parse_record(tag: str, message: str, *, commit: str, created: int) -> Record:
    """Read a record from a tag's name and message; ValueError says what is wrong."""
    name, _, version = tag.removeprefix(TAG_PREFIX).rpartition("/")
    if not is_name(name) or not is_version(version):
        raise ValueError(f"{tag} is not env/<name>/<version>")
    _, _, body = message.partition("\n\n")
    # A signed tag carries its signature after the JSON line.
    lines = body.strip().splitlines()
    if not lines:
        raise ValueError(f"{tag} has no record in its message")
    try:
        document = read_json(lines[0])
        record = Record(
            name=str(document["name"]),
            version=str(document["version"]),
            definition=str(document["definition"]),
            request=str(document["request"]),
            digest=str(document["digest"]),
            platforms=tuple(map(str, document["platforms"])),
            lock_sha256=str(document["lock_sha256"]),
            base_digest=str(document["base_digest"]),
            format=int(document["format"]),
            commit=commit,
            created=created,
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{tag} has a message that is not a record: {error}") from error
    # These become parts of URLs and of paths in the cache.
    for key, form, found in (
        ("definition", _SHA256, record.definition),
        ("digest", _DIGEST, record.digest),
        ("base_digest", _DIGEST, record.base_digest or record.digest),
    ):
        if not form.fullmatch(found):
            raise ValueError(f"{tag} records {key} as {found[:80]!r}")
    if (record.name, record.version) != (name, version):
        raise ValueError(f"{tag} records {record.name} {record.version}")
    return record

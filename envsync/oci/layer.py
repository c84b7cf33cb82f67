"""Layers: concatenated segments, with a segment of folders before them and an end mark after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from envsync.errors import InvalidInput
from envsync.model.canonical import Json, canonical_json, hash_json
from envsync.model.definition import FORMAT, PackageIdentity
from envsync.model.json_text import read_json
from envsync.oci.codec import GZIP, Codec
from envsync.oci.descriptor import Descriptor, is_digest
from envsync.oci.entry import PREFIX, parents, sort_key
from envsync.oci.gzip import cut
from envsync.oci.segment import Segment
from envsync.oci.tar import END, directory_stream

KEY = "io.envsync.layer.key"
"""Annotation of a layer: what decides its bytes, so that an equal layer need not be built."""
DIFF_ID = "io.envsync.layer.diff-id"
"""Annotation of a layer: the digest of its uncompressed bytes, as in the image's config."""
MEMBERS = "io.envsync.layer.members"
"""Annotation of a layer: JSON list of its segments in order, each with its sizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer before its bytes exist."""

    segments: tuple[Segment, ...]
    """In name order."""
    codec: Codec = GZIP

    @property
    def key(self) -> str:
        """What decides the layer's bytes, 64 hexadecimal digits."""
        return layer_key([segment.key for segment in self.segments], self.codec)

    @property
    def comment(self) -> str:
        """What the layer holds, for the image's history."""
        names = [
            f"{s.package.name}={s.package.version}" for s in self.segments if s.package is not None
        ]
        return ", ".join(names) or "environment"

    @property
    def size(self) -> int:
        """Bytes of archives in the layer, for ordering the work."""
        return sum(segment.archive_size for segment in self.segments)

    def folders(self) -> tuple[str, ...]:
        """Return all folders of the layer, each once, parents first."""
        explicit = {folder for segment in self.segments for folder in segment.folders}
        above = parents([*explicit, *(path for segment in self.segments for path in segment.paths)])
        return tuple(sorted({*explicit, *above}, key=sort_key))

    def opening(self) -> Iterator[bytes]:
        """Yield the segment of folders in the uncompressed pieces that become members."""
        return cut(directory_stream(self.folders()))

    def check(self) -> None:
        """Refuse a path that would be in the layer twice; dockerd refuses to pull such a layer."""
        seen = set(self.folders())
        for segment in self.segments:
            for path in segment.paths:
                if path in seen:
                    raise InvalidInput(
                        f"/{path} is provided twice",
                        detail=f"A package of the layer {self.comment} has it a second time.",
                    )
                seen.add(path)


def layer_key(segments: list[str], codec: Codec) -> str:
    """Return the key of a layer that consists of the segments with these keys."""
    return hash_json({"format": FORMAT, **codec.mark, "prefix": PREFIX, "segments": list(segments)})


def closing(codec: Codec) -> bytes:
    """Return the compressed end mark of every layer."""
    return codec.member(END)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What is known of a segment whose bytes exist; sizes in compressed bytes."""

    size: int
    head_size: int
    head_sha256: str
    """Of the head's compressed bytes, 64 hexadecimal digits: a head can be believed by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A segment as a layer's annotation lists it."""

    key: str
    packed: Packed
    package: PackageIdentity | None = None
    archive_size: int = 0
    excluded: tuple[str, ...] = ()

    @classmethod
    def of(cls, segment: Segment, packed: Packed) -> Member:
        """Return *segment* as a member of a layer."""
        return cls(
            key=segment.key,
            packed=packed,
            package=segment.package,
            archive_size=segment.archive_size,
            excluded=segment.excluded,
        )

    def document(self) -> Json:
        """Return the member as it stands in the annotation."""
        packed = self.packed
        document: dict[str, Json] = {"key": self.key, "size": packed.size}
        if self.package is not None:
            document["package"] = self.package.document()
            document["archive_size"] = self.archive_size
            document["head"] = [packed.head_size, packed.head_sha256]
        if self.excluded:
            document["excluded"] = list(self.excluded)
        return document

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Member:
        """Read a member; KeyError, TypeError or ValueError when it is none."""
        package = document.get("package")
        head = document["head"] if package is not None else (0, "")
        return cls(
            key=str(document["key"]),
            packed=Packed(
                size=int(document["size"]), head_size=int(head[0]), head_sha256=str(head[1])
            ),
            package=None if package is None else PackageIdentity(**package),
            archive_size=int(document.get("archive_size", 0)),
            excluded=tuple(map(str, document.get("excluded", ()))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLayer:
    """A layer whose bytes are known: what the manifest and the config say of it."""

    key: str
    descriptor: Descriptor
    """Without annotations."""
    diff_id: str
    members: tuple[Member, ...]
    comment: str

    def annotated(self) -> Descriptor:
        """Return the descriptor with what a later build needs to use the blob again."""
        return Descriptor(
            media_type=self.descriptor.media_type,
            digest=self.descriptor.digest,
            size=self.descriptor.size,
            annotations={
                KEY: self.key,
                DIFF_ID: self.diff_id,
                MEMBERS: canonical_json([member.document() for member in self.members]).decode(),
            },
        )

    def offset(self, number: int, codec: Codec) -> int:
        """Return where the segment of member *number* begins in the layer's bytes."""
        after = sum(member.packed.size for member in self.members[number:])
        return self.descriptor.size - len(closing(codec)) - after

    @classmethod
    def parse(cls, descriptor: Descriptor, codec: Codec) -> WrittenLayer | None:
        """Read a layer from a manifest; None when it is none of ours in this format and codec."""
        notes = descriptor.annotations
        try:
            members = tuple(Member.parse(member) for member in read_json(notes[MEMBERS]))
            diff_id = notes[DIFF_ID]
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        if descriptor.media_type != codec.media_type or not is_digest(diff_id):
            return None
        key = layer_key([member.key for member in members], codec)
        if key != notes.get(KEY):
            return None
        names = [f"{m.package.name}={m.package.version}" for m in members if m.package is not None]
        return cls(
            key=key,
            descriptor=Descriptor(
                media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size
            ),
            diff_id=diff_id,
            members=members,
            comment=", ".join(names) or "environment",
        )

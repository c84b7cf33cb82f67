"""Layers: concatenated segments, with a segment of folders before them and an end mark after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from envsync.errors import InvalidInput
from envsync.model.canonical import Json, canonical_json, hash_json
from envsync.model.definition import FORMAT
from envsync.oci.descriptor import Descriptor
from envsync.oci.entry import PREFIX, parents, sort_key
from envsync.oci.gzip import cut
from envsync.oci.segment import Segment
from envsync.oci.tar import END, directory_stream

KEY = "io.envsync.layer.key"
"""Annotation of a layer: what decides its bytes, so that an equal layer need not be built."""
DIFF_ID = "io.envsync.layer.diff-id"
"""Annotation of a layer: the digest of its uncompressed bytes, as in the image's config."""
MEMBERS = "io.envsync.layer.members"
"""Annotation of a layer: JSON list of its segments in order, with compressed sizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer before its bytes exist."""

    segments: tuple[Segment, ...]
    """In name order."""

    @property
    def key(self) -> str:
        """What decides the layer's bytes, 64 hexadecimal digits."""
        return hash_json(
            {
                "format": FORMAT,
                "prefix": PREFIX,
                "segments": [segment.key for segment in self.segments],
            }
        )

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
        above = parents(
            [*explicit, *(entry.path for segment in self.segments for entry in segment.entries)]
        )
        return tuple(sorted({*explicit, *above}, key=sort_key))

    def check(self) -> None:
        """Refuse a path that would be in the layer twice; dockerd refuses to pull such a layer."""
        seen = set(self.folders())
        for segment in self.segments:
            for entry in segment.entries:
                if entry.path in seen:
                    raise InvalidInput(
                        f"/{entry.path} is provided twice",
                        detail=f"A package of the layer {self.comment} has it a second time.",
                    )
                seen.add(entry.path)

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Yield (part, piece): part 0 is the folders, then the segments, then the end mark."""
        for piece in cut(directory_stream(self.folders())):
            yield 0, piece
        for number, segment in enumerate(self.segments, start=1):
            for piece in segment.pieces():
                yield number, piece
        yield len(self.segments) + 1, END


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLayer:
    """A layer whose bytes are known: what the manifest and the config say of it."""

    layer: Layer
    descriptor: Descriptor
    """Without annotations."""
    diff_id: str
    part_sizes: tuple[int, ...]
    """Compressed bytes of the folders, of each segment, and of the end mark."""

    def annotated(self) -> Descriptor:
        """Return the descriptor with what a later build needs to use the blob again."""
        members: list[Json] = [
            _member(segment, size)
            for segment, size in zip(self.layer.segments, self.part_sizes[1:-1], strict=True)
        ]
        return Descriptor(
            media_type=self.descriptor.media_type,
            digest=self.descriptor.digest,
            size=self.descriptor.size,
            annotations={
                KEY: self.layer.key,
                DIFF_ID: self.diff_id,
                MEMBERS: canonical_json(members).decode(),
            },
        )


def _member(segment: Segment, size: int) -> Json:
    member: dict[str, Json] = {"key": segment.key, "size": size}
    if segment.package is not None:
        member["package"] = segment.package.document()
        member["archive_size"] = segment.archive_size
    if segment.excluded:
        member["excluded"] = list(segment.excluded)
    return member

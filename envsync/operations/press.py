"""The press: segments and layers from packages, each made once, on all cores.

Memory stays flat whatever the size of a package: each segment in work holds a window of pieces of
`envsync.oci.gzip.MEMBER` bytes. Decoding, compressing and hashing release the interpreter lock.
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextlib import closing as closed
from typing import BinaryIO

from envsync.errors import InvalidInput, Unavailable
from envsync.oci.codec import Codec
from envsync.oci.descriptor import Descriptor
from envsync.oci.layer import Layer, Member, WrittenLayer, closing
from envsync.oci.segment import Contents, Segment
from envsync.oci.tar import END
from envsync.ports.builder import BuildCache, SegmentWriter, StoredSegment

_CHUNK = 1 << 20

Source = Callable[[Segment], AbstractContextManager[Contents]]
"""Opens the entries of a segment."""


class Press:
    """Makes segments and layers, keeps them in *cache*; for many builds and threads at once."""

    def __init__(self, cache: BuildCache, cores: int) -> None:
        self.cache = cache
        self.cores = cores
        self._compressors = ThreadPoolExecutor(cores, "compress")
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()
        self.made = 0
        """How many segments were made."""
        self._new = set[str]()
        """Keys of segments that were made, until somebody was told."""
        self._sound = set[str]()
        """Keys of segments that were made by this process, or compared with their hash."""

    def close(self) -> None:
        """End the threads."""
        self._compressors.shutdown(cancel_futures=True)

    def segment(self, segment: Segment, codec: Codec, source: Source) -> StoredSegment:
        """Return a segment, made now if it is not there: whoever comes second waits for it.

        What was made before is read once and compared with its hash; damaged, it is made again.
        """
        with self._turn(segment.key):
            found = self.cache.segment(segment.key)
            if found is not None and not self._is_sound(segment.key, found):
                self.cache.forget(segment.key)
                found = None
            if found is not None:
                return found
            with source(segment) as contents:
                return self._make(segment, codec, contents)

    def make(self, segment: Segment, codec: Codec, contents: Contents) -> StoredSegment:
        """Make a segment whose entries are open, if it is not there."""
        with self._turn(segment.key):
            found = self.cache.segment(segment.key)
            return found or self._make(segment, codec, contents)

    def told_as_made(self, key: str) -> bool:
        """Tell whether this process made a segment; only who asks first is told so."""
        with self._guard:
            if key not in self._new:
                return False
            self._new.remove(key)
            return True

    def layer(self, layer: Layer, source: Source) -> WrittenLayer:
        """Return what a layer comes to; its segments are made when they are not there."""
        with self._turn(layer.key):
            found = self.cache.layer(layer.key, layer.codec)
            if found is not None:
                return found
            stored = [self.segment(one, layer.codec, source) for one in layer.segments]
            # Making a segment tells at once what it comes to as a layer of its own.
            found = self.cache.layer(layer.key, layer.codec)
            return found or self._combined(layer, stored)

    @contextmanager
    def stream(self, layer: Layer, source: Source) -> Iterator[Iterator[bytes]]:
        """Give a layer's bytes; whoever takes them compares their digest."""
        with closed(self._bytes(layer, source)) as chunks:
            yield chunks

    def _bytes(self, layer: Layer, source: Source) -> Generator[bytes]:
        for piece in layer.opening():
            yield layer.codec.member(piece)
        for segment in layer.segments:
            with self.segment(segment, layer.codec, source).open() as file:
                yield from _chunks(file)
        yield closing(layer.codec)

    def _is_sound(self, key: str, stored: StoredSegment) -> bool:
        if key in self._sound:
            return True
        digest = hashlib.sha256()
        try:
            with stored.open() as file:
                for chunk in _chunks(file):
                    digest.update(chunk)
        except FileNotFoundError:
            return False
        if digest.hexdigest() != stored.sha256:
            return False
        self._sound.add(key)
        return True

    def _combined(self, layer: Layer, stored: list[StoredSegment]) -> WrittenLayer:
        """Read segments that are there as one layer."""
        layer.check()
        plain, packed = hashlib.sha256(), hashlib.sha256()
        size = 0
        for piece in layer.opening():
            plain.update(piece)
            data = layer.codec.member(piece)
            packed.update(data)
            size += len(data)
        for one in stored:
            with one.open() as file:
                for piece in layer.codec.expand(_heard(_chunks(file), packed.update)):
                    plain.update(piece)
            size += one.packed.size
        plain.update(END)
        end = closing(layer.codec)
        packed.update(end)
        found = _written(
            layer,
            [Member.of(s, one.packed) for s, one in zip(layer.segments, stored, strict=True)],
            packed.hexdigest(),
            plain.hexdigest(),
            size + len(end),
        )
        self.cache.keep_layer(found)
        return found

    def _make(self, segment: Segment, codec: Codec, contents: Contents) -> StoredSegment:
        alone = Layer(segments=(segment,), codec=codec)
        alone.check()
        there = {entry.path for entry in (*contents.head, *contents.body)}
        if there != set(segment.paths):
            odd = sorted(there.symmetric_difference(segment.paths))
            raise InvalidInput(
                f"{segment.name} is not what it says of itself",
                detail="\n".join(f"/{path}" for path in odd[:20]),
                hint="What it lists and what it holds differ: take another build of it.",
            )
        plain, packed = hashlib.sha256(), hashlib.sha256()
        size = 0
        for piece in alone.opening():
            plain.update(piece)
            data = codec.member(piece)
            packed.update(data)
            size += len(data)
        with self.cache.writing(segment.key) as out:
            size += self._compress(contents, codec, plain.update, packed.update, out)
        plain.update(END)
        end = closing(codec)
        packed.update(end)
        stored = self.cache.segment(segment.key)
        if stored is None:
            raise Unavailable(
                f"what was made of {segment.name} is gone",
                detail="Another process removed it from the cache.",
                hint="Run it again:\n    envsync apply",
            )
        self._sound.add(segment.key)
        self.made += 1
        self._new.add(segment.key)
        member = Member.of(segment, stored.packed)
        self.cache.keep_layer(
            _written(alone, [member], packed.hexdigest(), plain.hexdigest(), size + len(end))
        )
        return stored

    def _compress(
        self,
        contents: Contents,
        codec: Codec,
        hash_plain: Callable[[bytes], object],
        hash_packed: Callable[[bytes], object],
        out: SegmentWriter,
    ) -> int:
        window: deque[tuple[bool, Future[bytes]]] = deque()
        size = 0

        def take() -> int:
            head, future = window.popleft()
            data = future.result()
            out.write(data, head=head)
            hash_packed(data)
            return len(data)

        for head, piece in contents.pieces():
            window.append((head, self._compressors.submit(codec.member, piece)))
            hash_plain(piece)
            if len(window) > 2 * self.cores:
                size += take()
        while window:
            size += take()
        return size

    def _turn(self, key: str) -> threading.Lock:
        with self._guard:
            return self._turns[key]


def _written(
    layer: Layer, members: list[Member], packed: str, plain: str, size: int
) -> WrittenLayer:
    return WrittenLayer(
        key=layer.key,
        descriptor=Descriptor(
            media_type=layer.codec.media_type, digest=f"sha256:{packed}", size=size
        ),
        diff_id=f"sha256:{plain}",
        members=tuple(members),
        comment=layer.comment,
    )


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _heard(chunks: Iterator[bytes], hear: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        hear(chunk)
        yield chunk

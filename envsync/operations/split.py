"""Taking segments out of a layer that a registry has: what did not change is not built again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from envsync.errors import EnvsyncError
from envsync.operations.prior import Prior, PriorSegment
from envsync.ports.builder import BuildCache


def split(segment: PriorSegment, prior: Prior, cache: BuildCache) -> bool:
    """Put all segments of a registry's layer into *cache*; tell whether that worked.

    The layer's digest is verified before any segment counts as there.
    """
    if prior.registry is None:
        return False
    layer = segment.layer
    try:
        with (
            prior.registry.blob(segment.repository, layer.descriptor) as chunks,
            ExitStack() as writing,
        ):
            reader = _Reader(chunks)
            reader.skip(layer.offset(0, prior.codec))
            for member in layer.members:
                out = writing.enter_context(cache.writing(member.key))
                head = member.packed.head_size
                for chunk in reader.parts(head):
                    out.write(chunk, head=True)
                for chunk in reader.parts(member.packed.size - head):
                    out.write(chunk, head=False)
            # The digest is compared at the end; what was written counts when the block is left.
            reader.rest()
    except (EnvsyncError, EOFError):
        return False
    return True


class _Reader:
    """Reads exact amounts from a stream of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def parts(self, amount: int) -> Iterator[bytes]:
        """Yield *amount* bytes in pieces; EOFError when there are fewer."""
        while amount > 0:
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    raise EOFError("the layer is too short")
                self._rest = memoryview(chunk)
                continue
            part, self._rest = self._rest[:amount], self._rest[amount:]
            amount -= len(part)
            yield bytes(part)

    def skip(self, amount: int) -> None:
        """Pass over *amount* bytes."""
        for _ in self.parts(amount):
            pass

    def rest(self) -> None:
        """Read to the end, where the digest is compared."""
        for _ in self._chunks:
            pass

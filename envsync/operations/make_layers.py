"""The layers of one platform, with their bytes: only what nobody has is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from envsync.model.definition import PackageIdentity
from envsync.model.lock import LockedPackage
from envsync.oci.codec import Codec
from envsync.oci.layer import Layer, WrittenLayer
from envsync.operations.parallel import threads
from envsync.operations.press import Press, Source
from envsync.operations.prior import Prior
from envsync.operations.split import split
from envsync.ports.builder import Blob, PackageStore
from envsync.ports.progress import Made, Progress

_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What building is done with; many builds can share it."""

    store: PackageStore
    press: Press


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMaker:
    """What makes the layers of one platform of one environment.

    *packages* are those of the lock, *source* opens a segment's contents, *ready* is told of each
    blob as soon as it can be read, from any thread; *name* and *where* are for *progress*.
    """

    bench: Bench
    prior: Prior
    codec: Codec
    packages: Sequence[LockedPackage]
    source: Source
    ready: Callable[[Blob], object]
    progress: Progress
    name: str
    where: str

    def make(self, layers: Sequence[Layer]) -> list[tuple[WrittenLayer, Blob]]:
        """Return *layers* with their bytes, in the same order; what is known is not made."""
        self.progress.expect(self.name, packages=len(self.packages), layers=len(layers))
        todo = [layer for layer in layers if layer.key not in self.prior.layers]
        for layer in layers:
            if layer.key in self.prior.layers:
                self._tell(self.prior.layers[layer.key], taken=None)
        taken = self._fetch(todo)
        # The largest first, so that no core is left alone with it at the end.
        order = sorted(todo, key=lambda layer: -layer.size)

        def one(layer: Layer) -> tuple[WrittenLayer, Blob]:
            written = self.bench.press.layer(layer, self.source)
            self._tell(written, taken)
            blob = self._blob(layer, written)
            self.ready(blob)
            return written, blob

        with threads(min(_AT_ONCE, self.bench.press.cores)) as pool:
            made = dict(zip((layer.key for layer in order), pool.map(one, order), strict=True))
        found = []
        for layer in layers:
            written = self.prior.layers.get(layer.key)
            if written is None:
                found.append(made[layer.key])
                continue
            blob = self._blob(layer, written)
            self.ready(blob)
            found.append((written, blob))
        return found

    def _fetch(self, layers: Sequence[Layer]) -> frozenset[str]:
        """Bring what *layers* are made of to this machine, all at once.

        Returns the keys of segments that were taken from the registry.
        """
        locked = {PackageIdentity.of(package): package for package in self.packages}
        cache, wanted = self.bench.press.cache, []
        taken = set[str]()
        for layer in layers:
            if cache.layer(layer.key, self.codec) is not None:
                continue
            for segment in layer.segments:
                if segment.package is None or cache.segment(segment.key) is not None:
                    continue
                here = self.prior.segments.get(segment.key)
                package = locked[segment.package]
                if here is not None and not self.bench.store.is_here(package):
                    # A package that did not change, in a layer that did.
                    self.progress.step(self.name, f"taking {segment.name} from the registry")
                    if split(here, self.prior, cache):
                        # All of the layer's segments came with it.
                        taken |= {member.key for member in here.layer.members}
                        continue
                wanted.append(package)
        if away := [package for package in wanted if not self.bench.store.is_here(package)]:
            self.progress.step(self.name, f"fetching {len(away)} packages")
        self.bench.store.fetch(wanted)
        if wanted:
            self.progress.step(self.name, f"compressing {len(wanted)} packages for {self.where}")
        return frozenset(taken)

    def _tell(self, written: WrittenLayer, taken: frozenset[str] | None) -> None:
        """Tell of each package of a layer where it came from; *taken* is None for a layer that
        the registry has.
        """
        for member in written.members:
            if member.package is None:
                continue
            made: Made = "cache"
            if taken is None or member.key in taken:
                made = "registry"
            elif self.bench.press.told_as_made(member.key):
                made = "built"
            what = f"{member.package.name} {member.package.version}"
            self.progress.package(self.name, what, made, member.packed.size)

    def _blob(self, layer: Layer, written: WrittenLayer) -> Blob:
        def read() -> AbstractContextManager[Iterator[bytes]]:
            return self.bench.press.stream(layer, self.source)

        return Blob(descriptor=written.descriptor, open=read)

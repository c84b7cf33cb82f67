"""Describing packages: what each places, from what is known already where that is possible.

Asked in this order: this machine's cache, the heads of segments that the registry has, the packages
themselves. So a machine with an empty disk fetches only packages that nobody built before.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from envsync.model.definition import PackageIdentity
from envsync.model.lock import LockedPackage
from envsync.oci.codec import Codec
from envsync.oci.inventory import Inventory, Python, inventory_of_head
from envsync.oci.overlay import read_files
from envsync.oci.segment import Contents, Segment, segment_key
from envsync.operations.parallel import threads
from envsync.operations.press import Press
from envsync.operations.prior import Prior
from envsync.ports.builder import PackageStore

_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Describer:
    """Describes the packages of one platform."""

    store: PackageStore
    press: Press
    prior: Prior
    codec: Codec
    platform: str
    scratch: Path
    built: Callable[[PackageIdentity], None]
    """Told of packages that had to be compressed to be described."""

    def describe(self, packages: Sequence[LockedPackage]) -> tuple[list[Inventory], Python | None]:
        """Return the inventories of *packages*, in their order, and the interpreter."""
        identities = [PackageIdentity.of(package) for package in packages]
        # The interpreter first: where other packages' files go depends on it.
        first = [p for p in packages if p.manager == "conda" and p.name == "python"]
        known = self._all(first, None)
        python = next((one.python for one in known.values() if one.python is not None), None)
        rest = [package for package in packages if package not in first]
        known |= self._all(rest, python)
        return [known[identity] for identity in identities], python

    def _all(
        self, packages: Sequence[LockedPackage], python: Python | None
    ) -> dict[PackageIdentity, Inventory]:
        known: dict[PackageIdentity, Inventory] = {}
        missing: list[LockedPackage] = []
        for package in packages:
            identity = PackageIdentity.of(package)
            found = self.press.cache.inventory(identity, self._key(identity, python))
            if found is None:
                missing.append(package)
            else:
                known[identity] = found
        if not missing:
            return known
        with threads(_AT_ONCE) as pool:
            told = list(pool.map(lambda package: self._from_head(package, python), missing))
        pairs = list(zip(missing, told, strict=True))
        self.store.fetch([package for package, found in pairs if found is None])
        with threads(self.press.cores) as pool:
            described = pool.map(lambda pair: pair[1] or self._from_package(pair[0], python), pairs)
            for package, inventory in zip(missing, described, strict=True):
                identity = PackageIdentity.of(package)
                self.press.cache.keep_inventory(self._key(identity, python), inventory)
                known[identity] = inventory
        return known

    def _key(self, package: PackageIdentity, python: Python | None) -> str:
        return segment_key(package, python, (), self.codec)

    def _from_head(self, package: LockedPackage, python: Python | None) -> Inventory | None:
        identity = PackageIdentity.of(package)
        for segment in self.prior.packages.get(identity, ()):
            member = segment.member
            # A segment for another interpreter places its files elsewhere.
            if segment_key(identity, python, member.excluded, self.codec) != member.key:
                continue
            packed = self.prior.head(segment)
            if packed is None:
                continue
            try:
                plain = b"".join(self.codec.expand(iter((packed,))))
                files = read_files(io.BytesIO(plain))
                found = inventory_of_head(identity, member.archive_size, files, python)
            except (ValueError, KeyError, TypeError):
                continue
            if found is not None:
                return found
        return None

    def _from_package(self, package: LockedPackage, python: Python | None) -> Inventory:
        found = self.store.inventory(package, python)
        if found is not None:
            return found
        # Only the contents tell. They are compressed on the way, for they will be needed.
        identity = PackageIdentity.of(package)
        nothing: frozenset[str] = frozenset()
        with self.store.open(package, python, self.platform, nothing, self.scratch) as opened:
            size, contents = opened
            inventory = inventory_of_head(identity, size, _files(contents), python)
            if inventory is None:
                raise ValueError(f"{identity.name} does not tell what it places")
            segment = Segment(
                key=self._key(identity, python),
                package=identity,
                archive_size=size,
                paths=inventory.paths,
                folders=inventory.folders,
            )
            self.press.make(segment, self.codec, contents)
        self.built(identity)
        return inventory


def _files(contents: Contents) -> dict[str, bytes]:
    from envsync.oci.entry import File

    return {
        entry.path: b"".join(entry.content()) for entry in contents.head if isinstance(entry, File)
    }

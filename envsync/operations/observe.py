"""Observe: what git and the registry hold for the environments that a commit asks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from envsync.errors import EnvsyncError, NotAllowed
from envsync.model.lifecycle import Lifecycle
from envsync.model.reading import ABSENT, Present, Reading, Unknown
from envsync.model.record import TAG_PREFIX, Record
from envsync.model.reference import parse_image_reference
from envsync.oci.descriptor import Descriptor
from envsync.operations.desire import Wish
from envsync.operations.parallel import threads
from envsync.planning.diff import version_to_be
from envsync.planning.states import Observed, current, in_order, latest
from envsync.ports.git import Records
from envsync.ports.registry import RegistryReader

_NOTHING_SAID: Mapping[str, Lifecycle] = {}
READS_AT_ONCE = 32
"""Requests under way to the registry; more brings nothing with one connection pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """The registry that envsync keeps, and the others that images are taken from."""

    registry: RegistryReader
    repository: Callable[[str], str]
    """Environment name to repository in the registry."""
    source: Callable[[str], RegistryReader]
    """Registry of an image reference, by its host."""


def observe(
    wishes: Iterable[Wish],
    records: Records,
    registries: Registries,
    lives: Mapping[str, Lifecycle] = _NOTHING_SAID,
) -> Mapping[str, Observed]:
    """Read the registry for *wishes*, all at once; two requests for one that is in sync.

    *lives* is what lifecycle files say, by environment; one that has such a file costs a third.
    """
    by_name: dict[str, list[Record]] = defaultdict(list)
    by_definition: dict[str, list[Record]] = defaultdict(list)
    for record in records.records:
        by_name[record.name].append(record)
        by_definition[record.definition].append(record)
    known = {name: in_order(tuple(found)) for name, found in by_name.items()}

    def one(wish: Wish) -> Observed:
        name = wish.desired.name
        broken = {
            tag: why
            for tag, why in records.broken.items()
            if tag.startswith(f"{TAG_PREFIX}{name}/")
        }
        own = known.get(name, ())
        content, tag = _read(wish, own, registries)
        sibling: Reading[str] = ABSENT
        if content == ABSENT and wish.desired.copied:
            others = by_definition.get(wish.desired.definition_hash, ())
            sibling = _sibling(wish, others, registries)
        seen = Observed(
            name=name,
            records=own,
            content=content,
            version_tag=tag,
            sibling=sibling,
            broken_tags=broken,
            lifecycle=lives.get(name, Lifecycle()),
        )
        return _with_latest(seen, wish, registries) if name in lives else seen

    with threads(READS_AT_ONCE) as pool:
        return {seen.name: seen for seen in pool.map(one, wishes)}


def _read(
    wish: Wish, records: tuple[Record, ...], registries: Registries
) -> tuple[Reading[str], Reading[str]]:
    desired = wish.desired
    if not desired.copied:
        reference = parse_image_reference(desired.image)
        try:
            source = registries.source(reference.registry)
        except (
            EnvsyncError
        ) as error:  # an address that may not be asked, a login that cannot be had
            refused = isinstance(error, NotAllowed)
            why: Literal["not allowed", "unavailable"] = "not allowed" if refused else "unavailable"
            return Unknown(why=why, reason=str(error)), ABSENT
        return _digest(source.head(reference.repository, desired.base_digest)), ABSENT
    repository = registries.repository(desired.name)
    registry = registries.registry
    content = _digest(registry.head(repository, desired.content_tag))
    return content, _digest(registry.head(repository, version_to_be(desired, records)))


def _with_latest(seen: Observed, wish: Wish, registries: Registries) -> Observed:
    if not wish.desired.copied:
        return seen
    registry, repository = registries.registry, registries.repository(seen.name)
    tag = _digest(registry.head(repository, "latest"))
    newest = current(seen.records, seen.lifecycle)
    if (
        newest is None
        or tag == Present(newest.digest)
        or newest.version == version_to_be(wish.desired, seen.records)
    ):
        return replace(seen, latest_tag=tag)
    image = _digest(registry.head(repository, newest.digest))
    return replace(seen, latest_tag=tag, latest_image=image)


def _sibling(wish: Wish, others: Iterable[Record], registries: Registries) -> Reading[str]:
    """Find another environment whose repository still has the definition; git knows which may."""
    newest = latest(tuple(record for record in others if record.name != wish.desired.name))
    if newest is None:
        return ABSENT
    repository = registries.repository(newest.name)
    found = registries.registry.head(repository, wish.desired.content_tag)
    return Present(newest.name) if isinstance(found, Present) else found


def _digest(reading: Reading[Descriptor]) -> Reading[str]:
    if isinstance(reading, Present):
        return Present(reading.value.digest)
    return reading if isinstance(reading, Unknown) else ABSENT

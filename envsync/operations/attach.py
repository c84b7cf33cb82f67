"""Attach: what refers to a version's image in the registry, for people who look there.

Provenance says what the version was made from, a bill of materials for each platform what is in it.
Both follow from the record and its commit, so that everybody who attaches them puts the same bytes.
Nothing depends on them: what cannot be attached is told, and stops nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO

from envsync.errors import Conflict, EnvsyncError, Unavailable
from envsync.failpoints import reach
from envsync.model.canonical import Json, canonical_json
from envsync.model.exports import cyclonedx
from envsync.model.lock import Lock
from envsync.model.names import IMAGE_PLATFORMS
from envsync.model.provenance import MEDIA_TYPE, PREDICATE, provenance
from envsync.model.reading import Present, Unknown
from envsync.model.record import Record
from envsync.oci.descriptor import INDEXES, Descriptor, RawManifest
from envsync.oci.labels import VERSION
from envsync.oci.referrer import Referrer, listed, referrers_tag, with_referrers
from envsync.ports.registry import RegistryReader, RegistryWriter

_ROUNDS = 3
"""How often a list is written anew when somebody else wrote it at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a version was made from."""

    spec_path: str
    lock: Lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Attaching:
    """Attaches to one version after another, and notes what could not be attached."""

    registry: RegistryWriter
    repository: Callable[[str], str]
    made: Callable[[Record], Made]
    notes: dict[str, str] = field(default_factory=dict)
    """By name of the environment, what went wrong."""

    def __call__(self, record: Record, top: RawManifest) -> None:
        """Attach what belongs to a version whose image is *top*; raises no EnvsyncError."""
        try:
            referrers = referrers_of(record, self.made(record), top)
            reach("referrer-put.before")
            attach(referrers, self.registry, self.repository(record.name))
            reach("referrer-put.after")
        except EnvsyncError as error:
            why = " ".join(filter(None, (f"{error.summary}.", error.detail)))
            self.notes[record.name] = f"its provenance is not in the registry: {why}"


def referrers_of(record: Record, made: Made, top: RawManifest) -> tuple[Referrer, ...]:
    """Return what refers to a version and to its image on each platform."""
    statement = provenance(record, made.spec_path, made.lock)
    of_version = Referrer(
        subject=top.descriptor,
        media_type=MEDIA_TYPE,
        document=_document(statement),
        annotations={"in-toto.io/predicate-type": PREDICATE, VERSION: record.version},
    )
    bills = (
        Referrer(
            subject=image,
            media_type=cyclonedx.MEDIA_TYPE,
            document=_document(cyclonedx.bill_of_materials(record.name, made.lock, platform)),
        )
        for platform, image in _images(record, top)
        if made.lock.packages.get(platform)
    )
    return (of_version, *bills)


def attach(referrers: Sequence[Referrer], registry: RegistryWriter, repository: str) -> None:
    """Put *referrers* into *repository*, and into its list where the registry keeps none itself.

    Raises Conflict when that list is something else, NotAllowed and Unavailable.
    """
    unlisted: dict[str, list[Referrer]] = defaultdict(list)
    for one in referrers:
        for descriptor, content in one.blobs:
            if not registry.has_blob(repository, descriptor.digest):
                registry.put_blob(repository, descriptor, _opening(content))
        manifest = one.manifest
        if not registry.put_manifest(repository, manifest.digest, manifest):
            unlisted[one.subject.digest].append(one)
    for subject, fresh in unlisted.items():
        _list(fresh, registry, repository, referrers_tag(subject))


def missing(
    referrers: Sequence[Referrer], registry: RegistryReader, repository: str
) -> tuple[Referrer, ...] | Unknown:
    """Return those of *referrers* that are not in *repository*, or are in no list of it."""
    lost = []
    lists: dict[str, tuple[str, ...] | None] = {}
    for one in referrers:
        found = registry.head(repository, one.manifest.digest)
        if isinstance(found, Unknown):
            return found
        subject = one.subject.digest
        if subject not in lists:
            index = registry.manifest(repository, referrers_tag(subject))
            if isinstance(index, Unknown):
                return index
            # A registry that keeps no such tag lists them by itself.
            lists[subject] = _listed(index.value) if isinstance(index, Present) else None
        known = lists[subject]
        if not isinstance(found, Present) or (
            known is not None and found.value.digest not in known
        ):
            lost.append(one)
    return tuple(lost)


def _list(fresh: Sequence[Referrer], registry: RegistryWriter, repository: str, tag: str) -> None:
    """Write the list at *tag* until it has all of *fresh*: a registry cannot compare and swap."""
    for _ in range(_ROUNDS + 1):
        read = registry.manifest(repository, tag)
        if isinstance(read, Unknown):
            raise read.error(f"{repository}:{tag} cannot be read")
        index = read.value if isinstance(read, Present) else None
        try:
            wanted = with_referrers(index, fresh)
        except ValueError as error:
            raise Conflict(
                f"{repository}:{tag} is not the list of what refers to an image", detail=str(error)
            ) from error
        if wanted is index:
            return
        registry.put_manifest(repository, tag, wanted)
    raise Unavailable(f"others write {repository}:{tag} at the same time")


def _images(record: Record, top: RawManifest) -> Iterator[tuple[str, Descriptor]]:
    """Yield each platform of a version, and its image's manifest."""
    if top.media_type not in INDEXES:
        yield from ((platform, top.descriptor) for platform in record.platforms[:1])
        return
    platforms = {pair: platform for platform, pair in IMAGE_PLATFORMS.items()}
    for image in top.listed("manifests"):
        pair = (image.platform.get("os", ""), image.platform.get("architecture", ""))
        if pair in platforms:
            yield platforms[pair], image


def _listed(index: RawManifest) -> tuple[str, ...]:
    try:
        return listed(index)
    except ValueError:
        return ()


def _document(value: Json) -> bytes:
    return canonical_json(value) + b"\n"


def _opening(content: bytes) -> Callable[[], AbstractContextManager[BinaryIO]]:
    return lambda: nullcontext(BytesIO(content))

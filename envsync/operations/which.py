"""Which: from an image that ran somewhere back to the version, the commit, the spec and the lock.

Answered from git's records alone wherever that is possible. The registry is asked only for what
records do not have: the images that an index lists, and the digests of configs, which engines call
image ids.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from envsync.errors import EnvsyncError, InvalidInput, Unavailable
from envsync.model.config import LOCKS
from envsync.model.definition import as_recorded, definition_of
from envsync.model.names import IMAGE_PLATFORMS
from envsync.model.reading import Present, Unknown
from envsync.model.record import Record
from envsync.model.reference import parse_image_reference
from envsync.oci.descriptor import INDEXES, Descriptor, RawManifest
from envsync.oci.labels import DEFINITION
from envsync.operations.anonymous import Anonymous, recall_anonymous
from envsync.operations.locate import Place, place_of, read_manifest
from envsync.operations.look import Past
from envsync.operations.observe import READS_AT_ONCE, Registries
from envsync.operations.parallel import threads
from envsync.planning.states import in_order
from envsync.ports.memory import Memory

By = Literal["digest", "definition", "platform", "image id"]
"""What of a version an image was recognised by; ``platform``: it is one image of its index."""

_DIGEST = re.compile(r"(?:sha256:)?(?P<hex>[0-9a-f]{12,64})")
_CONTENT_TAG = re.compile(r"def-(?P<hex>[0-9a-f]{64})")
_LAYOUT = "oci:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A version that an image is of."""

    record: Record
    by: By
    platform: str = ""
    """The image's own, where it is one of several."""
    spec: str = ""
    """Path of the spec in the record's commit; '' when the commit is not here."""
    lock: str = ""
    """Folder of the lock in the same commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Everything that is known of an image; versions are sorted, the oldest first."""

    digest: str
    """As asked for, or as the image reference was resolved."""
    matches: tuple[Match, ...] = ()
    anonymous: Anonymous | None = None
    """The spec without a name that it was made for on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What is asked: the start of a digest, definition hashes, and what the image is if read."""

    start: str = ""
    """Of a digest, without ``sha256:``."""
    definition: str = ""
    manifest: RawManifest | None = None


def which(text: str, past: Past, registries: Registries, memory: Memory, *, remote: bool) -> Known:
    """Return what is known of a digest, the start of one, a content tag, or an image reference.

    *remote* is of our registry, see `place_of`. Raises InvalidInput when nothing is known of it,
    and Unavailable when that cannot be told because a registry does not answer.
    """
    question = _question(text, registries, remote=remote)
    digest = question.manifest.digest if question.manifest else text
    records = in_order(past.records)
    unread: list[str] = []
    matches = (
        _by_digest(question, records)
        or _by_definition(question, records)
        or _by_platform(question, records, past)
        or _by_manifest(question, records, past, registries, unread, remote=remote)
    )
    anonymous = recall_anonymous(memory, _full(digest)) if _full(digest) else None
    if not matches and anonymous is None:
        if unread:
            raise Unavailable(
                f"nobody can say which version {text} is",
                detail="No record has it, and of some versions the image cannot be read:\n"
                + "\n".join(sorted(set(unread))[:5]),
            )
        raise _unknown(text, question, len(records))
    return Known(
        digest=_full(digest) or digest,
        matches=tuple(_with_paths(match, past) for match in matches),
        anonymous=anonymous,
    )


def _question(text: str, registries: Registries, *, remote: bool) -> _Question:
    if match := _DIGEST.fullmatch(text):
        # Sixty-four digits alone can also be a definition hash.
        plain = "" if text.startswith("sha256:") else match["hex"]
        return _Question(start=match["hex"], definition=plain)
    if match := _CONTENT_TAG.fullmatch(text):
        return _Question(definition=match["hex"])
    if text.startswith("sha256:"):
        raise InvalidInput(
            f"{text!r} is not a digest", hint="Give sha256: and at least 12 hexadecimal digits."
        )
    place = _place(text, registries, remote=remote)
    tag = _CONTENT_TAG.fullmatch(place.reference)
    try:
        manifest = read_manifest(place)
    except EnvsyncError:
        if not place.reference.startswith("sha256:"):
            raise
        return _Question(start=place.reference.removeprefix("sha256:"))
    return _Question(
        start=manifest.digest.removeprefix("sha256:"),
        definition=_label(manifest) or (tag["hex"] if tag else ""),
        manifest=manifest,
    )


def _place(text: str, registries: Registries, *, remote: bool) -> Place:
    own = f"{_LAYOUT}{registries.registry.name}/"
    if text.startswith(own):
        repository, _, tag = text.removeprefix(own).partition("@" if "@" in text else ":")
        return Place(
            registry=registries.registry,
            repository=repository,
            reference=tag or "latest",
            remote=remote,
        )
    reference = parse_image_reference(text)
    return Place(
        registry=registries.source(reference.registry),
        repository=reference.repository,
        reference=reference.reference,
        remote=True,
    )


def _label(manifest: RawManifest) -> str:
    annotations = manifest.document().get("annotations")
    return str(annotations.get(DEFINITION, "")) if isinstance(annotations, dict) else ""


def _by_digest(question: _Question, records: Sequence[Record]) -> list[Match]:
    if not question.start:
        return []
    start = f"sha256:{question.start}"
    found = [record for record in records if record.digest.startswith(start)]
    digests = {record.digest for record in found}
    if len(digests) > 1:
        raise InvalidInput(
            f"{len(digests)} images begin with {start}",
            detail="\n".join(f"{r.name}:{r.version} {r.digest}" for r in found),
            hint="Give more digits.",
        )
    return [Match(record=record, by="digest") for record in found]


def _by_definition(question: _Question, records: Sequence[Record]) -> list[Match]:
    wanted = question.definition
    return [Match(record=r, by="definition") for r in records if wanted and r.definition == wanted]


def _by_platform(question: _Question, records: Sequence[Record], past: Past) -> list[Match]:
    """Find indexes one of whose images has the definition; git alone says what those are."""
    if len(question.definition) != 64:
        return []
    found = []
    for record in records:
        if len(record.platforms) < 2:
            continue
        try:
            definition = as_recorded(definition_of(*past.read(record)), record)
        except EnvsyncError:
            continue  # its commit is not here
        for one in definition.platforms:
            if replace(definition, platforms=(one,)).hash == question.definition:
                found.append(Match(record=record, by="platform", platform=one.platform))
    return found


def _by_manifest(
    question: _Question,
    records: Sequence[Record],
    past: Past,
    registries: Registries,
    unread: list[str],
    *,
    remote: bool,
) -> list[Match]:
    """Find versions whose image lists the digest: as one of an index, or as a config."""
    if not question.start:
        return []
    # One of each image, the newest first: what is asked about most often ran lately.
    images = {record.digest: record for record in records}
    newest = list(reversed(images.values()))

    def read(record: Record) -> RawManifest | str:
        try:
            place = place_of(past, registries, record, remote=remote)
            reading = place.registry.manifest(place.repository, place.reference)
        except EnvsyncError as error:
            return str(error)
        if isinstance(reading, Present):
            return reading.value
        return reading.reason if isinstance(reading, Unknown) else ""

    for at in range(0, len(newest), READS_AT_ONCE):
        with threads(READS_AT_ONCE) as pool:
            for record, answer in zip(
                newest[at:], pool.map(read, newest[at : at + READS_AT_ONCE]), strict=False
            ):
                if isinstance(answer, str):
                    unread += [f"{record.name}:{record.version}: {answer}"] if answer else []
                elif (listed := _listed(answer, question.start)) is not None:
                    by, platform = listed
                    return [
                        Match(record=one, by=by, platform=platform)
                        for one in records
                        if one.digest == record.digest
                    ]
    return []


def _listed(manifest: RawManifest, start: str) -> tuple[By, str] | None:
    """Tell how a manifest or index lists a digest, and for which platform."""
    try:
        document = manifest.document()
        if manifest.media_type not in INDEXES:
            config = Descriptor.parse(document["config"])
            return ("image id", "") if config.digest.startswith(f"sha256:{start}") else None
        for child in map(Descriptor.parse, document["manifests"]):
            if child.digest.startswith(f"sha256:{start}"):
                system = (child.platform.get("os", ""), child.platform.get("architecture", ""))
                names = (p for p, s in IMAGE_PLATFORMS.items() if s == system)
                return "platform", next(names, "/".join(system))
    except (KeyError, TypeError, ValueError):
        return None
    return None


def _with_paths(match: Match, past: Past) -> Match:
    record = match.record
    try:
        spec, _ = past.read(record)
    except EnvsyncError:
        return match
    return replace(match, spec=spec.path, lock=f"{LOCKS}/{record.name}")


def _full(text: str) -> str:
    """Return a whole digest with its prefix; '' for anything else."""
    digits = text.removeprefix("sha256:")
    return f"sha256:{digits}" if len(digits) == 64 and _DIGEST.fullmatch(digits) else ""


def _unknown(text: str, question: _Question, records: int) -> InvalidInput:
    detail = f"None of {records} records has it, and none of their images lists it."
    if question.manifest is not None and question.definition:
        detail += (
            f"\nIt says that it was built by envsync from definition {question.definition}:"
            "\nby another repository, or without being recorded."
        )
    return InvalidInput(
        f"no version here is {text}",
        detail=detail,
        hint="See what is recorded:\n    envsync list\nFetch all records:\n    git fetch --tags",
    )

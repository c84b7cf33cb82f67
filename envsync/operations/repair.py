"""Repair: bring back what the registry lost of recorded versions, with the digests of then.

Only what was recorded is put: an image that comes out differently is a conflict, and nothing is
overwritten by it. Tags that somebody moved are moved back, which nothing else in envsync does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from envsync.errors import EnvsyncError, InvalidInput, Unavailable
from envsync.model.definition import FORMAT
from envsync.model.names import content_tag
from envsync.model.record import Record
from envsync.model.reference import parse_image_reference
from envsync.operations.build_job import BuildJob
from envsync.operations.look import Past
from envsync.operations.own_wheels import wheel_contents
from envsync.operations.publish import need, publish, published
from envsync.operations.verify import Recorded, read_recorded
from envsync.operations.workshop import RELATIVES, Workshop
from envsync.planning.findings import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What became of one version."""

    record: Record
    did: str
    """``republished`` or ``retagged``."""
    error: EnvsyncError | None = None


def repair(findings: Iterable[Finding], past: Past, workshop: Workshop) -> tuple[Repaired, ...]:
    """Mend what *findings* say can be mended; one version blocks no other.

    A version in a conflict that only a person can decide is left as it is.
    """
    wanted: dict[tuple[str, str], set[str]] = defaultdict(set)
    for finding in findings:
        wanted[finding.name, finding.version].add(finding.remedy)
    done = []
    for record in sorted(past.records, key=lambda record: (record.name, record.created)):
        remedies = wanted.get((record.name, record.version), set())
        if "person" in remedies or not remedies & {"republish", "retag"}:
            continue
        did = "republished" if "republish" in remedies else "retagged"
        try:
            if did == "republished":
                _republish(read_recorded(past, record), past, workshop)
            _retag(record, past, workshop)
        except EnvsyncError as error:
            workshop.progress.done(record.name, f"failed: {error.summary}")
            done.append(Repaired(record=record, did=did, error=error))
        else:
            workshop.progress.done(record.name, f"{did} version {record.version}")
            done.append(Repaired(record=record, did=did))
    return tuple(done)


def job_of(recorded: Recorded, past: Past, workshop: Workshop) -> BuildJob:
    """Return the job that makes a recorded version again.

    Raises InvalidInput when this envsync makes images of another format.
    """
    record = recorded.record
    if record.format != FORMAT:
        raise InvalidInput(
            f"version {record.version} of {record.name} has image format {record.format}",
            detail=f"This envsync makes format {FORMAT}.",
            hint="Make it with the envsync of that time, or restore a backup.",
        )
    relatives = [other for other in past.of(record.name) if other != record][-RELATIVES:]
    repository = workshop.registries.repository(record.name)
    return BuildJob(
        name=record.name,
        version=record.version,
        repository=repository,
        definition=recorded.definition,
        lock=recorded.lock,
        digest=record.digest,
        wheels=wheel_contents(past.git.tree(record.commit), recorded.spec),
        images=tuple((repository, other.digest) for other in reversed(relatives)),
    )


def _republish(recorded: Recorded, past: Past, workshop: Workshop) -> None:
    record = recorded.record
    if recorded.definition.hash != record.definition:
        raise InvalidInput(
            f"commit {record.commit[:12]} is not what version {record.version} was made from"
        )
    workshop.progress.step(record.name, f"making version {record.version} again")
    if recorded.spec.kind == "conda":
        workshop.build(job_of(recorded, past, workshop))
        return
    if recorded.spec.kind == "build":
        raise Unavailable(
            f"version {record.version} of {record.name} cannot be made again",
            detail="It was built from a Dockerfile, which gives other bytes each time.",
            hint="Restore the registry's backup, or make a new version.",
        )
    reference = parse_image_reference(recorded.lock.image.location)
    source = workshop.registries.source(reference.registry)
    image = published(source, reference.repository, record.digest, recorded.definition)
    repository = workshop.registries.repository(record.name)
    publish(image, workshop.registry, repository, workshop.uploads, workshop.progress, record.name)


def _retag(record: Record, past: Past, workshop: Workshop) -> None:
    """Put all tags of a version as they were recorded."""
    registry, repository = workshop.registry, workshop.registries.repository(record.name)
    where = f"{registry.name}/{repository}@{record.digest}"
    manifest = need(registry.manifest(repository, record.digest), where)
    registry.put_manifest(repository, content_tag(record.definition), manifest)
    tags = workshop.tags(past.lifecycles.known, lambda record: read_recorded(past, record).made)
    ended = tags.put([record], _of(past.records, record.name))
    if (error := ended[record.name]) is not None:
        raise error
    if tags.notes:
        raise Unavailable(f"version {record.version}: {tags.notes[record.name]}")


def _of(records: Sequence[Record], name: str) -> list[Record]:
    return [record for record in records if record.name == name]

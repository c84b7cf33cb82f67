"""Copy: a version's image to another registry or into an archive, and out of an archive again.

Manifests are copied as the bytes they are, so that every digest stays what git recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from envsync.errors import Conflict, InvalidInput
from envsync.model.names import content_tag
from envsync.model.passport import RECORD, passport, read_passport
from envsync.model.reading import Present, Unknown
from envsync.model.record import Record
from envsync.oci.descriptor import RawManifest
from envsync.oci.labels import DEFINITION
from envsync.operations.locate import Place
from envsync.operations.publish import Uploads, need, put_image, whole_image
from envsync.ports.archive import Archive, WriteArchive
from envsync.ports.builder import WholeImage
from envsync.ports.progress import Progress
from envsync.ports.registry import RegistryWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A copy that stands where it should."""

    record: Record
    place: str
    """What people write to get it."""
    tags: tuple[str, ...]


def copy_to_registry(
    record: Record,
    source: Place,
    registry: RegistryWriter,
    repository: str,
    tag: str,
    progress: Progress,
) -> Copied:
    """Copy a version from *source* into *repository*, under its content tag and *tag*.

    Raises Conflict, before anything is written, when one of the tags names another image there.
    """
    image = _read(record, source)
    tags = (content_tag(record.definition), tag)
    _put(record, image, registry, repository, tags, progress)
    return Copied(record=record, place=f"{registry.name}/{repository}:{tag}", tags=tags)


def copy_to_archive(
    record: Record, source: Place, write: WriteArchive, tag: str, path: str, progress: Progress
) -> Copied:
    """Copy a version from *source* into a new archive, with its record."""
    image = _read(record, source)
    progress.step(record.name, f"writing {path}")
    annotations = passport(record, f"{source.repository}:{tag}")
    write(image, tag, annotations, _counted(record, progress))
    progress.done(record.name, "copied")
    return Copied(record=record, place=f"oci-archive:{path}:{tag}", tags=(tag,))


def import_archive(
    archive: Archive,
    registry: RegistryWriter,
    repository: Callable[[str], str],
    known: Sequence[Record],
    progress: Progress,
) -> Copied:
    """Put the image of an archive into *registry*, in the repository of its environment.

    *known* are the records of git here: one of the same version must say the same. Raises
    InvalidInput when the archive does not say what it holds, Conflict when it contradicts git or
    the registry.
    """
    record = _recorded(archive)
    for other in known:
        if (other.name, other.version) == (record.name, record.version) and (
            other.digest != record.digest or other.definition != record.definition
        ):
            raise Conflict(
                f"git records another image as version {record.version} of {record.name}",
                detail=f"Git says {other.digest}, the archive has {record.digest}.",
                hint="The archive is of another repository, or of other content.",
            )
    image = whole_image(archive, "", record.digest)
    _check_label(image.top, record)
    tags = (content_tag(record.definition), record.version)
    place = repository(record.name)
    _put(record, image, registry, place, tags, progress)
    return Copied(record=record, place=f"{registry.name}/{place}:{record.version}", tags=tags)


def _read(record: Record, source: Place) -> WholeImage:
    image = whole_image(source.registry, source.repository, record.digest)
    if image.top.digest != record.digest:
        raise Conflict(f"{source} is not what git records", detail=f"It is {image.top.digest}.")
    return image


def _put(
    record: Record,
    image: WholeImage,
    registry: RegistryWriter,
    repository: str,
    tags: Sequence[str],
    progress: Progress,
) -> None:
    missing = [tag for tag in tags if not _is_there(registry, repository, tag, record.digest)]
    if missing:
        progress.step(record.name, f"copying to {registry.name}/{repository}")
        uploads = Uploads(registry)
        put_image(image, registry, repository, uploads, progress, missing, name=record.name)
    for tag in missing:
        found = need(registry.manifest(repository, tag), f"{registry.name}/{repository}:{tag}")
        if found.digest != record.digest:
            raise Conflict(
                f"{registry.name}/{repository}:{tag} is not what was put there",
                detail=f"It should be {record.digest}, and is {found.digest}.",
            )
    progress.done(record.name, "copied" if missing else "there already")


def _is_there(registry: RegistryWriter, repository: str, tag: str, digest: str) -> bool:
    """Tell whether a tag names the image; Conflict when it names another one."""
    reading = registry.head(repository, tag)
    if isinstance(reading, Unknown):
        need(registry.manifest(repository, tag), f"{registry.name}/{repository}:{tag}")
    if not isinstance(reading, Present):
        return False
    if reading.value.digest != digest:
        raise Conflict(
            f"{registry.name}/{repository}:{tag} is another image",
            detail=f"It is {reading.value.digest}; the copy would be {digest}.",
            hint="Nothing was written. Choose another tag: HOST/REPOSITORY:TAG",
        )
    return True


def _counted(record: Record, progress: Progress) -> Callable[[int], None]:
    return lambda amount: progress.bytes(record.name, amount)


def _recorded(archive: Archive) -> Record:
    found = [(d, d.annotations[RECORD]) for d in archive.images() if RECORD in d.annotations]
    if len(found) != 1:
        raise InvalidInput(
            f"{archive.name} does not say which version it holds",
            detail=f"It has {len(found)} records of envsync's.",
            hint="Make it with:\n    envsync copy NAME:VERSION archive.tar",
        )
    descriptor, text = found[0]
    try:
        record = read_passport(text)
    except ValueError as error:
        raise InvalidInput(f"{archive.name} cannot be used", detail=str(error)) from error
    if record.digest != descriptor.digest:
        raise InvalidInput(
            f"{archive.name} is not what it says",
            detail=f"Its record is of {record.digest}, its image is {descriptor.digest}.",
        )
    return record


def _check_label(top: RawManifest, record: Record) -> None:
    """An image that envsync built says which definition it is of."""
    label = (top.document().get("annotations") or {}).get(DEFINITION, record.definition)
    if label != record.definition:
        raise InvalidInput(
            "The archive is not what it says",
            detail=f"Its image is of definition {label}, its record of {record.definition}.",
        )

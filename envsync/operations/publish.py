"""Publish: blobs, then manifests, then the content tag, then read back what the registry holds.

Nothing is uploaded that the registry already has: a blob that any of its repositories holds is
mounted. Every step may be repeated, so that an interrupted publish is finished by the next one.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from envsync.errors import Conflict, InvalidInput, Unavailable
from envsync.failpoints import reach
from envsync.model.reading import Present, Reading, Unknown
from envsync.oci.descriptor import INDEXES, Descriptor, RawManifest
from envsync.oci.labels import DEFINITION
from envsync.operations.parallel import threads
from envsync.ports.builder import Blob, BuiltImage, WholeImage
from envsync.ports.progress import Progress, Sent
from envsync.ports.registry import ContentMissing, RegistryReader, RegistryWriter

if TYPE_CHECKING:
    from envsync.model.definition import Definition

UPLOADS_AT_ONCE = 8


class Uploads:
    """What this process knows the registry to hold; each digest is uploaded once, ever.

    Safe to use from many threads: whoever wants a digest that is on its way waits for it.
    """

    def __init__(self, registry: RegistryWriter) -> None:
        """Begin with no knowledge of *registry*."""
        self._registry = registry
        self._held: dict[str, list[str]] = defaultdict(list)
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()
        self._told = set[tuple[str, str]]()

    def learn(self, digest: str, repositories: Sequence[str]) -> None:
        """Take in that *repositories* hold a blob: a manifest in each of them names it."""
        with self._guard:
            held = self._held[digest]
            held += [repository for repository in repositories if repository not in held]

    def place(
        self, blob: Blob, repository: str, progress: Progress, name: str, *, again: bool = False
    ) -> None:
        """See to it that *repository* holds *blob*; *again* takes no shortcut."""
        digest = blob.descriptor.digest
        with self._guard:
            lock = self._locks[digest]
        with lock:
            held = self._held[digest]
            told = self._told
            if again:
                held.clear()
            sent: Sent = "present"
            if repository not in held:
                sent = "uploaded" if again else self._found(blob, repository, held)
                if sent == "uploaded":
                    reach("blob-put.before")
                    self._registry.put_blob(
                        repository,
                        blob.descriptor,
                        blob.open,
                        lambda amount: progress.bytes(name, amount),
                    )
                    reach("blob-put.after")
                held.append(repository)
            if again or (digest, name) not in told:
                told.add((digest, name))
                progress.layer(name, digest, sent, blob.descriptor.size)

    def _found(self, blob: Blob, repository: str, held: list[str]) -> Sent:
        """Return how the repository has the blob without an upload, or that it must have one."""
        digest = blob.descriptor.digest
        sources = list(held)
        if blob.registry == self._registry.name and blob.repository != repository:
            sources.append(blob.repository)
        # Where another repository surely has it, a mount says as much as a question would.
        if not held and self._registry.has_blob(repository, digest):
            return "present"
        return (
            "mounted"
            if any(self._mounted(repository, digest, source) for source in sources)
            else "uploaded"
        )

    def _mounted(self, repository: str, digest: str, source: str) -> bool:
        reach("blob-mount.before")
        mounted = self._registry.mount_blob(repository, digest, source)
        reach("blob-mount.after")
        return mounted


def publish(
    image: BuiltImage,
    registry: RegistryWriter,
    repository: str,
    uploads: Uploads,
    progress: Progress,
    name: str,
) -> str:
    """Publish *image* at its content tag in *repository* and return the digest read back.

    Raises Conflict when the registry then names another image.
    """
    put_image(
        image, registry, repository, uploads, progress, [image.definition.content_tag], name=name
    )
    digest = verify(registry, repository, image.definition)
    if digest != image.top.digest:
        raise Conflict(
            f"{repository} holds another image for this definition",
            detail=f"{image.definition.content_tag} should be {image.top.digest}, is {digest}.",
            hint="Another program writes to this repository, or the registry keeps tags from "
            "being moved.",
        )
    return digest


def put_image(
    image: WholeImage,
    registry: RegistryWriter,
    repository: str,
    uploads: Uploads,
    progress: Progress,
    tags: Sequence[str],
    *,
    name: str,
) -> None:
    """Put an image into *repository* under all of *tags*, in their order."""

    def place_all(*, again: bool) -> None:
        with threads(UPLOADS_AT_ONCE) as pool:
            tasks = [
                pool.submit(uploads.place, blob, repository, progress, name, again=again)
                for blob in image.blobs
            ]
            for task in tasks:
                task.result()

    place_all(again=False)
    try:
        _put_manifests(image, registry, repository, tags)
    except ContentMissing:
        # A registry may forget what it said it has (garbage collection, a lost mount).
        place_all(again=True)
        _put_manifests(image, registry, repository, tags)


def _put_manifests(
    image: WholeImage, registry: RegistryWriter, repository: str, tags: Sequence[str]
) -> None:
    for child in image.children:
        reach("manifest-put.before")
        registry.put_manifest(repository, child.digest, child)
        reach("manifest-put.after")
    for tag in tags:
        reach("content-tag.before")
        registry.put_manifest(repository, tag, image.top)
        reach("content-tag.after")


def verify(registry: RegistryReader, repository: str, definition: Definition) -> str:
    """Read back the content tag of *definition* and return the digest it names.

    Raises Conflict when the image says that it is another definition's; an image that envsync did
    not build says nothing, and its digest must be the definition's.
    """
    tag = definition.content_tag
    manifest = need(registry.manifest(repository, tag), f"{registry.name}/{repository}:{tag}")
    require_definition(manifest, definition, f"{repository}:{tag}")
    return manifest.digest


def require_definition(manifest: RawManifest, definition: Definition, where: str) -> None:
    """Raise Conflict unless what was found at a content tag is of its *definition*."""
    if definition.kind == "image":
        label, expected = manifest.digest, definition.image_digest
    else:
        label = manifest.document().get("annotations", {}).get(DEFINITION, "")
        expected = definition.hash
    if label != expected:
        raise Conflict(
            f"{where} is not what its tag says",
            detail=f"The image there is of {label or 'no definition'}.",
            hint="Somebody moved the tag. Find out who before anything is put back.",
        )


def published(
    registry: RegistryReader, repository: str, reference: str, definition: Definition
) -> BuiltImage:
    """Return the image that stands at *reference*, to be published elsewhere."""
    image = whole_image(registry, repository, reference)
    return BuiltImage(
        definition=definition, top=image.top, children=image.children, blobs=image.blobs
    )


def whole_image(registry: RegistryReader, repository: str, reference: str) -> WholeImage:
    """Return the image that stands at *reference*, with everything it names.

    Raises InvalidInput when it, or a manifest that it lists, is none.
    """
    where = f"{registry.name}/{repository}"
    top = need(registry.manifest(repository, reference), f"{where}:{reference}")
    children: list[RawManifest] = []
    if top.media_type in INDEXES:
        for child in _named(top, where, "manifests"):
            found = need(registry.manifest(repository, child.digest), f"{where}@{child.digest}")
            children.append(found)
    blobs = {
        descriptor.digest: _blob_of(registry, repository, descriptor)
        for manifest in (children if top.media_type in INDEXES else [top])
        for descriptor in _named(manifest, where, "config", "layers")
    }
    return WholeImage(top=top, children=tuple(children), blobs=tuple(blobs.values()))


def _named(manifest: RawManifest, where: str, *keys: str) -> list[Descriptor]:
    """Return what a manifest, which others may have written, names below *keys*."""
    try:
        document = manifest.document()
        parts = [document[key] for key in keys]
        listed = [item for part in parts for item in (part if isinstance(part, list) else [part])]
        return [Descriptor.parse(item) for item in listed]
    except (KeyError, ValueError) as error:
        raise InvalidInput(
            "the image cannot be read", detail=f"{where}@{manifest.digest}: {error!r}"
        ) from error


def _blob_of(registry: RegistryReader, repository: str, descriptor: Descriptor) -> Blob:
    return Blob(
        descriptor=descriptor,
        open=lambda: registry.blob(repository, descriptor),
        registry=registry.name,
        repository=repository,
    )


def need(reading: Reading[RawManifest], where: str) -> RawManifest:
    """Return what was read, or raise what its absence means: it was there a moment ago."""
    if isinstance(reading, Present):
        return reading.value
    if isinstance(reading, Unknown):
        raise reading.error(f"{where} cannot be read")
    raise Unavailable(f"{where} cannot be read", detail="It does not exist.")

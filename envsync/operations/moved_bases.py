"""Base images that moved: tags that no longer name what they named when they were locked.

Nothing is wrong then, as locks hold digests; a patched base image is a reason to lock again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from envsync.errors import EnvsyncError, InvalidInput
from envsync.model.lock import ImageLock
from envsync.model.reading import Present
from envsync.model.reference import ImageReference, parse_image_reference
from envsync.model.spec import SCRATCH
from envsync.oci.descriptor import INDEXES
from envsync.operations.observe import READS_AT_ONCE
from envsync.operations.parallel import threads
from envsync.operations.readers import Readers, read_lock
from envsync.planning.findings import Finding
from envsync.ports.registry import RegistryReader
from envsync.ports.tree import Tree


def moved_bases(
    tree: Tree,
    readers: Readers,
    source: Callable[[str], RegistryReader],
    names: Sequence[str],
) -> tuple[Finding, ...]:
    """Return the environments of *tree* whose locked base image is not what its tag names now.

    What a registry does not answer is left out: it says nothing about what was recorded.
    """
    asked = []
    for name in names:
        with suppress(InvalidInput):  # a broken lock is told where it is read for building
            lock = read_lock(tree, readers.parse_lock, name)
            asked += [(name, *one) for one in _locked(lock.image)] if lock else []
    tags = sorted({reference for _, reference, _ in asked}, key=str)
    with threads(READS_AT_ONCE) as pool:
        now = dict(zip(tags, pool.map(lambda tag: _named(tag, source), tags), strict=True))
    return tuple(
        Finding(
            kind="base_image_moved",
            name=name,
            text=f"{reference} names another image than when it was locked",
        )
        for name, reference, digests in asked
        if now[reference] and not digests <= now[reference]
    )


def _locked(image: ImageLock) -> Iterator[tuple[ImageReference, frozenset[str]]]:
    """Yield each tag that was resolved, and the digests that it was resolved to."""
    if image.digest and image.location != SCRATCH:
        yield parse_image_reference(image.location), frozenset({image.digest})
    of_files: dict[str, set[str]] = {}
    for bases in image.bases.values():
        for text, digest in bases.items():
            # What a Dockerfile asks of one platform has that platform's name behind it.
            of_files.setdefault(text.partition(" ")[0], set()).add(digest)
    for text, digests in of_files.items():
        yield parse_image_reference(text), frozenset(digests)


def _named(reference: ImageReference, source: Callable[[str], RegistryReader]) -> frozenset[str]:
    """Return the digests behind a tag now; none where that is not known, or cannot change."""
    if reference.digest:
        return frozenset()
    try:
        read = source(reference.registry).manifest(reference.repository, reference.reference)
    except EnvsyncError:
        return frozenset()
    if not isinstance(read, Present):
        return frozenset()
    top = read.value
    try:
        children = top.listed("manifests") if top.media_type in INDEXES else ()
    except ValueError:
        return frozenset()
    return frozenset({top.digest, *(child.digest for child in children)})

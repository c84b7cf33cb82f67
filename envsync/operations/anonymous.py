"""Anonymous environments: a spec that is run as it is, without name, version or record.

What it is locked to is kept in the cache under its request hash, and the image under its definition
hash: so the same spec is the same environment again, and can be found by its hash. A lock of the
repository for the same request counts too: what is not pinned means the same everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields, replace

from envsync.errors import InvalidInput
from envsync.model.canonical import canonical_json
from envsync.model.definition import Definition, definition_of
from envsync.model.lock import Lock
from envsync.model.reading import Present
from envsync.model.record import Record
from envsync.model.request import request_hash
from envsync.model.spec import Spec
from envsync.operations.build_job import BuildJob
from envsync.operations.locate import Place, place_at
from envsync.operations.lock import lock_environments
from envsync.operations.lock_work import LockChoices, LockTools
from envsync.operations.own_wheels import wheel_contents
from envsync.operations.readers import read_lock
from envsync.planning.freshness import LockRules, wanted_platforms
from envsync.ports.memory import Memory
from envsync.ports.progress import Progress
from envsync.ports.registry import RegistryReader, RegistryWriter
from envsync.ports.tree import Tree

REPOSITORY = "anonymous"
"""Repository of anonymous images in the cache's registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousParts:
    """What locking, building and keeping an anonymous environment needs."""

    rules: LockRules
    tools: LockTools
    """They write locks into the folder that *locks* reads."""
    locks: Tree
    registry: RegistryWriter
    """The cache's own."""
    source: Callable[[str], RegistryReader]
    """Opens the registry of an image by its host."""
    build: Callable[[BuildJob], str]
    """Carries a job out and returns the digest that it published in *registry*."""
    memory: Memory
    """Remembers what an image was made from, by its digest."""
    exclusive: Callable[[str], AbstractContextManager[object]]
    """Lets one process at a time work on a key."""
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Anonymous:
    """An image that was made for a spec without a name."""

    digest: str
    definition: str
    request: str
    spec: str
    """Path of the spec when it was run."""
    image: str
    """The image as the spec names it, where nothing was built on it; '' for what was built."""
    interpreter: str = ""
    """Path of the Python that the image brings by itself; '' where the spec does not say."""


_FIELDS = tuple(field.name for field in fields(Anonymous))


def resolve_anonymous(
    spec: Spec, tree: Tree, parts: AnonymousParts, records: tuple[Record, ...], platform: str
) -> tuple[Anonymous, Place | None]:
    """Lock and build *spec* for *platform* where that is not done yet.

    The place is None when a record has the same definition: then that version is what is run.
    Raises InvalidInput for what cannot be built, and what locking and building raise.
    """
    if spec.kind == "build":
        raise InvalidInput(
            "a build context cannot be run as it is",
            detail=f"{spec.path} has 'build:'.",
            hint="Make it a version:\n    envsync apply",
        )
    wanted = wanted_platforms(spec, parts.rules.config)
    if platform not in wanted:
        raise InvalidInput(
            f"{spec.path} is not for {platform}", detail=f"It is for {', '.join(wanted)}."
        )
    request = request_hash(spec, parts.rules.config)
    name = f"{REPOSITORY}-{request[:16]}"
    spec = replace(spec, name=name, settings=replace(spec.settings, platforms=(platform,)))
    with parts.exclusive(name):
        lock = _locked(spec, tree, parts)
        definition = definition_of(spec, lock)
        known = next((r for r in records if r.definition == definition.hash), None)
        if known is not None:
            return _anonymous(known.digest, definition, request, spec, lock), None
        if spec.kind == "image":
            place = place_at(parts.source, lock.image.location, lock.image.digest)
            digest = lock.image.digest
        else:
            digest = _built(definition, lock, parts, spec, tree)
            place = Place(
                registry=parts.registry, repository=REPOSITORY, reference=digest, remote=False
            )
    found = _anonymous(digest, definition, request, spec, lock)
    parts.memory.remember({_key(digest): canonical_json(asdict(found))})
    return found, place


def recall_anonymous(memory: Memory, digest: str) -> Anonymous | None:
    """Return what is remembered of an anonymous image; None when nothing is."""
    key = _key(digest)
    document = memory.recall([key]).get(key)
    if document is None:
        return None
    values = json.loads(document)
    return Anonymous(**{name: str(values[name]) for name in _FIELDS})


def _locked(spec: Spec, tree: Tree, parts: AnonymousParts) -> Lock:
    both = _Both(parts.locks, tree)
    report = lock_environments([spec], both, parts.rules, parts.tools, LockChoices())
    for outcome in report.environments:
        if outcome.error is not None:
            raise outcome.error
    lock = read_lock(parts.locks, parts.tools.parse, spec.name)
    if lock is None:
        raise InvalidInput(f"{spec.path} cannot be locked")
    return lock


def _built(
    definition: Definition, lock: Lock, parts: AnonymousParts, spec: Spec, tree: Tree
) -> str:
    """Return the digest of the definition's image in the cache, built now if it is not there."""
    there = parts.registry.head(REPOSITORY, definition.content_tag)
    if isinstance(there, Present):
        return there.value.digest
    return parts.build(
        BuildJob(
            name=spec.path,
            version="",
            repository=REPOSITORY,
            definition=definition,
            lock=lock,
            wheels=wheel_contents(tree, spec),
        )
    )


def _anonymous(
    digest: str, definition: Definition, request: str, spec: Spec, lock: Lock
) -> Anonymous:
    return Anonymous(
        digest=digest,
        definition=definition.hash,
        request=request,
        spec=spec.path,
        image=lock.image.location if spec.kind == "image" else "",
        interpreter=spec.settings.interpreter_path,
    )


def _key(digest: str) -> str:
    return f"anonymous {digest}"


class _Both:
    """Files of one tree, and where it has none, those of another; implements `Tree`."""

    def __init__(self, first: Tree, second: Tree) -> None:
        self._first = first
        self._second = second

    @property
    def label(self) -> str:
        """What the tree is, for messages."""
        return self._second.label

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None when neither has it."""
        found = self._first.read(path)
        return self._second.read(path) if found is None else found

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the names in *folder* of both."""
        return tuple(sorted({*self._first.list(folder), *self._second.list(folder)}))

"""Desire: what a commit asks for, resolved to definitions; what cannot be, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from envsync.errors import InvalidInput
from envsync.model.config import LOCKS, Config
from envsync.model.definition import definition_of
from envsync.model.lock import IMAGE_FILE, LOCK_FILE, Lock
from envsync.model.names import IMAGE_PLATFORMS
from envsync.model.request import request_hash
from envsync.model.spec import Spec
from envsync.operations.load import Repository, load_repository
from envsync.planning.freshness import LockRules, Matches, freshness
from envsync.planning.states import Blocked, Desired
from envsync.ports.documents import ParseDocument
from envsync.ports.locks import ParseLock
from envsync.ports.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """What turns the files of a tree into values."""

    parse: ParseDocument
    parse_lock: ParseLock
    matches: Matches
    root: str
    """The repository's absolute POSIX path, where relative channels start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One environment that can be built: its spec, its lock and what follows from them."""

    desired: Desired
    spec: Spec
    lock: Lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Everything that a tree asks for; each environment is in one of the two."""

    config: Config
    wishes: Mapping[str, Wish] = field(default_factory=dict)
    blocked: Mapping[str, Blocked] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted({*self.wishes, *self.blocked}))


def desire(tree: Tree, readers: Readers, names: Sequence[str] = ()) -> Wishes:
    """Read what *tree* asks for, of the environments that *names* (globs too) select."""
    repository = load_repository(tree, readers.parse, names)
    rules = LockRules(config=repository.config, matches=readers.matches, root=readers.root)
    wishes: dict[str, Wish] = {}
    blocked = dict(_broken(repository))
    for name, spec in repository.specs.items():
        found = _wish(tree, readers, rules, spec)
        if isinstance(found, Wish):
            wishes[name] = found
        else:
            blocked[name] = found
    return Wishes(config=repository.config, wishes=wishes, blocked=blocked)


def read_lock(tree: Tree, parse_lock: ParseLock, name: str) -> Lock | None:
    """Read the lock of environment *name*; InvalidInput has every fault of its files."""
    folder = f"{LOCKS}/{name}"
    return parse_lock(
        tree.read(f"{folder}/{LOCK_FILE}"), tree.read(f"{folder}/{IMAGE_FILE}"), folder
    )


def _broken(repository: Repository) -> Mapping[str, Blocked]:
    return {
        name: Blocked(
            name=name,
            reason="spec_invalid",
            detail="\n".join(map(str, error.faults)) or error.summary,
            hint=error.hint,
        )
        for name, error in repository.broken.items()
    }


def _wish(tree: Tree, readers: Readers, rules: LockRules, spec: Spec) -> Wish | Blocked:
    if spec.kind == "build":
        return Blocked(
            name=spec.name,
            reason="kind_unsupported",
            detail=f"{spec.path} has a build context; this version builds conda environments only",
        )
    relock = f"Lock it and commit the lock:\n    envsync lock {spec.name}"
    try:
        lock = read_lock(tree, readers.parse_lock, spec.name)
    except InvalidInput as error:
        return Blocked(name=spec.name, reason="lock_integrity", detail=str(error), hint=relock)
    stale = freshness(spec, lock, rules)
    if stale or lock is None:
        reason = stale[0].kind if stale else "lock_missing"
        detail = "\n".join(map(str, stale))
        return Blocked(name=spec.name, reason=reason, detail=detail, hint=relock)
    if spec.kind == "image" and not lock.image.digest:
        detail = f"{spec.path} has neither an image to take nor packages to put into one"
        return Blocked(name=spec.name, reason="spec_invalid", detail=detail)
    definition = definition_of(spec, lock)
    if spec.kind == "conda" and not definition.platforms:
        return Blocked(
            name=spec.name,
            reason="lock_platform_missing",
            detail=f"no image can be made for {', '.join(lock.platforms)}",
            hint=f"Add one of {', '.join(IMAGE_PLATFORMS)} to its platforms.",
        )
    desired = Desired(
        name=spec.name,
        kind=spec.kind,
        definition=definition,
        definition_hash=definition.hash,
        request=request_hash(spec, rules.config),
        version=spec.version,
        platforms=tuple(p.platform for p in definition.platforms) or lock.platforms,
        lock_sha256=lock.sha256,
        base_digest=lock.image.digest,
        copied=spec.kind == "conda" or rules.config.copy_images,
    )
    return Wish(desired=desired, spec=spec, lock=lock)

"""Resolve: from the spec and the lock of one environment to its definition, or why there is none.

Only where the answer is not remembered: `envsync.operations.desire` loads this when it needs it.
"""

from __future__ import annotations

from dataclasses import dataclass

from envsync.errors import InvalidInput
from envsync.model.config import Config
from envsync.model.definition import Definition, definition_of
from envsync.model.lock import Lock
from envsync.model.names import IMAGE_PLATFORMS
from envsync.model.request import request_hash
from envsync.model.spec import Spec
from envsync.operations.load import load_environment
from envsync.operations.readers import Readers, read_lock
from envsync.planning.freshness import LockRules, freshness
from envsync.planning.states import Blocked, Desired
from envsync.ports.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """One environment that can be built: its spec, its lock and what follows from them."""

    desired: Desired
    definition: Definition
    spec: Spec
    lock: Lock


def resolve(tree: Tree, readers: Readers, config: Config, name: str) -> Resolved | Blocked:
    """Read what *tree* says about environment *name*."""
    try:
        spec = load_environment(tree, readers.parse, name)
    except InvalidInput as error:
        return Blocked(
            name=name,
            reason="spec_invalid",
            detail="\n".join(map(str, error.faults)) or error.summary,
            hint=error.hint,
        )
    if spec.kind == "build":
        return Blocked(
            name=name,
            reason="kind_unsupported",
            detail=f"{spec.path} has a build context; this version builds conda environments only",
        )
    relock = f"Lock it and commit the lock:\n    envsync lock {name}"
    try:
        lock = read_lock(tree, readers.parse_lock, name)
    except InvalidInput as error:
        return Blocked(name=name, reason="lock_integrity", detail=str(error), hint=relock)
    rules = LockRules(
        config=config,
        matches=readers.matches,
        root=readers.root,
        channel_alias=readers.channel_alias,
    )
    stale = freshness(spec, lock, rules)
    if stale or lock is None:
        reason = stale[0].kind if stale else "lock_missing"
        detail = "\n".join(map(str, stale))
        return Blocked(name=name, reason=reason, detail=detail, hint=relock)
    if spec.kind == "image" and not lock.image.digest:
        detail = f"{spec.path} has neither an image to take nor packages to put into one"
        return Blocked(name=name, reason="spec_invalid", detail=detail)
    definition = definition_of(spec, lock)
    if spec.kind == "conda" and not definition.platforms:
        return Blocked(
            name=name,
            reason="lock_platform_missing",
            detail=f"no image can be made for {', '.join(lock.platforms)}",
            hint=f"Add one of {', '.join(IMAGE_PLATFORMS)} to its platforms.",
        )
    desired = Desired(
        name=name,
        kind=spec.kind,
        definition_hash=definition.hash,
        format=definition.format,
        request=request_hash(spec, config),
        version=spec.version,
        platforms=tuple(p.platform for p in definition.platforms) or lock.platforms,
        lock_sha256=lock.sha256,
        image=lock.image.image,
        base_digest=lock.image.digest,
        copied=spec.kind == "conda" or config.copy_images,
    )
    return Resolved(desired=desired, definition=definition, spec=spec, lock=lock)

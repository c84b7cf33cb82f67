"""Resolve: from the spec and the lock of one environment to its definition, or why there is none.

Only where the answer is not remembered: `envsync.operations.desire` loads this when it needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from envsync.errors import InvalidInput
from envsync.model.config import LOCKS, Config
from envsync.model.definition import Definition
from envsync.model.lock import Lock
from envsync.model.names import IMAGE_PLATFORMS
from envsync.model.policy import Breach, Span
from envsync.model.request import request_hash
from envsync.model.spec import Spec
from envsync.operations.contexts import check_buildable, define
from envsync.operations.load import load_environment
from envsync.operations.policy import Judging
from envsync.operations.readers import Readers, read_lock
from envsync.planning.freshness import LockRules, freshness, wanted_platforms
from envsync.planning.policy import judge, span, warnings
from envsync.planning.policy_case import Case
from envsync.planning.states import Blocked, Desired
from envsync.ports.tree import ContextTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """One environment that can be built: its spec, its lock and what follows from them."""

    desired: Desired
    definition: Definition
    spec: Spec
    lock: Lock
    tree: ContextTree
    """Where the files of a build context are read from."""
    notices: tuple[Breach, ...]
    """What the policy lets pass, and wants to be told."""
    span: Span | None
    """The days on which all this holds; None when it is not to be remembered."""


def resolve(
    tree: ContextTree, readers: Readers, config: Config, name: str, judging: Judging
) -> Resolved | Blocked:
    """Read what *tree* says about environment *name*, and judge it by the policy."""
    try:
        spec = load_environment(tree, readers.parse, name)
    except InvalidInput as error:
        return Blocked(
            name=name,
            reason="spec_invalid",
            detail="\n".join(map(str, error.faults)) or error.summary,
            hint=error.hint,
        )
    try:
        check_buildable(spec, wanted_platforms(spec, config))
    except InvalidInput as error:
        return Blocked(
            name=name,
            reason="spec_invalid",
            detail=f"{error.summary}\n{error.detail}",
            hint=error.hint,
        )
    relock = f"Lock it and commit {LOCKS}/{name}/:\n    envsync lock {name}"
    rules = LockRules(
        config=config,
        matches=readers.matches,
        root=readers.root,
        channel_alias=readers.channel_alias,
        believed=judging.policy is None,
    )
    policy = judging.of(config)
    case = Case(policy=policy, spec=spec, lock=None, rules=rules, day=judging.day)
    try:
        lock = read_lock(tree, readers.parse_lock, name)
    except InvalidInput as error:
        return Blocked(
            name=name,
            reason="lock_integrity",
            detail=str(error),
            hint=relock,
            breaches=judge(case),
        )
    stale = freshness(spec, lock, rules)
    if stale or lock is None:
        reason = stale[0].kind if stale else "lock_missing"
        detail = "\n".join(map(str, stale))
        return Blocked(name=name, reason=reason, detail=detail, hint=relock, breaches=judge(case))
    case = replace(case, lock=lock)
    if breaches := judge(case):
        detail = "\n".join(map(str, breaches))
        return Blocked(name=name, reason="policy", detail=detail, breaches=breaches)
    if spec.kind == "image" and not lock.image.digest:
        detail = f"{spec.path} has neither an image to take nor packages to put into one"
        return Blocked(name=name, reason="spec_invalid", detail=detail)
    try:
        definition = define(tree, spec, lock, config.compression)
    except InvalidInput as error:
        return Blocked(name=name, reason="spec_invalid", detail=str(error))
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
        request=request_hash(spec, config, definition.build.files if definition.build else ()),
        version=spec.version,
        platforms=tuple(p.platform for p in definition.platforms) or lock.platforms,
        lock_sha256=lock.sha256,
        image=lock.image.location,
        base_digest=lock.image.digest,
        copied=spec.kind != "image" or config.copy_images,
    )
    notices = warnings(case)
    return Resolved(
        desired=desired,
        definition=definition,
        spec=spec,
        lock=lock,
        tree=tree,
        notices=notices,
        span=None if notices else span(policy, lock, judging.day),
    )

"""Lock: from specs to exact packages, solving only what is not satisfied already.

A lock that satisfies its spec is kept byte for byte. One that does not is solved with what was
locked preferred, so that a change of the spec moves only what it must. Environments with the same
request share one answer: the first lock decides, until somebody upgrades it.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace

from envsync.errors import EnvsyncError, InvalidInput, Misuse
from envsync.model.config import LOCKS, Config
from envsync.model.lock import IMAGE_FILE, LOCK_FILE, Lock
from envsync.model.package_changes import direct_names, package_changes
from envsync.model.policy import Breach, Policy
from envsync.model.request import request_hash
from envsync.model.spec import Spec
from envsync.operations.lock_report import LockCheck, LockOutcome, LockReport
from envsync.operations.lock_work import (
    LockChoices,
    LockTools,
    LockWork,
    locked_channels,
    render,
    solve,
)
from envsync.operations.own_wheels import own_wheels
from envsync.operations.policy import refused
from envsync.planning.freshness import LockRules, Stale, freshness, wanted_platforms
from envsync.planning.policy import judge
from envsync.planning.policy_case import Case
from envsync.ports.locks import LockFiles, ParseLock
from envsync.ports.tree import Tree


def check_locks(
    specs: Sequence[Spec], tree: Tree, parse: ParseLock, rules: LockRules
) -> tuple[LockCheck, ...]:
    """Tell for each environment whether its lock satisfies it; offline, without solving."""
    return tuple(
        LockCheck(name=spec.name, why=_state(spec, tree, parse, rules)[1]) for spec in specs
    )


def lock_environments(
    specs: Sequence[Spec], tree: Tree, rules: LockRules, tools: LockTools, choices: LockChoices
) -> LockReport:
    """Lock what is not fresh, and what *choices* name; write what went well.

    A failing environment blocks no other. Raises Misuse when nothing locks a package to upgrade.
    """
    states = {spec.name: _state(spec, tree, tools.parse, rules) for spec in specs}
    policy, now = rules.config.policy, tools.now()
    seen = min(choices.exclude_newer or now, now)
    choices = _cooled(choices, policy, now)
    _require_known(choices, [old for old, _ in states.values()])
    outcomes: dict[str, LockOutcome] = {}
    works = []
    for spec in sorted(specs, key=lambda spec: spec.name):
        old, why = states[spec.name]
        remote = spec.build is not None and spec.build.remote
        if remote or (not why and not _chosen(choices, old)):
            outcomes[spec.name] = _fresh(spec, old, rules, now)
        else:
            work = _work(spec, old, why, rules.config)
            work.chosen = _day(old, choices, seen)
            _take_wheels(work, tree)
            works.append(work)
    if works and not choices.chooses_anew:
        _take_from_twins(works, tree, tools.parse)
    _solve(works, rules, tools, choices)
    files: dict[str, LockFiles] = {}
    for work in works:
        if policy.max_lock_age is None:
            work.chosen = ""  # nobody asks, and so the lock says nothing of clocks
        outcomes[work.spec.name] = _finish(work, tools, files, rules, now)
    tools.write(files)
    return LockReport(environments=tuple(outcomes[name] for name in sorted(outcomes)))


def _state(
    spec: Spec, tree: Tree, parse: ParseLock, rules: LockRules
) -> tuple[Lock | None, tuple[Stale, ...]]:
    try:
        lock = _read(spec.name, tree, parse)
    except InvalidInput as error:
        text = error.detail or error.summary
        return None, (Stale(kind="lock_integrity", platform="", text=text),)
    return lock, freshness(spec, lock, rules)


def _read(name: str, tree: Tree, parse: ParseLock) -> Lock | None:
    folder = f"{LOCKS}/{name}"
    return parse(tree.read(f"{folder}/{LOCK_FILE}"), tree.read(f"{folder}/{IMAGE_FILE}"), folder)


def _require_known(choices: LockChoices, locks: Sequence[Lock | None]) -> None:
    known = {p.name for lock in locks if lock for part in lock.packages.values() for p in part}
    if unknown := sorted(choices.packages - known):
        raise Misuse(
            f"No lock of these environments has {', '.join(unknown)}",
            hint="To add a package, write it into the spec.",
        )


def _chosen(choices: LockChoices, old: Lock | None) -> bool:
    """Tell whether a fresh lock has to be made again all the same."""
    if choices.upgrade:
        return True
    names = {p.name for part in old.packages.values() for p in part} if old else set[str]()
    return bool(names & choices.packages)


def _work(spec: Spec, old: Lock | None, why: tuple[Stale, ...], config: Config) -> LockWork:
    work = LockWork(
        spec=spec,
        old=old,
        why=why,
        request=request_hash(spec, config),
        platforms=wanted_platforms(spec, config),
        channels=locked_channels(spec, config),
    )
    if (
        old
        and why
        and all(
            reason.kind == "lock_platform_missing"
            or (reason.platform and reason.platform not in work.platforms)
            for reason in why
        )
    ):
        # Platforms came or went: what is locked for the others is right as it is.
        work.keep(old)
    return work


def _take_wheels(work: LockWork, tree: Tree) -> None:
    try:
        work.wheels = own_wheels(tree, work.spec)
    except InvalidInput as error:
        work.error = error


def _take_from_twins(works: Sequence[LockWork], tree: Tree, parse: ParseLock) -> None:
    """Take over what another environment's lock says for the same request."""
    wanted = {work.request: work for work in works if not work.packages and not work.images}
    for entry in tree.list(LOCKS):
        name = entry.removesuffix("/")
        image = tree.read(f"{LOCKS}/{name}/{IMAGE_FILE}") if entry.endswith("/") else None
        # Reading a whole lock is worth it only when the hash of a request stands in it.
        if image is None or not any(request.encode() in image for request in wanted):
            continue
        try:
            lock = _read(name, tree, parse)
        except InvalidInput:
            continue
        if lock is None or lock.image.conda_lock != lock.conda_lock:
            continue
        for work in works:
            if work.request == lock.image.request and work.spec.name != name and not work.source:
                work.keep(lock)
                work.source = name


def _solve(
    works: Sequence[LockWork], rules: LockRules, tools: LockTools, choices: LockChoices
) -> None:
    """Solve each request once, and give the answer to all environments that made it."""
    leaders: dict[tuple[object, ...], LockWork] = {}
    # One that was locked already leads, so that what it had is preferred.
    for work in sorted(works, key=lambda work: work.old is None):
        leaders.setdefault((work.request, work.platforms, bool(work.source)), work)
    solve(list(leaders.values()), rules, tools, choices)
    for work in works:
        leader = leaders[work.request, work.platforms, bool(work.source)]
        if leader is not work:
            work.share(leader)


def _base_of(lock: Lock) -> str:
    """Return the base's digest; of a Dockerfile, that of its first image."""
    images = [digest for images in lock.image.bases.values() for digest in images.values()]
    return lock.image.digest or (images[0] if images else "")


def _cooled(choices: LockChoices, policy: Policy, now: datetime.datetime) -> LockChoices:
    """Return the choices of which nothing is younger than the policy wants packages to be."""
    if policy.cooldown is None:
        return choices
    newest = now - datetime.timedelta(days=policy.cooldown.days)
    return replace(choices, exclude_newer=min(choices.exclude_newer or newest, newest))


def _day(old: Lock | None, choices: LockChoices, seen: datetime.datetime) -> str:
    """Return the day on which everything in a new lock was last chosen anew.

    *seen* is until when packages were seen: what was left out on purpose makes a lock no younger.
    """
    if old is not None and not choices.upgrade:
        return old.image.chosen
    return seen.date().isoformat()


def _fresh(spec: Spec, lock: Lock | None, rules: LockRules, now: datetime.datetime) -> LockOutcome:
    """Return how it ends for a lock that is kept: nothing is written, whatever the policy says."""
    breaches = _breaches(spec, lock, rules, now)
    if breaches:
        error = refused(spec.name, breaches)
        return LockOutcome(name=spec.name, outcome="failed", error=error)
    return LockOutcome(name=spec.name, outcome="fresh")


def _breaches(
    spec: Spec, lock: Lock | None, rules: LockRules, now: datetime.datetime
) -> tuple[Breach, ...]:
    policy = rules.config.policy
    return judge(Case(policy=policy, spec=spec, lock=lock, rules=rules, day=now.date()))


def _finish(
    work: LockWork,
    tools: LockTools,
    files: dict[str, LockFiles],
    rules: LockRules,
    now: datetime.datetime,
) -> LockOutcome:
    name, old = work.spec.name, work.old
    try:
        if work.error is not None:
            raise work.error
        lock, written = render(work, tools)
        if breaches := _breaches(work.spec, lock, rules, now):
            raise refused(name, breaches)
        files[name] = written
    except EnvsyncError as error:
        tools.progress.done(name, "failed")
        return LockOutcome(name=name, outcome="failed", why=work.why, error=error)
    digests = _base_of(old) if old else "", _base_of(lock)
    wrote = old is None or lock.sha256 != old.sha256
    if wrote:
        tools.progress.done(name, "locked")
    return LockOutcome(
        name=name,
        outcome="reused" if work.source else "locked",
        why=work.why,
        changes=package_changes(
            old.packages if old else {}, lock.packages, direct_names(work.spec.conda)
        ),
        base=digests if digests[0] != digests[1] else None,
        source=work.source,
        warnings=tuple(work.warnings),
        wrote=wrote,
    )

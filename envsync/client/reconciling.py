"""The parts of one tick of `envsync reconcile`, on a private clone of the repository."""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.private_clone import PrivateClone
from envsync.adapters.git.worktree import WorkTree
from envsync.client.parts import Parts
from envsync.errors import InvalidInput
from envsync.model.canonical import sha256_hex
from envsync.operations.apply import apply
from envsync.operations.load import environment_names, load_repository, select
from envsync.operations.lock import lock_environments
from envsync.operations.lock_report import LockReport
from envsync.operations.lock_work import LockChoices
from envsync.operations.moved_bases import moved_bases
from envsync.operations.outcome import Outcome, Result
from envsync.operations.plan import Planned
from envsync.operations.reconcile import Reconciler, Tick, reconcile, steady
from envsync.operations.refresh import Refreshed, Refresher, refresh
from envsync.planning.plan import EnvironmentPlan
from envsync.ports.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciling:
    """What every tick of one repository has in common."""

    parts: Parts
    """Of the repository that envsync was started in; it is only read."""
    clone: PrivateClone
    names: tuple[str, ...] = ()
    """Names or globs that narrow it."""
    jobs: int = 2
    now: Callable[[], float] = time.time
    """Seconds since 1970, for the age of locks."""

    def tick(
        self, progress: Progress, resting: Callable[[str], frozenset[str]] = lambda _: frozenset()
    ) -> tuple[Tick, tuple[Refreshed, ...]]:
        """Do one tick, then what is due of refreshing."""
        with ExitStack() as closing:
            parts = Parts(
                folder=self.clone.folder,
                environ=self.clone.environ,
                sleep=self.parts.sleep,
                closing=closing,
                home=self.parts.root,
            )
            work = _Work(reconciling=self, parts=parts, progress=progress)
            ended = reconcile(work.tools(), resting)
            quiet = [name for name in work.names() if name not in ended.resting]
            return ended, work.refresh(quiet, ended.commit)


def reconciling(
    parts: Parts, names: Sequence[str], branch: str, jobs: int, now: Callable[[], float] = time.time
) -> Reconciling:
    """Return what reconciling the repository of *parts* needs.

    Raises InvalidInput when it has no remote: nobody could push to it, so there is nothing to wait
    for.
    """
    config = parts.committed_config()
    remote = parts.git(config).remote
    if not remote:
        raise InvalidInput(
            "reconcile follows a branch of a git remote, and this repository has no remote",
            hint="What is committed here is built by:\n    envsync apply",
        )
    key = sha256_hex(str(parts.root.resolve()).encode())[:16]
    clone = PrivateClone(
        parts.cache_folder() / "reconcile" / key,
        parts.root,
        remote=remote,
        branch=branch or config.reconcile.branch,
        environ=parts.environ,
    )
    return Reconciling(parts=parts, clone=clone, names=tuple(names), jobs=jobs, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One tick."""

    reconciling: Reconciling
    parts: Parts
    progress: Progress

    def tools(self) -> Reconciler:
        """Return what the tick is done with."""
        chance = random.SystemRandom()
        sleep = self.parts.sleep
        return Reconciler(
            upstream=self.reconciling.clone,
            names=self.names,
            lock=self._lock,
            apply=self._apply,
            pause=lambda attempt: sleep(chance.uniform(0, min(30.0, 0.5 * 2**attempt))),
        )

    def names(self) -> tuple[str, ...]:
        """Return the environments of the clone as it is now."""
        return select(environment_names(self._tree), self.reconciling.names)

    @property
    def _tree(self) -> WorkTree:
        return WorkTree(Path(self.reconciling.clone.folder))

    def _lock(self, names: Sequence[str]) -> LockReport:
        if self.parts.committed_config().reconcile.lock == "never":
            return LockReport(environments=())
        return self._locked(names, LockChoices())

    def _locked(self, names: Sequence[str], choices: LockChoices) -> LockReport:
        tree = self._tree
        repository = load_repository(tree, parse_document, names)
        rules = self.parts.lock_rules(repository.config)
        tools = self.parts.lock_tools(self.progress)
        specs = list(repository.specs.values())
        report = lock_environments(specs, tree, rules, tools, choices)
        return report.with_broken(repository.broken)

    def _apply(self, names: Sequence[str]) -> Outcome:
        refused: list[Result] = []

        def approve(planned: Planned) -> dict[str, EnvironmentPlan]:
            allowed, stopped = steady(planned)
            refused.extend(stopped)
            return dict(allowed)

        config = self.parts.committed_config()
        workshop = self.parts.workshop(config, self.progress, self.reconciling.jobs)
        outcome = apply(workshop, names, approve=approve, reviewed=False)
        results = sorted((*outcome.results, *refused), key=lambda result: result.name)
        return replace(outcome, results=tuple(results))

    def refresh(self, names: Sequence[str], commit: str) -> tuple[Refreshed, ...]:
        """Refresh what is due."""
        settings = self.parts.committed_config().reconcile.refresh
        if not settings.wanted:
            return ()

        def moved(asked: Sequence[str]) -> frozenset[str]:
            readers, source = self.parts.readers(), self.parts.source
            return frozenset(one.name for one in moved_bases(self._tree, readers, source, asked))

        def upgrade(name: str, newest: datetime.datetime | None) -> LockReport:
            return self._locked([name], LockChoices(upgrade=True, exclude_newer=newest))

        tools = Refresher(
            upstream=self.reconciling.clone, settings=settings, moved=moved, upgrade=upgrade
        )
        return refresh(tools, names, commit, self.reconciling.now())

"""The client: what the command line does, as functions that return values."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from envsync.client.environments import Environments
from envsync.client.parts import Parts
from envsync.errors import InvalidInput
from envsync.model.config import Config
from envsync.model.reference import parse_registry_location
from envsync.operations.apply import apply
from envsync.operations.approval import only
from envsync.operations.load import load_repository
from envsync.operations.lock import lock_environments
from envsync.operations.lock_report import LockReport
from envsync.operations.lock_work import LockChoices
from envsync.operations.outcome import Outcome
from envsync.operations.plan import make_plan
from envsync.operations.validate import Validation, validate
from envsync.planning.plan import Plan
from envsync.ports.progress import Progress, Silent

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Client:
    """One repository of environments.

    It prints nothing, ends no process, and reads no environment variable: logins, proxies, caches
    and package indexes that are set by variables come in as *environ*. Everything that can go wrong
    in a known way is an `envsync.EnvsyncError`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = ".",
        *,
        registry: str = "",
        environ: Mapping[str, str] = _NOTHING,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open the repository that the folder *path* is in; nothing is read yet.

        *registry*, ``host[:port]/namespace``, is used in place of the one in ``envsync.yaml``.
        *environ* are environment variables, usually ``os.environ``. *sleep* waits between attempts
        to reach a registry.
        """
        self._parts = Parts(folder=Path(path), environ=environ, sleep=sleep)
        self._registry = str(parse_registry_location(registry)) if registry else ""
        self._environments = Environments(self._parts, self._config)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close connections to registries."""
        self._parts.closing.close()

    @property
    def root(self) -> Path:
        """The top folder of the repository."""
        return self._parts.root

    @property
    def environments(self) -> Environments:
        """The environments: create_or_update, get, list, archive, restore."""
        return self._environments

    def validate(self, *names: str) -> Validation:
        """Return every fault of the settings and of environments in the working folder."""
        desk, readers = self._parts.desk(), self._parts.readers()
        return validate(desk.tree, readers, names, self._parts.now().date())

    def lock(
        self,
        *names: str,
        upgrade: bool | Sequence[str] = False,
        progress: Progress | None = None,
    ) -> LockReport:
        """Lock what needs it, in the working folder; *upgrade* chooses all, or packages, anew.

        What failed for one environment is in the report and blocks no other.
        """
        desk = self._parts.desk()
        if isinstance(upgrade, str):
            raise InvalidInput("'upgrade' is True, or a list of packages")
        repository = load_repository(desk.tree, desk.parse, names)
        packages = frozenset() if isinstance(upgrade, bool) else frozenset(upgrade)
        choices = LockChoices(upgrade=upgrade is True, packages=packages)
        report = lock_environments(
            list(repository.specs.values()),
            desk.tree,
            self._parts.lock_rules(repository.config),
            self._parts.lock_tools(progress or Silent()),
            choices,
        )
        return report.with_broken(repository.broken)

    def plan(self, *names: str, revision: str = "HEAD", policy_from: str = "") -> Plan:
        """Return what apply would do to make the registry hold what a commit asks for, and why.

        Changes nothing. *names* narrow it; globs work. It is judged by its own policy, or by that
        of the revision *policy_from*.
        """
        git, registries = self._parts.places(
            self._parts.committed_config(revision),
            policy_from=policy_from,
            registry=self._registry,
        )
        planned = make_plan(
            git,
            registries,
            self._parts.readers(),
            revision=revision,
            names=names,
            policy_from=policy_from,
        )
        return planned.plan

    def apply(
        self,
        *names: str,
        plan: Plan | None = None,
        jobs: int = 2,
        progress: Progress | None = None,
    ) -> Outcome:
        """Build and publish what differs from the commit HEAD, and record each version in git.

        With *plan* exactly that plan is carried out, or StalePlan raised; *names* must then be
        those that it was made for. How it ended for each environment is in the outcome, errors too.
        """
        workshop = self._parts.workshop(self._config(), progress or Silent(), jobs)
        return apply(workshop, names, approve=only(plan.id) if plan is not None else None)

    def _config(self, revision: str = "HEAD") -> Config:
        config = self._parts.committed_config(revision)
        return replace(config, registry=self._registry) if self._registry else config

"""A repository in a temporary folder and everything that locking it takes."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.adapters.locks.conda_lock_file import parse_lock
from envsync.adapters.locks.conda_lock_hash import content_hashes
from envsync.adapters.locks.lock_folders import LockFolders
from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.adapters.solving.base_glibc import BaseGlibc
from envsync.adapters.solving.rattler_match import matches
from envsync.adapters.solving.rattler_solver import RattlerSolver
from envsync.adapters.solving.uv_resolver import UvResolver
from envsync.model.lock import Lock
from envsync.model.reference import EnvironmentReference, ImageReference
from envsync.operations.load import load_repository
from envsync.operations.lock import check_locks, lock_environments
from envsync.operations.lock_report import LockCheck, LockOutcome, LockReport
from envsync.operations.lock_work import LockChoices, LockTools
from envsync.planning.freshness import LockRules
from envsync.ports.locks import LockFiles
from envsync.ports.progress import Silent
from envsync.ports.registry import RegistryReader

NO_CHOICES = LockChoices()


@dataclass(slots=True)
class Repository:
    """A folder with specs, and the means to lock them."""

    root: Path
    channel: str
    cache: Path
    bases: Path = Path("/nonexistent")
    variables: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Registries of base images that were opened."""
    moment: datetime.datetime = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)

    def spec(
        self,
        name: str,
        *dependencies: str,
        pip: tuple[str, ...] = (),
        text: str = "",
        image: str = "scratch",
    ) -> None:
        """Write an environment, its conda file apart; *text* goes into the YAML."""
        folder = self.root / "environments" / name
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"- '{dependency}'" for dependency in dependencies]
        if pip:
            lines += ["- pip:", *(f"  - '{line}'" for line in pip)]
        (folder / "conda.yaml").write_text(
            "\n".join([f"channels: ['{self.channel}']", "dependencies:", *lines, ""])
        )
        (folder / "environment.yaml").write_text(
            f"name: {name}\nimage: {image}\nconda_file: conda.yaml\n{text}"
        )

    def rules(self) -> LockRules:
        """Return the rules of the repository as it is now."""
        loaded = load_repository(WorkTree(self.root), parse_document)
        return LockRules(config=loaded.config, matches=matches, root=self.root.as_posix())

    def tools(self) -> LockTools:
        """Return the real tools; base images stand in OCI layouts."""
        environ = {**os.environ, **self.variables}

        def opened(reference: ImageReference) -> RegistryReader:
            self.asked.append(str(reference))
            return LayoutRegistry(self.bases)

        return LockTools(
            conda=RattlerSolver(cache=self.cache, root=self.root, environ=environ),
            pip=UvResolver(environ=environ),
            open_registry=opened,
            find_glibc=BaseGlibc(self.cache / "glibc").find,
            find_environment=_nobody,
            parse=parse_lock,
            write=LockFolders(self.root),
            content_hashes=content_hashes,
            progress=Silent(),
            now=lambda: self.moment,
        )

    def lock(
        self, *names: str, choices: LockChoices = NO_CHOICES, tools: LockTools | None = None
    ) -> LockReport:
        """Lock the environments *names*, or all."""
        tree = WorkTree(self.root)
        loaded = load_repository(tree, parse_document, names)
        loaded.check()
        specs = list(loaded.specs.values())
        return lock_environments(specs, tree, self.rules(), tools or self.tools(), choices)

    def locked(self, name: str, choices: LockChoices = NO_CHOICES) -> LockOutcome:
        """Lock one environment; its error, if there is one, is raised."""
        (outcome,) = self.lock(name, choices=choices).environments
        if outcome.error is not None:
            raise outcome.error
        return outcome

    def check(self, *names: str) -> dict[str, LockCheck]:
        """Check the environments *names*, or all."""
        tree = WorkTree(self.root)
        loaded = load_repository(tree, parse_document, names)
        specs = list(loaded.specs.values())
        return {c.name: c for c in check_locks(specs, tree, parse_lock, self.rules())}

    def files(self, name: str) -> LockFiles:
        """Return the bytes of a lock."""
        folder = self.root / "locks" / name
        conda_lock = folder / "conda-lock.yml"
        return LockFiles(
            conda_lock=conda_lock.read_bytes() if conda_lock.exists() else None,
            image=(folder / "image.yaml").read_bytes(),
        )

    def read(self, name: str) -> Lock:
        """Return a lock as a value."""
        files = self.files(name)
        lock = parse_lock(files.conda_lock, files.image, f"locks/{name}")
        assert lock is not None
        return lock

    def versions(self, name: str, platform: str = "linux-64") -> dict[str, str]:
        """Return name to version of what is locked."""
        return {p.name: p.version for p in self.read(name).packages[platform]}


@contextmanager
def environment_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for libraries that read them in this process."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _nobody(reference: EnvironmentReference) -> ImageReference:
    raise AssertionError(f"these repositories have no records, and {reference} was asked for")

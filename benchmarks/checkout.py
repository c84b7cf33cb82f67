"""A repository that uses envsync, in a temporary folder, with a home and caches of its own."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Usage, timed
from tests.parts.gitremote import GitRepository, git_environment, new_remote

_REMOVED = (
    *("GIT_", "ENVSYNC_", "DOCKER_", "RATTLER_", "CONDA_", "REGISTRY_AUTH", "COVERAGE_"),
    # An installed program has its bytecode, whatever the shell that measures it says.
    "PYTHON",
)
ENVSYNC = (sys.executable, "-m", "envsync")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A clone of an empty remote, and how programs are run in it."""

    folder: Path
    git: GitRepository
    environment: Mapping[str, str]

    @property
    def root(self) -> Path:
        """The repository's top."""
        return self.git.path

    @property
    def cache(self) -> Path:
        """envsync's cache."""
        return Path(self.environment["ENVSYNC_CACHE_DIR"])

    def settings(self, registry: str, platforms: Sequence[str] = ("linux-64",)) -> None:
        """Write envsync.yaml; *registry* is a host, '' is a folder in the repository."""
        line = f"registry: {registry}/bench\n" if registry else ""
        self.git.write({"envsync.yaml": f"{line}platforms: [{', '.join(platforms)}]\n"})

    def spec(
        self,
        name: str,
        channels: Sequence[Path],
        dependencies: Sequence[str],
        image: str = "scratch",
    ) -> None:
        """Write an environment with a conda file beside it, which other tools read as well."""
        folder = f"environments/{name}"
        sources = "".join(f"  - {channel}\n" for channel in channels)
        items = "".join(f"  - {text}\n" for text in dependencies)
        self.git.write(
            {
                f"{folder}/environment.yaml": f"name: {name}\nimage: {image}\n"
                "conda_file: conda.yaml\n",
                f"{folder}/conda.yaml": f"channels:\n{sources}dependencies:\n{items}",
            }
        )

    def publishable(self, message: str) -> None:
        """Commit what is written, and push it as a pull request that is merged would be."""
        self.git.commit(message)
        self.git.git("push", "--quiet", "origin", "HEAD")

    def envsync(self, *arguments: str, codes: Sequence[int] = (0,)) -> Usage:
        """Run envsync and return what it took."""
        return timed(
            [*ENVSYNC, *arguments], environment=self.environment, folder=self.root, codes=codes
        )

    @contextmanager
    def empty_machine(self) -> Iterator[None]:
        """Run the block with an empty cache, and bring the one from before back after it."""
        aside = self.folder / "cache-aside"
        if self.cache.exists():
            self.cache.rename(aside)
        try:
            yield
        finally:
            self.forget()
            if aside.exists():
                aside.rename(self.cache)

    def forget(self, *names: str) -> None:
        """Remove folders of envsync's cache; without names the whole of it."""
        for folder in [self.cache / name for name in names] or [self.cache]:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def checkout() -> Iterator[Checkout]:
    """Make a repository with a remote on disk; it goes away with the block."""
    with tempfile.TemporaryDirectory(prefix="envsync-bench-") as name:
        folder = Path(name)
        own = git_environment(folder / "home")
        outside = {key: value for key, value in os.environ.items() if not key.startswith(_REMOVED)}
        environment = {
            **outside,
            **own,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
            "ENVSYNC_CACHE_DIR": str(folder / "cache/envsync"),
            "DOCKER_CONFIG": str(folder / "docker"),
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }
        git = new_remote(folder / "remote.git", own).clone(folder / "team")
        yield Checkout(folder=folder, git=git, environment=environment)

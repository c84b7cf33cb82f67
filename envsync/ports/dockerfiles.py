"""Building from Dockerfiles: an engine that does it, and the logs that are kept of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """What an engine is asked to build."""

    context: Callable[[], Iterator[bytes]]
    """The context as a tar, the Dockerfile in it."""
    dockerfile_path: str
    """In the context."""
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    registries: tuple[str, ...]
    """Hosts of the images that it builds on, for their logins."""
    secrets: Mapping[str, str]
    """Values that steps may read and that nothing else may hold, by name; they need BuildKit."""
    buildkit: bool
    """Whether the Dockerfile needs what only BuildKit does."""
    timeout: int
    """Seconds."""


class StepFailed(Exception):
    """A Dockerfile did not build: at which step, and what the engine said."""

    def __init__(self, step: int, said: str, written: str = "") -> None:
        super().__init__(said)
        self.step = step
        """Counted from 1; 0 when the engine does not say it by number."""
        self.written = written
        """The instruction, where the engine says that."""
        self.said = said


class DockerfileEngine(Protocol):
    """A container engine, as far as it builds."""

    @property
    def platform(self) -> str:
        """The platform of the images that it builds, such as linux-64."""

    def build(self, order: BuildOrder, log: Callable[[str], None]) -> str:
        """Build and return the id of the image; *log* hears every line.

        Raises StepFailed when the Dockerfile does not build, Unavailable when the time is over or
        the engine goes away, InvalidInput when it cannot do what the order asks.
        """

    def save(self, image: str) -> Iterator[bytes]:
        """Yield an image of the engine as an archive, as ``docker save`` does."""


class BuildLogs(Protocol):
    """What engines said while they built, by definition hash."""

    def write(self, definition: str) -> AbstractContextManager[Callable[[str], None]]:
        """Keep the lines that are given to what this returns, also when the build fails."""

    def read(self, definition: str) -> str | None:
        """Return the newest log of a definition; None when there is none on this machine."""

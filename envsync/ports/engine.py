"""Engines: what runs a command in an image; and turns, which processes of one machine take."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from envsync.model.job import Job
from envsync.oci.descriptor import RawManifest
from envsync.oci.run_config import RunConfig
from envsync.ports.builder import Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedImage:
    """The image of one platform: what it is, and where its bytes are."""

    manifest: RawManifest
    config: bytes
    settings: RunConfig
    """What the config says of running it."""
    layers: tuple[Blob, ...]
    """From the lowest; each stands as often as the manifest lists it."""
    pull: str = ""
    """``host/repository@digest`` where a container engine can pull it; '' where none can."""


class ReadyImage(Protocol):
    """An image that is where it can be run."""

    def run(self, job: Job) -> int:
        """Run *job* with this process's streams and return its exit code.

        127: there is no such program in the image; 126: it cannot be executed.
        """

    def become(self, job: Job) -> int:
        """Run *job* as the last thing that this process does; may replace the process."""


class Engine(Protocol):
    """Runs images on this machine."""

    @property
    def platform(self) -> str:
        """The platform of the images that it runs, such as linux-64."""

    def prepare(self, image: LocatedImage, told: Callable[[str], None]) -> ReadyImage:
        """Fetch *image* if it is not here yet; *told* hears what takes time.

        Raises NotAllowed or Unavailable when it cannot be had, or cannot be run here.
        """


class Turn(Protocol):
    """One process's turn at something that is to be done once."""

    @property
    def done(self) -> bool:
        """Whether somebody did it already."""

    @property
    def failed(self) -> int:
        """The exit code with which somebody failed while this process waited; 0 when nobody did."""

    def end(self, code: int) -> None:
        """Say how it ended: 0 is for all; another code is for those who wait now."""


class Turns(Protocol):
    """Processes of one machine that take turns."""

    def __call__(self, key: str, waiting: Callable[[], None]) -> AbstractContextManager[Turn]:
        """Wait for the turn at *key*; *waiting* is called once, if another process has it."""

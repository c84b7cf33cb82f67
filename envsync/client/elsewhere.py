"""Builds elsewhere: jobs sent through an executor of `concurrent.futures` to other processes.

Another process, on this machine or on one of a Dask cluster, shares nothing with this one but the
registry: it has its own cache, its own logins, and fetches packages by itself. Git is never asked
there: only this process records versions.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from socket import gethostname
from urllib.parse import urlsplit

from envsync.client.build_parts import plant
from envsync.client.parts import Parts
from envsync.errors import Conflict, InvalidInput, Unavailable
from envsync.model.config import Config
from envsync.operations.build_job import BuildJob
from envsync.operations.carry_out import Plant, carry_out
from envsync.operations.publish import Uploads, verify
from envsync.ports.progress import Made, Progress, Sent
from envsync.ports.registry import RegistryReader

PATIENCE = "20s"
"""How long a scheduler may take to answer."""
_SCHEMES_SHOWN = "dask://host:port for a Dask cluster, or processes://4 for four on this machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a process elsewhere must know besides the job."""

    config: Config
    root: str
    """Folder of the repository, for processes of this machine; '' where there is none."""


@dataclass(slots=True, kw_only=True)
class Heard:
    """What a job did, to be told where it was sent from; implements `Progress`."""

    events: list[tuple[str, tuple[object, ...]]] = field(default_factory=list)
    sent: int = 0

    def step(self, name: str, text: str) -> None:
        """Steps are told only where they happen."""

    def bytes(self, name: str, amount: int) -> None:
        """Count bytes."""
        self.sent += amount

    def expect(self, name: str, *, packages: int, layers: int) -> None:
        """Keep it."""
        self.events.append(("expect", (name, packages, layers)))

    def package(self, name: str, package: str, made: Made, size: int) -> None:
        """Keep it."""
        self.events.append(("package", (name, package, made, size)))

    def layer(self, name: str, digest: str, sent: Sent, size: int) -> None:
        """Keep it."""
        self.events.append(("layer", (name, digest, sent, size)))

    def done(self, name: str, text: str) -> None:
        """How it ended is told by who asked for it."""

    def tell(self, name: str, progress: Progress) -> None:
        """Tell *progress* all of it."""
        for event, values in self.events:
            if event == "expect":
                progress.expect(name, packages=int(str(values[1])), layers=int(str(values[2])))
            else:
                getattr(progress, event)(*values)
        progress.bytes(name, self.sent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What came of a job."""

    digest: str
    heard: Heard
    process: str
    """Where it was carried out: host and process id."""


class _Here:
    """What this process carries jobs out with, made for the first of a site."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._plants: dict[str, Plant] = {}

    def plant(self, site: Site, environ: Mapping[str, str]) -> Plant:
        """Return the plant of *site*, which its jobs share."""
        key = repr(site)
        with self._guard:
            if key not in self._plants:
                parts = Parts(folder=Path(site.root or "."), environ=environ)
                registry, _ = parts.registry(site.config)
                self._plants[key] = plant(parts, site.config, registry, Heard(), Uploads(registry))
            return self._plants[key]


_HERE = _Here()


def carry_out_at(site: Site, job: BuildJob, environ: Mapping[str, str]) -> Finished:
    """Carry a job out in this process, whose environment is *environ*."""
    heard = Heard()
    tools = replace(_HERE.plant(site, environ), progress=heard)
    digest = carry_out(job, tools)
    return Finished(digest=digest, heard=heard, process=f"{gethostname()}:{os.getpid()}")


def through(
    executor: Executor,
    work: Callable[[Site, BuildJob], Finished],
    site: Site,
    registry: RegistryReader,
    progress: Progress,
) -> Callable[[BuildJob], str]:
    """Return what sends a job through *executor*, to be done there by *work*, and waits for it.

    What was published there is read back here before anybody believes it.
    """

    def build(job: BuildJob) -> str:
        progress.step(job.name, "waiting for a process elsewhere")
        try:
            found = executor.submit(work, site, job).result()
        except (BrokenExecutor, CancelledError, OSError) as error:
            raise Unavailable(
                f"the process that built {job.name} was lost",
                detail=str(error) or type(error).__name__,
                hint="What it published is kept. Run it again:\n    envsync apply",
            ) from error
        found.heard.tell(job.name, progress)
        progress.step(job.name, f"built by {found.process}")
        digest = verify(registry, job.repository, job.definition)
        if digest != found.digest:
            raise Conflict(
                f"{job.repository} holds another image than was built",
                detail=f"{found.process} says {found.digest}, and there is {digest}.",
            )
        return digest

    return build


@contextmanager
def open_executor(address: str) -> Iterator[Executor]:
    """Open an executor by its address; InvalidInput for one that is not understood.

    Raises Unavailable when a cluster does not answer.
    """
    parts = urlsplit(address)
    if parts.scheme == "processes":
        if not parts.netloc.isdecimal() or int(parts.netloc) < 1:
            raise InvalidInput(
                f"{address!r} does not say how many processes", hint="Write processes://4."
            )
        # Not forked: threads and connections of this process must not be copied.
        with ProcessPoolExecutor(int(parts.netloc), mp_context=get_context("spawn")) as pool:
            yield pool
        return
    if parts.scheme != "dask" or not parts.netloc:
        raise InvalidInput(
            f"{address!r} is not the address of an executor", hint=f"Write {_SCHEMES_SHOWN}."
        )
    with _dask(parts.netloc) as executor:
        yield executor


@contextmanager
def _dask(netloc: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError as error:
        raise InvalidInput(
            "Dask is not installed",
            detail="--executor dask://… needs the package distributed.",
            hint="pip install 'envsync[dask]'",
        ) from error
    try:
        client = Client(  # type: ignore[no-untyped-call]
            f"tcp://{netloc}", timeout=PATIENCE, set_as_default=False
        )
    except OSError as error:
        raise Unavailable(f"no Dask scheduler answers at {netloc}", detail=str(error)) from error
    with client:
        # A job may be sent again when its worker died: publishing is safe to repeat.
        executor: Executor = client.get_executor(  # type: ignore[no-untyped-call]
            pure=False, retries=1
        )
        yield executor

"""What running is done with: the engine of this machine, and the cache of anonymous images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from envsync.cli.session import Session
from envsync.errors import Unavailable
from envsync.model.config import Config
from envsync.operations.anonymous import AnonymousParts
from envsync.operations.build_job import BuildJob
from envsync.planning.freshness import LockRules
from envsync.ports.engine import Engine
from envsync.ports.memory import Memory
from envsync.ports.progress import Progress
from envsync.ports.registry import RegistryWriter

EngineName = Literal["auto", "docker", "none"]

_RUNS = (
    "AZUREML_RUN_ID",
    "SLURM_JOB_ID",
    "PBS_JOBID",
    "LSB_JOBID",
    "TORCHELASTIC_RUN_ID",
)
"""Variables by which schedulers and launchers name the run that a process belongs to."""


def open_engine(session: Session, name: EngineName, told: Callable[[str], None]) -> Engine:
    """Return the engine that is asked for; without one that answers, this system itself."""
    if name != "none":
        from envsync.adapters.engine.docker_engine import DockerEngine

        try:
            return DockerEngine(session.environ, session.hosts().login)
        except Unavailable as error:
            if name == "docker":
                raise
            told(f"{error.summary}: the image is unpacked and entered without one")
    from envsync.adapters.running.namespaces import Namespaces

    terminal = {"TERM": session.environ["TERM"]} if "TERM" in session.environ else {}
    return Namespaces(session.cache_folder() / "images", terminal=terminal)


def anonymous_memory(session: Session) -> Memory:
    """Return what remembers anonymous images."""
    from envsync.adapters.building.memory_folder import MemoryFolder

    return MemoryFolder(session.cache / "anonymous" / "images", maker="1")


def anonymous_registry(session: Session) -> RegistryWriter:
    """Return the registry of anonymous images."""
    from envsync.adapters.registry.oci_layout import LayoutRegistry

    return LayoutRegistry(session.cache / "anonymous" / "registry")


def anonymous_parts(session: Session, config: Config, progress: Progress) -> AnonymousParts:
    """Return what an anonymous environment is made with; everything of it stays in the cache."""
    from envsync.adapters.git.worktree import WorkTree
    from envsync.adapters.locks.lock_folders import LockFolders
    from envsync.adapters.running.node_turns import NodeTurns
    from envsync.client.build_parts import plant
    from envsync.operations.carry_out import carry_out
    from envsync.operations.publish import Uploads

    cache = session.cache_folder()
    folder = cache / "anonymous"
    folder.mkdir(exist_ok=True)
    readers = session.readers()
    turns = NodeTurns(folder / "turns")

    @contextmanager
    def exclusive(key: str) -> Iterator[None]:
        waiting = "waiting for another process that makes it"
        with turns(key, lambda: progress.step(key, waiting)):
            yield

    registry = anonymous_registry(session)

    def build(job: BuildJob) -> str:
        return carry_out(job, plant(session, config, registry, progress, Uploads(registry)))

    return AnonymousParts(
        rules=LockRules(
            config=config,
            matches=readers.matches,
            root=readers.root,
            channel_alias=readers.channel_alias,
        ),
        tools=replace(session.lock_tools(progress), write=LockFolders(folder)),
        locks=WorkTree(folder),
        registry=registry,
        source=session.source,
        build=build,
        memory=anonymous_memory(session),
        exclusive=exclusive,
        progress=progress,
    )


def run_of(environ: Mapping[str, str]) -> str:
    """Return what names the run that this process belongs to; '' when nothing does."""
    for name in _RUNS:
        value = environ.get(name, "")
        if value and value != "none":  # what torchrun says when nobody named the run
            # A job that is started again is a new run: its node may be another one, or be cleaned.
            return f"{name} {value} {environ.get('SLURM_RESTART_COUNT', '')}".strip()
    return ""


def script_file(folder: Path, content: bytes) -> Path:
    """Keep a setup script where a container can be given it, executable, under its own hash."""
    from envsync.adapters.files.aside import Aside
    from envsync.model.canonical import sha256_hex

    target = folder / "scripts" / sha256_hex(content)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        Aside(target.parent).write(target, [content])
        target.chmod(0o555)
    return target

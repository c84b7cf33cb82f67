"""What locking is done with: the solvers, registries and folders of this machine."""

from __future__ import annotations

import threading

from envsync.adapters.locks.conda_lock_file import parse_lock
from envsync.adapters.locks.conda_lock_hash import content_hashes
from envsync.adapters.locks.lock_folders import LockFolders
from envsync.adapters.solving.base_glibc import BaseGlibc
from envsync.adapters.solving.rattler_solver import RattlerSolver
from envsync.adapters.solving.uv_resolver import UvResolver
from envsync.client.parts import Parts
from envsync.model.config import Config
from envsync.model.reference import EnvironmentReference, ImageReference
from envsync.operations.lock_work import LockTools
from envsync.operations.look import Past
from envsync.ports.progress import Progress
from envsync.ports.registry import RegistryReader


def lock_tools(parts: Parts, progress: Progress) -> LockTools:
    """Return the tools; the registries' client is loaded when the first base image is asked for."""

    def open_registry(reference: ImageReference) -> RegistryReader:
        return parts.source(reference.registry)

    asking = threading.Lock()
    known: list[tuple[Config, Past]] = []

    def find_environment(reference: EnvironmentReference) -> ImageReference:
        from envsync.operations.found_base import curated_image, own_image

        with asking:
            # The records are read once, and only when a spec names an environment as its base.
            if not known:
                config = parts.working_config()
                known.append((config, parts.past(config)[0]))
        config, past = known[0]
        if reference.registry and reference.registry not in past.own:
            return curated_image(config, parts.source, reference)
        return own_image(past, parts.registries(config), reference)

    root, cache, environ = parts.root, parts.cache_folder(), parts.environ
    return LockTools(
        conda=RattlerSolver(cache=cache / "repodata", root=root.resolve(), environ=environ),
        pip=UvResolver(environ=environ),
        open_registry=open_registry,
        find_glibc=BaseGlibc(cache / "glibc").find,
        find_environment=find_environment,
        parse=parse_lock,
        write=LockFolders(root),
        content_hashes=content_hashes,
        progress=progress,
        now=parts.now,
    )

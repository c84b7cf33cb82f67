"""What locking is done with: the solvers, registries and folders of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from envsync.adapters.base_glibc import BaseGlibc
from envsync.adapters.conda_lock_file import parse_lock
from envsync.adapters.conda_lock_hash import content_hashes
from envsync.adapters.lock_folders import LockFolders
from envsync.adapters.rattler_solver import RattlerSolver
from envsync.adapters.uv_resolver import UvResolver
from envsync.model.reference import ImageReference
from envsync.operations.lock_work import LockTools
from envsync.ports.progress import Progress, Silent
from envsync.ports.registry import RegistryReader

if TYPE_CHECKING:
    from envsync.adapters.registries import Registries


@contextmanager
def lock_tools(
    *, root: Path, cache: Path, environ: Mapping[str, str], progress: Progress | None = None
) -> Iterator[LockTools]:
    """Yield the tools; leaving the context closes connections."""
    with ExitStack() as stack:
        yield LockTools(
            conda=RattlerSolver(cache=cache / "repodata", root=root.resolve(), environ=environ),
            pip=UvResolver(environ=environ),
            open_registry=_Bases(environ, stack),
            find_glibc=BaseGlibc(cache / "glibc").find,
            parse=parse_lock,
            write=LockFolders(root),
            content_hashes=content_hashes,
            progress=progress or Silent(),
        )


class _Bases:
    """The registries of base images; their client is loaded when the first one is asked."""

    def __init__(self, environ: Mapping[str, str], stack: ExitStack) -> None:
        self._environ = environ
        self._stack = stack
        self._lock = threading.Lock()
        self._registries: Registries | None = None

    def __call__(self, reference: ImageReference) -> RegistryReader:
        with self._lock:
            if self._registries is None:
                self._registries = self._stack.enter_context(_registries(self._environ))
        return self._registries.at(reference.registry)


def _registries(environ: Mapping[str, str]) -> Registries:
    from envsync.adapters.registries import Registries, RegistrySettings
    from envsync.adapters.wire import Proxies

    home = environ.get("HOME")
    folder = environ.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    proxies = {
        scheme: url
        for scheme in ("http", "https")
        if (url := environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY"))
    }
    bypass = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return Registries(
        RegistrySettings(
            docker_config=Path(folder) if folder else None,
            proxies=Proxies(urls=proxies, bypass=bypass),
        )
    )

"""The Docker engine: images pulled or loaded, containers run with this process's streams.

Source: https://docs.docker.com/reference/api/engine/
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any

from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import DeviceRequest, Mount

from envsync.adapters.engine.attached import pump, raw_terminal
from envsync.adapters.engine.docker_archive import docker_archive
from envsync.adapters.engine.docker_connection import Connection, first_line
from envsync.adapters.registry.docker_config import Credentials
from envsync.errors import EnvsyncError, NotAllowed, Unavailable
from envsync.model.job import Job
from envsync.ports.engine import LocatedImage, ReadyImage

LABEL = "io.envsync.run"
"""Label of the containers that `envsync run` makes."""
LOADED = "envsync-run"
"""Repository of images that were loaded instead of pulled; the tag is their digest."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_WORK_SECONDS = 300
_MISSING = ("executable file not found", "no such file or directory", "stat ")


class DockerEngine:
    """Implements `envsync.ports.engine.Engine` with the engine that DOCKER_HOST names."""

    def __init__(
        self, environ: Mapping[str, str], login: Callable[[str], Credentials | None]
    ) -> None:
        """Connect; Unavailable when no engine answers. *login* is asked for a registry's login."""
        self._login = login
        self._connection = Connection(
            environ,
            purpose="no docker engine answers",
            hint="Start one, or run without:\n    --engine none",
        )
        self._api = self._connection.api
        # It lives. Busy engines take their time to make and remove containers.
        self._api.timeout = _WORK_SECONDS

    @property
    def platform(self) -> str:
        """The engine's, which may be another machine's."""
        return self._connection.platform

    def prepare(self, image: LocatedImage, told: Callable[[str], None]) -> ReadyImage:
        """Pull *image*, or load it when the engine cannot reach its registry."""
        with _explained("the image cannot be had"):
            name = self._pulled(image, told) or self._loaded(image, told)
        return _Container(self._api, name, image)

    def _pulled(self, image: LocatedImage, told: Callable[[str], None]) -> str:
        if not image.pull:
            return ""
        with suppress(ImageNotFound):
            return str(self._api.inspect_image(image.pull)["Id"])
        repository, _, digest = image.pull.partition("@")
        told(f"pulling {image.pull}")
        try:
            lines = self._api.pull(
                repository,
                tag=digest,
                auth_config=self._auth(repository),
                stream=True,
                decode=True,
            )
            if failed := next((line["error"] for line in lines if "error" in line), ""):
                told(f"the engine cannot pull it ({first_line(failed)}); sending it instead")
                return ""
            return str(self._api.inspect_image(image.pull)["Id"])
        except APIError as error:
            told(f"the engine cannot pull it ({first_line(error.explanation)}); sending it instead")
            return ""

    def _auth(self, repository: str) -> dict[str, str]:
        login = self._login(repository.partition("/")[0])
        if login is None:
            return {}  # not None: the library would look for a login by itself
        if login.identity_token:
            return {"identitytoken": login.identity_token}
        return {"username": login.username, "password": login.password}

    def _loaded(self, image: LocatedImage, told: Callable[[str], None]) -> str:
        name = f"{LOADED}:{image.manifest.digest.removeprefix('sha256:')}"
        ids = {image.manifest.digest, str(image.manifest.document()["config"]["digest"])}
        with suppress(ImageNotFound):
            found = str(self._api.inspect_image(name)["Id"])
            if found in ids:
                return found
        total = sum(layer.descriptor.size for layer in image.layers)
        told(f"loading {len(image.layers)} layers, {total / 1e6:,.1f} MB")
        # The engine answers when it has unpacked everything, and that takes as long as it takes.
        self._api.timeout = None
        try:
            for line in self._api.load_image(docker_archive(image, name)):
                if "error" in line:
                    raise Unavailable("the engine refuses the image", detail=str(line["error"]))
        finally:
            self._api.timeout = _WORK_SECONDS
        return str(self._api.inspect_image(name)["Id"])


class _Container:
    """An image of the engine; each run makes a container of it and removes it."""

    def __init__(self, api: Any, name: str, image: LocatedImage) -> None:
        self._api = api
        self._name = name
        self._digest = image.manifest.digest

    def become(self, job: Job) -> int:
        """Run *job*: a container cannot take the place of this process."""
        return self.run(job)

    def run(self, job: Job) -> int:
        """Run *job* in a new container."""
        terminal = os.isatty(0) and os.isatty(1)
        with _explained("the container cannot be run"):
            container = self._create(job, terminal)
            try:
                return self._attached(container, terminal)
            finally:
                with suppress(NotFound):
                    self._api.remove_container(container, force=True, v=True)

    def _create(self, job: Job, terminal: bool) -> str:
        ports = {f"{port.inner}/{port.protocol}": (port.address, port.outer) for port in job.ports}
        host = self._api.create_host_config(
            mounts=[
                Mount(m.target, m.source, type="bind", read_only=m.read_only) for m in job.mounts
            ],
            # Process 1 of a container hears no signal that it does not handle; docker-init does.
            init=True,
            port_bindings=ports or None,
            device_requests=_gpus(job.gpus),
        )
        created = self._api.create_container(
            self._name,
            command=list(job.command) or None,
            user=job.user or None,
            environment=dict(job.variables),
            working_dir=job.folder,
            stdin_open=True,
            tty=terminal,
            ports=[(port.inner, port.protocol) for port in job.ports] or None,
            labels={LABEL: self._digest},
            host_config=host,
        )
        return str(created["Id"])

    def _attached(self, container: str, terminal: bool) -> int:
        streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        connection = self._api.attach_socket(container, params=streams)
        raw = getattr(connection, "_sock", connection)
        raw.settimeout(None)

        def resize(lines: int, columns: int) -> None:
            with suppress(APIError):
                self._api.resize(container, lines, columns)

        with ExitStack() as stack:
            stack.callback(connection.close)
            stack.enter_context(self._forwarding(container))
            try:
                self._api.start(container)
            except APIError as error:
                if (code := _start_code(error)) is None:
                    raise
                os.write(2, f"error: {first_line(error.explanation)}\n".encode())
                return code
            if terminal:
                stack.enter_context(raw_terminal(resize))
                stack.enter_context(_on_resize(resize))
            pump(raw, terminal=terminal)
            return int(self._api.wait(container, timeout=None)["StatusCode"])

    @contextmanager
    def _forwarding(self, container: str) -> Iterator[None]:
        """Give the container the signals that this process gets; a third one of a kind kills it."""
        seen: dict[int, int] = {}

        def forward(number: int, _: FrameType | None) -> None:
            seen[number] = seen.get(number, 0) + 1
            with suppress(APIError):
                self._api.kill(container, signal.SIGKILL if seen[number] > 2 else number)

        before = {number: signal.signal(number, forward) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _on_resize(resize: Callable[[int, int], None]) -> Iterator[None]:
    def changed(_: int, __: FrameType | None) -> None:
        size = os.get_terminal_size(0)
        resize(size.lines, size.columns)

    before = signal.signal(signal.SIGWINCH, changed)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _gpus(text: str) -> list[DeviceRequest] | None:
    if not text:
        return None
    return [DeviceRequest(count=-1 if text == "all" else int(text), capabilities=[["gpu"]])]


def _start_code(error: APIError) -> int | None:
    """Return the shell's code for a program that cannot be started; None for other failures."""
    said = str(error.explanation).lower()
    if "exec" not in said:
        return None
    if any(text in said for text in _MISSING):
        return 127
    return 126 if "permission denied" in said or "exec format" in said else None


@contextmanager
def _explained(summary: str) -> Iterator[None]:
    """Give the engine's errors envsync's words."""
    try:
        yield
    except (EnvsyncError, BrokenPipeError):
        raise  # a broken pipe is our own output's: its reader has seen enough
    except APIError as error:
        kind = NotAllowed if error.status_code in {401, 403} else Unavailable
        raise kind(summary, detail=first_line(error.explanation or error)) from error
    except (DockerException, OSError) as error:
        raise Unavailable(summary, detail=first_line(error)) from error

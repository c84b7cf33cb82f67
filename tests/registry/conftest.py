"""Registries of every kind, for the contract that all of them keep."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from envsync.adapters.http.retries import Clock
from envsync.adapters.registry.http_registry_writer import HttpRegistry
from envsync.adapters.registry.recording_registry import RecordingRegistry
from envsync.adapters.registry.registries import Registries, RegistrySettings, open_registry
from envsync.ports.registry import RegistryWriter
from tests.parts.registry import Registry, run_registry
from tests.registry.images import Image, image
from tests.registry.proxy import Proxy, proxied

_number = itertools.count(1)


@pytest.fixture(scope="session")
def login_registry() -> Iterator[Registry]:
    """A registry that wants a login, over TLS, for the tests of one worker."""
    with run_registry(auth=True, tls=True) as running:
        yield running


@pytest.fixture
def repository() -> str:
    """A repository of the test's own."""
    return f"team/envs/test{next(_number)}"


def fast_clock() -> Clock:
    """Return a clock on which a sleep takes 50 ms at most."""
    elapsed = [1000.0]

    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, 1) / 20)  # a real registry needs real time to get over something
        elapsed[0] += seconds

    return Clock(monotonic=lambda: elapsed[0], sleep=sleep, random=lambda: 1.0)


def settings(running: Registry, folder: Path) -> RegistrySettings:
    """Return the settings of a user of a running registry."""
    config = running.docker_config(folder / "docker")
    if running.ca:
        certificates = config / "certs.d" / running.host
        certificates.mkdir(parents=True, exist_ok=True)
        (certificates / "ca.crt").write_bytes(running.ca.read_bytes())
    return RegistrySettings(docker_config=config, clock=fast_clock())


class Waits:
    """A clock that notes how long somebody wanted to sleep."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.slept: list[float] = []

    def clock(self) -> Clock:
        return Clock(
            monotonic=lambda: self.now, wall=lambda: self.now, sleep=self.sleep, random=lambda: 1.0
        )

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def proxy(shared_registry: Registry) -> Iterator[Proxy]:
    with proxied(shared_registry.host) as running:
        yield running


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def registry(proxy: Proxy, waits: Waits) -> Iterator[HttpRegistry]:
    with Registries(RegistrySettings(clock=waits.clock())) as registries:
        yield registries.at(proxy.host)


@pytest.fixture
def hello(shared_registry: Registry, repository: str) -> Image:
    """An image that is in the registry under the tag 1."""
    made = image(f"hello {repository}")
    with Registries(RegistrySettings()) as registries:
        made.put(registries.at(shared_registry.host), repository, "1")
    return made


@pytest.fixture(params=["a folder", "a folder, recorded", "http", "https with a login"])
def registry_under_test(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RegistryWriter]:
    """Each implementation in turn."""
    if "folder" in request.param:
        with Registries(RegistrySettings()) as registries:
            folder = open_registry(tmp_path / "registry", registries)
            yield RecordingRegistry(folder) if "recorded" in request.param else folder
        return
    name = "shared_registry" if request.param == "http" else "login_registry"
    running: Registry = request.getfixturevalue(name)
    with Registries(settings(running, tmp_path)) as registries:
        yield open_registry(running.host, registries)

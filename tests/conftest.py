"""Real parts as fixtures; a test whose part cannot be had is skipped, and fails where CI is set."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.golden import Golden
from tests.parts import realdata
from tests.parts.baseimage import BaseImage, busybox_base, debian_base
from tests.parts.cache import ENVIRONMENT, Unavailable, cache_root
from tests.parts.channel import test_channel, tiny_channel, why_not_aarch64
from tests.parts.engine import Engine, shared_engine
from tests.parts.githttp import GitServer, serve_git
from tests.parts.gitremote import (
    GitRemote,
    GitRepository,
    git_environment,
    new_remote,
    new_repository,
)
from tests.parts.registry import Registry, run_registry
from tests.parts.serving import FileServer, serve_folders
from tests.team import Team

# Machines are shared and slow at times; how long an example took says nothing about the code.
settings.register_profile("envsync", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("envsync")

_IN_CI = ENVIRONMENT.get("CI", "").lower() not in ("", "0", "false")

# What a person has set must not decide what a test sees.
_REMOVED = ("GIT_", "ENVSYNC_", "DOCKER_", "RATTLER_", "CONDA_", "REGISTRY_AUTH")
# How the machine reaches Python packages is kept: it may know no other way to them.
_KEPT = {"PIP_CONFIG_FILE": "pip/pip.conf", "UV_CONFIG_FILE": "uv/uv.toml"}


@contextmanager
def _missing_parts_skip() -> Iterator[None]:
    try:
        yield
    except Unavailable as missing:
        if _IN_CI:
            pytest.fail(f"a real part is missing where it has to be had: {missing}", pytrace=False)
        pytest.skip(str(missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """Skip a test whose fixtures need what this machine lacks."""
    with _missing_parts_skip():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Skip a test that finds out by itself that this machine lacks something."""
    with _missing_parts_skip():
        yield


def pytest_configure() -> None:
    """Let what tests start hear Ctrl-C, also where a shell started the tests with ``&``."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this suite."""
    parser.addoption(
        "--regenerate-golden", action="store_true", help="write golden files, do not compare"
    )


@pytest.fixture(scope="session")
def golden(pytestconfig: pytest.Config) -> Golden:
    """Texts that are pinned as files."""
    return Golden(regenerate=bool(pytestconfig.getoption("--regenerate-golden")))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test its own home, caches, git identity and Docker configuration."""
    for name in os.environ:
        if name.startswith(_REMOVED):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    variables = {
        **git_environment(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_DATA_HOME": str(folder / "data"),
        "DOCKER_CONFIG": str(folder / "docker"),
        "UV_CACHE_DIR": str(cache_root() / "uv"),
        # What a test starts on loopback is never behind a proxy.
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    configuration = Path(ENVIRONMENT.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for name, file in _KEPT.items():
        if name not in os.environ and (configuration / file).exists():
            variables[name] = str(configuration / file)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture(scope="session")
def package_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for unpacked conda packages that the tests of one worker share."""
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="session")
def channel() -> Path:
    """The full conda channel."""
    return test_channel("full")


@pytest.fixture(scope="session")
def small_channel() -> Path:
    """The channel with python, numpy, flask, requests, rich and the made-up packages."""
    return test_channel("small")


@pytest.fixture(scope="session")
def extra_channel() -> Path:
    """A second channel, which has other versions of some packages of the first."""
    return test_channel("extra")


@pytest.fixture(scope="session")
def two_platform_channel(channel: Path) -> Path:
    """The full channel, if it has python for linux-aarch64."""
    reason = why_not_aarch64(channel)
    if reason:
        raise Unavailable(f"no python for linux-aarch64: {reason}")
    return channel


@pytest.fixture
def channel_server(channel: Path, extra_channel: Path) -> Iterator[FileServer]:
    """The full channel as `main` and the second one as `extra`, over HTTP."""
    with serve_folders({"main": channel, "extra": extra_channel}) as server:
        yield server


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that was collected from public repositories."""
    return realdata.shared_data()


@pytest.fixture(scope="session")
def real_repodata() -> Path:
    """A channel of 25,000 real records without their packages."""
    return realdata.repodata_channel()


@pytest.fixture
def registry() -> Iterator[Registry]:
    """An empty registry of the test's own, over plain HTTP."""
    with run_registry() as registry:
        yield registry


@pytest.fixture
def secure_registry() -> Iterator[Registry]:
    """An empty registry that wants a login, over TLS with a private authority."""
    with run_registry(auth=True, tls=True) as registry:
        yield registry


@pytest.fixture(scope="session")
def shared_registry() -> Iterator[Registry]:
    """A registry for the tests of one worker, which keep to repositories of their own."""
    with run_registry() as registry:
        yield registry


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The Docker engine that all workers share."""
    with shared_engine() as engine:
        yield engine


@pytest.fixture(scope="session", name="debian_base")
def _debian_base() -> BaseImage:
    """A minimal Debian for amd64, to be pushed where a test wants it."""
    return debian_base()


@pytest.fixture(scope="session", name="busybox_base")
def _busybox_base() -> BaseImage:
    """An index of two tiny images that run, for amd64 and arm64."""
    return busybox_base()


@pytest.fixture
def git_variables(home: Path) -> dict[str, str]:
    """The variables that keep git apart from the machine's settings; they are set already."""
    return git_environment(home)


@pytest.fixture
def git_remote(tmp_path: Path, git_variables: dict[str, str]) -> GitRemote:
    """An empty bare repository."""
    return new_remote(tmp_path / "remotes" / "team.git", git_variables)


@pytest.fixture
def repository(tmp_path: Path, git_variables: dict[str, str]) -> GitRepository:
    """An empty repository with a work tree and no remote."""
    return new_repository(tmp_path / "repository", git_variables)


@pytest.fixture
def git_server(git_remote: GitRemote, git_variables: dict[str, str]) -> Iterator[GitServer]:
    """A smart HTTP server of the bare repository."""
    with serve_git(git_remote.path.parent, git_variables) as server:
        yield server


@pytest.fixture(scope="session")
def tiny_packages() -> Path:
    """A channel of forty tiny packages, ``tiny-00000`` to ``tiny-00039``."""
    return tiny_channel(40)


@pytest.fixture
def folder_team(repository: GitRepository, tiny_packages: Path, tmp_path: Path) -> Team:
    """One laptop: images in a folder, records in the local repository."""
    team = Team(repository=repository, channel=tiny_packages, cache=tmp_path / "cache")
    team.settings()
    repository.commit("settings")
    return team


@pytest.fixture
def server_team(
    git_remote: GitRemote, registry: Registry, tiny_packages: Path, tmp_path: Path
) -> Team:
    """A team: a registry over HTTP, records in a bare remote."""
    team = Team(
        repository=git_remote.clone(tmp_path / "work"),
        channel=tiny_packages,
        cache=tmp_path / "cache",
        remote=git_remote,
        registry=registry,
    )
    team.settings()
    team.repository.commit("settings")
    team.repository.git("push", "--quiet", "origin", "main")
    return team


@pytest.fixture(params=["a folder", "a registry and a remote"])
def team(request: pytest.FixtureRequest) -> Team:
    """Each kind in turn."""
    name = "folder_team" if request.param == "a folder" else "server_team"
    found: Team = request.getfixturevalue(name)
    return found

"""Credentials in every place where people have them, through every kind of fault (X8).

Each has a canary of its own. After everything that can go wrong none stands in what was said, in
git, in the registry, in the caches, in metrics or in a saved plan: neither as it is nor as a
request carries it.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
import zstandard

from envsync.client.registry_logins import variable_part
from tests.parts.baseimage import hollow_base
from tests.parts.githttp import GitServer, serve_git
from tests.parts.gitremote import GitRemote
from tests.parts.process import tool
from tests.parts.registry import Registry
from tests.parts.serving import FileServer, serve_folders
from tests.registry.proxy import Asked, Proxy, Reply, errors, proxied
from tests.reliability.counts import count
from tests.reliability.faults import FAULTS, OPERATIONS, impatient
from tests.team import Done, Team

CANARY = "c4n4ry"
"""Stands in every secret. Names of tests and folders must not have it."""
USER = "ada"

TOKENS = (
    "GITHUB_TOKEN", "GH_TOKEN", "GITLAB_TOKEN", "CI_JOB_TOKEN", "AWS_SECRET_ACCESS_KEY",
    "AZURE_CLIENT_SECRET", "UV_PUBLISH_TOKEN", "NPM_TOKEN", "TOKEN",
)  # fmt: skip
"""Variables of machines; TOKEN stands for a secret of builds."""


def secret(place: str) -> str:
    return f"{CANARY}-{place}"


def pair(place: str) -> str:
    """Return a login as a request carries it."""
    return base64.b64encode(f"{USER}:{secret(place)}".encode()).decode()


PLACES = ("docker", "helper", "variables", "store", "netrc", "userinfo", "index", "git")
"""Of logins; with the tokens, and the secret of builds, these are ten."""
NEEDLES = tuple(needle.encode() for needle in (CANARY, *(pair(place) for place in PLACES)))


def echo(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    """A registry that says aloud what it was told in confidence."""
    said = asked.headers.get("authorization", "")
    plain = base64.b64decode(said.partition(" ")[2]).decode()
    return errors(400, "DENIED", f"{said} {plain} {plain.partition(':')[2]} is wrong")


def signed(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    """A redirect to an address that opens a door by itself, where nobody answers."""
    where = f"http://127.0.0.1:1/blob?signature={secret('signature')}"
    return Reply(status=307, headers={"location": where})


BAD = {**FAULTS, "echo": echo, "signed redirect": signed}


@dataclass(kw_only=True)
class World:
    """A team that has a login for everything."""

    team: Team
    proxies: Mapping[str, Proxy]
    channels: Mapping[str, FileServer]
    git: GitServer
    remote: GitRemote
    folder: Path
    known: set[Path]
    """Files in which people keep credentials."""
    said: list[str] = field(default_factory=list)

    def run(self, *arguments: str) -> Done:
        """Run a command and keep what it says."""
        done = self.team.envsync(*arguments)
        self.said += [done.out, done.err]
        assert "unexpected error" not in done.out + done.err, done.err
        return done

    def gate(self) -> None:
        """Let every host want its login, and forget faults."""
        for place, proxy in self.proxies.items():
            proxy.forget()
            proxy.rule(_wants(f"Basic {pair(place)}"))

    def searched(self) -> int:
        """Look for canaries everywhere; return how many texts and files that were."""
        for text in self.said:
            found = [needle for needle in NEEDLES if needle in text.encode()]
            assert not found, text
        seen = len(self.said)
        for parent, _, names in os.walk(self.folder):
            for name in names:
                path = Path(parent, name)
                if path in self.known or path.is_symlink() or not path.is_file():
                    continue
                for data in _readings(path.read_bytes()):
                    assert not any(needle in data for needle in NEEDLES), path
                seen += 1
        for repository in (self.team.repository, self.remote.bare):
            ask = [tool("git"), "cat-file", "--batch-all-objects", "--batch"]
            objects = subprocess.run(ask, cwd=repository.path, capture_output=True, check=True)
            assert not any(needle in objects.stdout for needle in NEEDLES)
            seen += objects.stdout.count(b"\n")
        return seen


def _readings(data: bytes) -> Iterator[bytes]:
    """Yield a file's bytes, and what they are unpacked."""
    yield data
    if data.startswith(b"\x1f\x8b"):
        yield gzip.decompress(data)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        yield zstandard.ZstdDecompressor().decompressobj().decompress(data)


def _wants(header: str) -> Callable[[Asked, Callable[[], Reply]], Reply | None]:
    def answer(asked: Asked, ask: Callable[[], Reply]) -> Reply | None:
        if asked.headers.get("authorization") == header:
            return None
        return Reply(status=401, headers={"www-authenticate": 'Basic realm="registry"'})

    return answer


def _git_login(way: str, world: World, home: Path) -> None:
    """Give git its login in one of the ways that people use."""
    team, host = world.team, world.git.base
    config = team.root / ".git/config"
    world.known.add(config)
    plain = world.git.url(world.remote)
    if way == "userinfo":
        plain = plain.replace("://", f"://{USER}:{quote(secret('git'))}@")
    elif way == "extraheader":
        team.repository.git(
            "config", f"http.{host}/.extraheader", f"Authorization: Basic {pair('git')}"
        )
    else:
        store = home / "git-credentials"
        store.write_text(host.replace("://", f"://{USER}:{secret('git')}@") + "\n")
        world.known.add(store)
        team.repository.git("config", "credential.helper", f"store --file={store}")
    team.repository.git("remote", "set-url", "origin", plain)


@pytest.fixture
def world(
    git_remote: GitRemote, git_variables: dict[str, str], registry: Registry, tiny_packages: Path,
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:  # fmt: skip
    """The registry, two bases, two channels and a git remote, each with a login of its own."""
    with hollow_base() as image:
        image.push(registry)
    with ExitStack() as stack:
        proxies = {p: stack.enter_context(proxied(registry.host)) for p in PLACES[:3]}
        channels = {
            place: stack.enter_context(
                serve_folders({"channel": tiny_packages}, login=(USER, secret(place)))
            )
            for place in ("store", "netrc", "userinfo")
        }
        git = stack.enter_context(
            serve_git(git_remote.path.parent, git_variables, login=(USER, secret("git")))
        )
        team = Team(
            repository=git_remote.clone(tmp_path / "work"), channel=tiny_packages,
            cache=tmp_path / "cache", remote=git_remote, registry=registry,
            address=proxies["docker"].host,
        )  # fmt: skip
        world = World(
            team=team, proxies=proxies, channels=channels, git=git, remote=git_remote,
            folder=tmp_path, known=set(),
        )  # fmt: skip
        _logins(world, home, monkeypatch)
        world.gate()
        yield world


def _logins(world: World, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, docker = home / "bin", home / "docker"
    for folder in (programs, docker):
        folder.mkdir(parents=True, exist_ok=True)
    helper, config = programs / "docker-credential-kept", docker / "config.json"
    login = json.dumps({"Username": USER, "Secret": secret("helper")})
    helper.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{login}'\n")
    helper.chmod(0o755)
    config.write_text(
        json.dumps(
            {
                "auths": {world.proxies["docker"].host: {"auth": pair("docker")}},
                "credHelpers": {world.proxies["helper"].host: "kept"},
            }
        )
    )
    store, netrc = home / "store.json", home / ".netrc"
    kept = {"BasicHTTP": {"username": USER, "password": secret("store")}}
    place = world.channels["store"].base.removeprefix("http://")
    store.write_text(json.dumps({place: kept, place.partition(":")[0]: kept}))
    netrc.write_text(f"machine localhost login {USER} password {secret('netrc')}\n")
    netrc.chmod(0o600)
    world.known |= {helper, config, store, netrc}
    variable = f"ENVSYNC_REGISTRY_{variable_part(world.proxies['variables'].host)}"
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("RATTLER_AUTH_FILE", str(store))
    monkeypatch.setenv("NETRC", str(netrc))
    index = f"http://{USER}:{secret('index')}@127.0.0.1:1/simple"
    for name, value in {
        **{token: secret(token) for token in TOKENS},
        f"{variable}_USERNAME": USER,
        f"{variable}_PASSWORD": secret("variables"),
        "CONDA_CHANNEL_ALIAS": world.channels["userinfo"].base.replace(
            "://", f"://{USER}:{quote(secret('userinfo'))}@"
        ),
        "PIP_INDEX_URL": index,
        "UV_DEFAULT_INDEX": index,
        "HTTPS_PROXY": f"http://{USER}:{secret('proxy')}@127.0.0.1:1",
        "ENVSYNC_DEBUG": "1",
    }.items():
        monkeypatch.setenv(name, value)


def _specs(world: World) -> None:
    channels = {
        "store": world.channels["store"].url("channel"),
        "netrc": world.channels["netrc"].url("channel").replace("127.0.0.1", "localhost"),
        "userinfo": "channel",
    }
    for name, place, base, package in (
        ("one", "store", "helper", "tiny-00000"), ("two", "netrc", "variables", "tiny-00001"),
        ("three", "userinfo", "helper", "tiny-00010"),
    ):  # fmt: skip
        image = f"{world.proxies[base].host}/base/hollow:1"
        world.team.repository.write(
            {
                f"environments/{name}/environment.yaml": f"name: {name}\nimage: {image}\n"
                f"conda_file:\n  channels: ['{channels[place]}']\n  dependencies: [{package}]\n"
            }
        )


CASES = [(name, list(OPERATIONS)[number % len(OPERATIONS)]) for number, name in enumerate(BAD)]
FAST = [
    number
    for number, (fault, _) in enumerate(CASES)
    if fault in {"500", "401", "reset after", "html", "signed redirect"}
]
"""One of each kind of answer; what a fault that takes long adds is time."""
WAYS = ("userinfo", "extraheader", "helper")


def suffer(world: World, home: Path, fault: str, operation: str, way: str) -> int:
    """Let everything go wrong once; return in how many texts and files no canary was."""
    team = world.team
    team.settings()
    _specs(world)
    _git_login(way, world, home)
    locked = world.run("lock")
    assert locked.code == 0, locked.out + locked.err
    team.repository.commit("locked")
    team.repository.git("push", "--quiet", "origin", "main")
    saved = world.folder / "plan.json"
    assert world.run("plan", "one", "two", "--format", "json", "--out", str(saved)).code == 0
    _git_faults(world)
    _service(world)
    _registry_faults(world, fault, operation)
    _channel_faults(world, fault)
    done = world.run("apply", "one", "two", "--format", "json")
    assert done.code == 0, done.out + done.err
    for words in (
        ["reconcile", "--once", "one", "two", "--metrics-file", str(world.folder / "file.prom")],
        ["show", "one", "--packages"], ["history", "one"], ["verify", "--format", "json"],
        ["list"], ["status"], ["cache", "info"], ["export", "one", "--to", "conda-lock"],
    ):  # fmt: skip
        world.run(*words)
    return world.searched()


def _service(world: World) -> None:
    """Let the service say in its log what a registry told it, which repeats logins aloud."""
    world.proxies["docker"].rule(
        lambda asked, ask: echo(asked, ask) if "authorization" in asked.headers else None
    )
    process = world.team.start(
        "reconcile", "--interval", "1s", "--log", "json", "one", "--metrics-file",
        str(world.folder / "service.prom"),
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        world.said.append(line)
        if '"tick.ended"' in line:
            break
    process.terminate()
    world.said += process.communicate(timeout=30)
    assert any('"environment.failed"' in said for said in world.said)
    world.gate()


def _registry_faults(world: World, fault: str, operation: str) -> None:
    method, pattern = OPERATIONS[operation]

    def bad(asked: Asked, ask: Callable[[], Reply]) -> Reply | None:
        known = asked.headers.get("authorization", "").startswith("Basic ")
        wrong = asked.method == method and re.search(pattern, asked.path)
        return BAD[fault](asked, ask) if known and wrong else None

    world.proxies["docker"].rule(bad)
    world.run("apply", "one")
    world.gate()
    for place in ("docker", "helper", "variables"):
        hit: list[str] = []

        def always(asked: Asked, ask: Callable[[], Reply], hit: list[str] = hit) -> Reply | None:
            if not asked.headers.get("authorization", "").startswith("Basic "):
                return None
            hit.append(asked.path)
            return BAD[fault](asked, ask)

        world.proxies[place].rule(always)
        world.run("plan", "--format", "json")
        world.run("lock", "one", "two", "--upgrade", "--format", "json")
        world.run("apply", "one", "two", "--format", "json")
        assert hit, f"nobody logged in at {place}"
        world.gate()
        world.team.repository.git("checkout", "--quiet", "--", "locks")


def _channel_faults(world: World, fault: str) -> None:
    how = {"401": 401, "403": 403, "500": 500, "503": 503, "429": 429, "404": 404}.get(
        fault, "drop"
    )
    for server in world.channels.values():
        server.fail(how)  # type: ignore[arg-type]
    world.run("lock", "--upgrade", "--format", "json")
    world.run("lock", "--upgrade")
    world.team.repository.git("checkout", "--quiet", "--", "locks")
    for server in world.channels.values():
        server.heal()


def _git_faults(world: World) -> None:
    for fault in (world.remote.reject, world.remote.drop_before_update):
        fault()
        assert world.run("apply", "one", "two").code != 0
        world.run("reconcile", "--once", "one", "two", "--format", "json")
        world.remote.behave()
    login = world.git.login
    kept = {path: path.read_bytes() for path in world.known}
    world.git.login = (USER, "another")
    assert world.run("apply", "one", "two").code in {7, 8}
    world.run("reconcile", "--once", "--format", "json")
    world.git.login = login
    for path, content in kept.items():
        path.write_bytes(content)  # git forgets a login that was refused


@pytest.mark.parametrize("number", FAST, ids=lambda n: CASES[n][0])
def test_no_canary_is_found_anywhere(
    world: World, home: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    _check(world, home, monkeypatch, number)


@pytest.mark.full
@pytest.mark.parametrize(
    "number", [n for n in range(len(CASES)) if n not in FAST], ids=lambda n: CASES[n][0]
)
def test_no_canary_is_found_anywhere_after_any_fault(
    world: World, home: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    _check(world, home, monkeypatch, number)


def _check(world: World, home: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fault, operation = CASES[number]
    impatient(monkeypatch, speed=20 if fault == "slow drip" else 1)
    seen = suffer(world, home, fault, operation, WAYS[number % len(WAYS)])
    assert seen > 100
    places = len(PLACES) + 2
    count(
        "X8", faults=1, canaries=places, **{"texts and files searched": seen, "canaries found": 0}
    )

"""A private base image and a private registry: logins from the environment, and where they stay."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from envsync.adapters.registry.docker_config import Credentials
from envsync.client.registry_logins import FILE, VariableLogins, logins, variable_part
from envsync.errors import InvalidInput
from tests.parts.baseimage import BaseImage
from tests.parts.gitremote import GitRepository
from tests.parts.registry import LOGIN, Registry
from tests.reliability.counts import count
from tests.team import Team

CANARIES = (LOGIN[1].encode(), base64.b64encode(":".join(LOGIN).encode()))


def _variables(registry: Registry) -> dict[str, str]:
    name = f"ENVSYNC_REGISTRY_{variable_part(registry.host)}"
    return {f"{name}_USERNAME": LOGIN[0], f"{name}_PASSWORD": LOGIN[1]}


def _file(registry: Registry, folder: Path) -> dict[str, str]:
    return {FILE: str(registry.docker_config(folder) / "config.json")}


def _docker(registry: Registry, folder: Path) -> dict[str, str]:
    return {"DOCKER_CONFIG": str(registry.docker_config(folder))}


@pytest.mark.parametrize(
    ("host", "part"),
    [
        ("ghcr.io", "GHCR_IO"),
        ("localhost:5000", "LOCALHOST_5000"),
        ("my-team.example.org:443", "MY__TEAM_EXAMPLE_ORG_443"),
        ("[::1]:5000", "___1__5000"),
    ],
)
def test_variables_are_named_after_the_host(host: str, part: str) -> None:
    environ = {
        f"ENVSYNC_REGISTRY_{part}_USERNAME": "me",
        f"ENVSYNC_REGISTRY_{part}_PASSWORD": "secret",
    }
    found = VariableLogins(environ).credentials(host)
    assert found == Credentials(username="me", password="secret")
    assert VariableLogins(environ).credentials("other.io") is None


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ("registry.example.com", "registry-example.com"),
        ("my-team.example.org", "my.team.example.org"),
        ("my-team.example.org", "my.team-example.org"),
        ("ghcr.io", "ghcr-io"),
        ("localhost:5000", "localhost-5000"),
        ("a.b-c.io", "a-b.c.io"),
    ],
)
def test_a_host_that_is_only_written_alike_gets_no_login(own: str, other: str) -> None:
    """Anybody can register such a name, and name an image there in a pull request."""
    name = f"ENVSYNC_REGISTRY_{variable_part(own)}"
    found = VariableLogins({f"{name}_USERNAME": "me", f"{name}_PASSWORD": "canary"})
    assert found.credentials(own) is not None
    assert found.credentials(other) is None
    count("X9", cases=1, **{"hosts written alike": 1})


def test_docker_hub_has_one_name_whatever_it_is_called() -> None:
    environ = {
        "ENVSYNC_REGISTRY_DOCKER_IO_USERNAME": "me",
        "ENVSYNC_REGISTRY_DOCKER_IO_PASSWORD": "secret",
    }
    for host in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        assert VariableLogins(environ).credentials(host) is not None


def test_half_a_login_is_told_without_the_other_half() -> None:
    with pytest.raises(InvalidInput) as refused:
        VariableLogins({"ENVSYNC_REGISTRY_A_IO_PASSWORD": "canary"}).credentials("a.io")
    assert "ENVSYNC_REGISTRY_A_IO_USERNAME is not set" in str(refused.value)
    assert "canary" not in str(refused.value)


def test_a_file_of_logins_that_is_not_there_is_told() -> None:
    with pytest.raises(InvalidInput, match="not there"):
        logins({FILE: "/nowhere/auth.json"})


@pytest.fixture
def private(
    repository: GitRepository, secure_registry: Registry, tiny_packages: Path, tmp_path: Path
) -> Team:
    """A team whose registry wants a login, with a private authority."""
    team = Team(
        repository=repository,
        channel=tiny_packages,
        cache=tmp_path / "cache",
        registry=secure_registry,
        variables={"ENVSYNC_CA_FILE": str(secure_registry.ca)},
    )
    team.settings()
    repository.commit("settings")
    return team


@pytest.mark.parametrize("way", ["variables", "file", "docker"])
def test_a_login_opens_a_private_base_and_is_found_nowhere_afterwards(
    private: Team, busybox_base: BaseImage, way: str, tmp_path: Path
) -> None:
    registry = private.registry
    assert registry is not None
    base = busybox_base.push(registry)
    private.spec("tool", "tiny-00000", image=base)
    refused = private.envsync("lock", "tool")
    assert refused.code == 7, refused.out
    folder = tmp_path / "logins"
    if way == "variables":
        private.variables |= _variables(registry)
    else:
        private.variables |= _file(registry, folder) if way == "file" else _docker(registry, folder)
    said = refused.out + refused.err
    for arguments in (["lock"], ["plan", "--format", "json"], ["apply"], ["show", "tool"]):
        done = private.envsync(*arguments)
        assert done.code == 0, done.err
        said += done.out + done.err
        private.repository.commit(arguments[0])
    ran = subprocess.run(
        [sys.executable, "-m", "envsync", "run", "--engine", "none", "tool", "--", "env"],
        cwd=private.root,
        env={**private.environment(), "ENVSYNC_DEBUG": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    said += ran.stdout + ran.stderr
    for canary in CANARIES:
        assert canary.decode() not in said
    private.repository.git("gc", "--quiet")
    places = [private.root, private.cache, registry.data]
    seen = sum(_search(place) for place in places)
    assert seen > 20
    objects = private.repository.git("cat-file", "--batch-all-objects", "--batch-check")
    for line in objects.splitlines():
        text = private.repository.git("cat-file", "-p", line.split()[0])
        assert LOGIN[1] not in text
    count("X8", places=1, **{"texts and files searched": seen, "canaries found": 0})


def _search(folder: Path) -> int:
    """Look for canaries in all files below a folder; return how many files that were."""
    seen = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                assert not any(canary in content for canary in CANARIES), path
                seen += 1
    return seen


def test_a_wrong_login_is_not_repeated_in_the_error(private: Team, busybox_base: BaseImage) -> None:
    assert private.registry is not None
    base = busybox_base.push(private.registry)
    private.spec("tool", image=base)
    name = f"ENVSYNC_REGISTRY_{variable_part(private.registry.host)}"
    private.variables |= {f"{name}_USERNAME": "me", f"{name}_PASSWORD": "canary-password"}
    done = private.envsync("lock", "tool", "--format", "json")
    assert done.code == 7
    assert "canary" not in done.out + done.err
    json.loads(done.out)
    count("X8", faults=1, **{"canaries found": 0})

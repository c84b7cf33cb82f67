"""The registry, the engine, the bases and the git remotes behave as the programs they are."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
import rattler
from rattler import Gateway

from tests.parts.baseimage import BaseImage, hollow_base
from tests.parts.engine import Engine, shared_engine
from tests.parts.githttp import GitServer, serve_git
from tests.parts.gitremote import GitError, GitRemote, GitRepository
from tests.parts.install import missing_packages
from tests.parts.process import tool
from tests.parts.registry import Registry, run_registry


def first_commit(remote: GitRemote, folder: Path) -> GitRepository:
    clone = remote.clone(folder)
    clone.commit("first", {"environments/a/environment.yaml": "name: a\n"})
    clone.git("push", "--quiet", "origin", "main")
    return clone


def test_the_registry_takes_an_index_from_skopeo_and_tells_what_was_asked(
    registry: Registry,
) -> None:
    with hollow_base() as base:
        reference = base.push(registry)
    raw = subprocess.run(
        [tool("skopeo"), "inspect", "--raw", "--tls-verify=false", f"docker://{reference}"],
        check=True,
        capture_output=True,
    ).stdout
    assert len(json.loads(raw)["manifests"]) == 2
    assert len(registry.requests("PUT", "/manifests/")) == 3
    registry.forget()
    assert httpx.get(f"{registry.url}/v2/_catalog").json() == {"repositories": ["base/hollow"]}
    assert [request.path for request in registry.requests()] == ["/v2/_catalog"]


def test_the_registry_keeps_its_data_and_port_when_it_was_down(registry: Registry) -> None:
    with hollow_base(architectures=["amd64"]) as base:
        base.push(registry, docker_format=True)
    registry.down()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{registry.url}/v2/")
    registry.up()
    tags = httpx.get(f"{registry.url}/v2/base/hollow/tags/list").json()
    assert tags == {"name": "base/hollow", "tags": ["1"]}


def test_the_secure_registry_wants_its_authority_trusted_and_a_login(
    secure_registry: Registry, tmp_path: Path
) -> None:
    with hollow_base() as base:
        base.push(secure_registry)
    address = f"{secure_registry.url}/v2/base/hollow/tags/list"
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(address)
    trusting = ssl.create_default_context(cafile=str(secure_registry.ca))
    assert httpx.get(address, verify=trusting).status_code == 401
    assert httpx.get(address, verify=trusting, auth=secure_registry.login).status_code == 200
    config = json.loads((secure_registry.docker_config(tmp_path / "d") / "config.json").read_text())
    assert list(config["auths"]) == [secure_registry.host]


def test_a_read_only_registry_takes_nothing() -> None:
    with run_registry(read_only=True) as registry:
        answer = httpx.post(f"{registry.url}/v2/a/blobs/uploads/")
    assert answer.status_code == 405


def test_a_linked_environment_runs_on_debian(
    engine: Engine,
    channel: Path,
    debian_base: BaseImage,
    registry: Registry,
    package_cache: Path,
    tmp_path: Path,
) -> None:
    async def link(staging: Path) -> None:
        records = await rattler.solve(
            sources=[channel.as_uri()],
            specs=["scikit-learn", "pandas", "flask"],
            gateway=Gateway(),
            platforms=["linux-64", "noarch"],
            virtual_packages=rattler.VirtualPackage.detect(),
        )
        await rattler.install(
            records,
            staging,
            cache_dir=package_cache,
            alternative_target_prefix="/opt/env",
            show_progress=False,
        )

    asyncio.run(link(tmp_path / "env"))
    # Mounted, not copied: building an image of it is what the code under test does.
    run = ["run", "--rm", f"--volume={tmp_path / 'env'}:/opt/env", debian_base.push(registry)]
    modules = "ssl, sqlite3, ctypes, zlib, bz2, lzma, readline, numpy, pandas, sklearn.linear_model"
    program = f"import sys, {modules}; print(sys.prefix)"
    assert engine.docker(*run, "/opt/env/bin/python", "-c", program) == "/opt/env\n"
    assert "Flask" in engine.docker(*run, "/opt/env/bin/flask", "--version")


def test_the_engine_pulls_from_any_registry_on_loopback(
    engine: Engine, registry: Registry, secure_registry: Registry, busybox_base: BaseImage
) -> None:
    reference = busybox_base.push(registry)
    assert engine.docker("run", "--rm", reference, "/bin/echo", "hello") == "hello\n"
    private = busybox_base.push(secure_registry)
    with pytest.raises(RuntimeError, match=r"docker.*pull"):
        engine.docker("pull", private)
    secure_registry.docker_config(Path(os.environ["DOCKER_CONFIG"]))
    engine.docker("pull", "--quiet", private)
    with shared_engine() as same:
        assert same == engine


def test_no_program_is_missing_where_these_tests_ran(engine: Engine) -> None:
    assert engine.host.startswith("unix://")
    assert missing_packages() == []


def test_git_knows_nobody_but_the_tester(repository: GitRepository) -> None:
    repository.commit("one", {"a.txt": "a\n"})
    assert repository.git("log", "--format=%an %ae %cn") == "Ada Tester ada@example.org Ada Tester"
    assert repository.refs() == {"refs/heads/main": repository.head()}


def test_a_remote_refuses_what_its_rule_names(git_remote: GitRemote, tmp_path: Path) -> None:
    clone = first_commit(git_remote, tmp_path / "clone")
    git_remote.reject("^refs/tags/env/", "versions are recorded by the pipeline only")
    clone.git("tag", "env/a/1")
    clone.git("tag", "other")
    clone.git("push", "--quiet", "origin", "other")
    with pytest.raises(GitError, match="recorded by the pipeline only"):
        clone.git("push", "origin", "env/a/1")
    git_remote.behave()
    clone.git("push", "--quiet", "origin", "env/a/1")


@pytest.mark.parametrize("over_http", [False, True])
def test_a_remote_hangs_up_before_or_after_it_took_a_tag(
    git_remote: GitRemote, git_server: GitServer, tmp_path: Path, over_http: bool
) -> None:
    clone = first_commit(git_remote, tmp_path / "clone")
    address = git_server.url(git_remote) if over_http else git_remote.url
    clone.git("tag", "env/a/1")
    for hang_up, there in [
        (git_remote.drop_before_update, False),
        (git_remote.drop_after_update, True),
    ]:
        git_remote.behave()
        hang_up()
        with pytest.raises(GitError, match="disconnect"):
            clone.git("push", "--porcelain", address, "env/a/1")
        assert ("refs/tags/env/a/1" in git_remote.bare.refs()) is there


def test_somebody_else_is_faster(git_remote: GitRemote, tmp_path: Path) -> None:
    clone = first_commit(git_remote, tmp_path / "clone")
    git_remote.run_before_update("git tag env/a/1 main")
    clone.git("tag", "env/a/1")
    with pytest.raises(GitError, match="already exists"):
        clone.git("push", "origin", "env/a/1")


def test_git_over_http_wants_a_login(git_remote: GitRemote, tmp_path: Path) -> None:
    first_commit(git_remote, tmp_path / "clone")
    root, variables = git_remote.path.parent, git_remote.bare.environment
    with serve_git(root, variables, login=("ada", "s3 cret")) as server:
        with pytest.raises(GitError, match="Authentication failed"):
            git_remote.bare.git("ls-remote", server.url(git_remote))
        known = git_remote.bare.git("ls-remote", server.url(git_remote, with_login=True))
    assert "refs/heads/main" in known
    assert any("git-upload-pack" in request for request in server.requests)

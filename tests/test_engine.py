"""What other programs make of a release: docker, skopeo, umoci; and the same bits from everyone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.parts.baseimage import BaseImage
from tests.parts.engine import Engine
from tests.parts.gitremote import GitRepository
from tests.parts.process import tool
from tests.parts.registry import Registry
from tests.team import Team

_SCIENCE = """
import json, numpy, pandas, sklearn, sys
from sklearn.linear_model import LinearRegression
frame = pandas.DataFrame({"x": numpy.arange(5.0)})
model = LinearRegression().fit(frame, 3 * frame["x"] + 1)
found = {"slope": round(float(model.coef_[0]), 6), "python": sys.executable}
print(json.dumps(found))
"""


def run(*command: str, **variables: str) -> str:
    """Run a program and return what it wrote."""
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def science(server_team: Team, registry: Registry, channel: Path, debian_base: BaseImage) -> Team:
    """A team whose environment is python with numpy, pandas and scikit-learn on Debian."""
    server_team.channel = channel
    base = debian_base.push(registry)
    packages = ("python", "numpy", "pandas", "scikit-learn")
    server_team.ask("science", *packages, image=base, text="description: Science")
    return server_team


def test_what_was_applied_can_be_pulled_run_inspected_and_unpacked(
    science: Team, registry: Registry, engine: Engine, tmp_path: Path
) -> None:
    done = science.envsync("apply", "--format=json")
    assert done.code == 0, done.out + done.err
    digest = done.json["environments"][0]["digest"]
    reference = f"{registry.host}/{science.place('science')}:1"

    inspected = json.loads(
        run(tool("skopeo"), "inspect", "--tls-verify=false", f"docker://{reference}")
    )
    assert inspected["Digest"] == digest
    tags = {*science.tags("science"), *science.lists("science")}
    assert set(inspected["RepoTags"]) == tags

    copied = tmp_path / "copied"
    source, target = f"docker://{reference}", f"oci:{copied}:1"
    options = ["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false"]
    run(tool("skopeo"), *options, source, target)
    run(tool("umoci"), "unpack", "--rootless", "--image", f"{copied}:1", str(tmp_path / "bundle"))
    python = tmp_path / "bundle/rootfs/opt/env/bin/python"
    assert python.exists() or python.is_symlink()
    shutil.rmtree(tmp_path / "bundle")

    engine.docker("pull", "--quiet", reference)
    try:
        names = json.loads(engine.docker("image", "inspect", reference))[0]["RepoDigests"]
        assert f"{reference.rpartition(':')[0]}@{digest}" in names
        answer = engine.docker(
            "run", "--rm", "-i", "--network=none", reference, "python", "-c", _SCIENCE
        )
        assert json.loads(answer)["slope"] == 3.0
    finally:
        engine.docker("image", "rm", "--force", reference)
    science.check("science")
    registry.forget()
    assert "Nothing to do" in science.envsync("apply").out
    assert not [r for r in registry.requests() if r.method not in ("GET", "HEAD")]


@pytest.fixture
def everyones(tiny_packages: Path) -> Iterator[Path]:
    """A folder that every user of the machine may read, with a channel in it."""
    folder = Path(tempfile.mkdtemp(prefix="envsync-everyone-"))
    folder.chmod(0o777)
    shutil.copytree(tiny_packages, folder / "channel")
    yield folder
    shutil.rmtree(folder)


def user_for(folder: Path) -> str | None:
    """Return another user who can run this python, or None when there is none."""
    if os.geteuid() != 0:
        return None
    command = [sys.executable, "-c", "import envsync.cli.main"]
    try:
        done = subprocess.run(command, cwd=folder, user="nobody", capture_output=True)
    except PermissionError:
        return None
    return "nobody" if done.returncode == 0 else None


def applied(
    team: Team, folder: Path, umask: int, user: str | None, variables: Mapping[str, str]
) -> tuple[str, dict[str, str], dict[str, bytes]]:
    """Apply somewhere in some manner; return the digest, the tags of git and the blobs."""
    team.repository.git("clone", "--quiet", str(team.root), str(folder / "clone"))
    clone = GitRepository(path=folder / "clone", environment=team.repository.environment)
    if user is not None:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user)
    home = folder / "home of somebody"
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "GIT_"))}
    settings = {"GIT_CONFIG_GLOBAL": str(folder.parent / "gitconfig"), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "envsync", "-C", str(clone.path), "apply", "--format=json"],
        cwd=folder,
        env={**outside, **settings, "HOME": str(home), **variables},
        capture_output=True,
        text=True,
        umask=umask,
        user=user,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(done.stdout)["environments"]
    blobs = clone.path / ".envsync/registry/train/blobs/sha256"
    contents = {path.name: path.read_bytes() for path in blobs.iterdir()}
    return result["digest"], clone.refs("refs/tags/"), contents


def test_one_commit_is_the_same_bits_and_the_same_record_whoever_applies_it(
    folder_team: Team, everyones: Path
) -> None:
    team = folder_team
    team.channel = everyones / "channel"
    team.ask("train", "tiny-00003", "tiny-00027", text="envsync: {user: '1000'}")
    (everyones / "gitconfig").write_bytes(Path(os.environ["GIT_CONFIG_GLOBAL"]).read_bytes())
    results = []
    for number, (umask, other, variables) in enumerate(
        [
            (0o022, False, {"TZ": "UTC", "PYTHONHASHSEED": "0", "LC_ALL": "C"}),
            (0o077, False, {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "1", "LANG": "de_DE.UTF-8"}),
            (0o000, True, {"TZ": "America/Caracas", "PYTHONHASHSEED": "4242", "USER": "x"}),
        ]
    ):
        folder = everyones / str(number)
        folder.mkdir()
        user = user_for(folder) if other else None
        results.append(applied(team, folder, umask, user, variables))
    assert results[0] == results[1] == results[2]
    assert list(results[0][1]) == ["refs/tags/env/train/1"]

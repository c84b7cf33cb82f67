"""Nothing of a package or of a repository runs while an environment is locked (X6)."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.locking.index import Index
from tests.parts.channel import test_channel
from tests.reliability.counts import count
from tests.team import Team

FIRES = "import pathlib; pathlib.Path({canary!r}).touch()\n"


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that nothing may make."""
    return tmp_path / "canary"


def sdist(files: Mapping[str, str], name: str = "evil-1.0") -> bytes:
    """Return a source archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in {**files, "PKG-INFO": "Metadata-Version: 2.1\n"}.items():
            header = tarfile.TarInfo(f"{name}/{path}")
            header.size = len(text)
            archive.addfile(header, io.BytesIO(text.encode()))
    return buffer.getvalue()


BACKEND = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
SOURCES = {
    "setup.py": {"setup.py": FIRES},
    "a build backend": {"pyproject.toml": BACKEND, "backend.py": FIRES},
    "setup.cfg with an attribute": {
        "setup.cfg": "[metadata]\nname = evil\nversion = attr: evil.VERSION\n",
        "evil.py": FIRES, "pyproject.toml": "[build-system]\nrequires = ['setuptools']\n",
    },
    "a version that is computed": {
        "pyproject.toml": f"{BACKEND}[project]\nname = 'evil'\ndynamic = ['version']\n",
        "backend.py": FIRES,
    },
}  # fmt: skip


@pytest.fixture
def locking(folder_team: Team, tmp_path: Path) -> tuple[Team, Index]:
    """A team whose packages come from a channel with python, and from an index of the test."""
    folder_team.channel = test_channel("small")
    index = Index(tmp_path / "index")
    index.wheel("leaf", "1.0")
    folder_team.variables.update(index.variables())
    return folder_team, index


def lock(team: Team, *lines: str) -> str:
    """Lock an environment with these lines of pip, which is refused; return what is said."""
    listed = "".join(f"    - {line!r}\n" for line in lines)
    team.repository.write(
        {
            "environments/app/environment.yaml": "image: scratch\nconda_file:\n"
            f"  channels: ['{team.channel.as_uri()}']\n"
            f"  dependencies:\n  - python=3.11\n  - pip:\n{listed}"
        }
    )
    done = team.envsync("lock", "app")
    assert done.code == 6, done
    assert not (team.root / "locks/app").exists()
    return done.out + done.err


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("line", ["evil", "evil==1.0", "needs-evil", "evil --hash=sha256:{hash}"])
def test_a_source_archive_of_an_index_is_not_built(
    name: str, line: str, locking: tuple[Team, Index], canary: Path
) -> None:
    team, index = locking
    files = {path: text.format(canary=str(canary)) if text == FIRES else text
             for path, text in SOURCES[name].items()}  # fmt: skip
    digest = index.source("evil", "1.0", sdist(files))
    index.wheel("needs-evil", "1.0", ["evil"])
    said = lock(team, line.format(hash=digest))
    assert "evil" in said
    assert "has no wheel" in said
    assert not canary.exists()
    count("X6", canaries=1, never_run=1)


IN_REPOSITORY = ("./evil", "-e ./evil", "--editable=./evil", "./evil-1.0.tar.gz", "evil @ ./evil",
                 "-e git+file://{root}", "git+file://{root}#egg=evil", "evil @ git+file://{root}",
                 "--no-binary=:all:", "evil @ file://{root}/evil-1.0.tar.gz",
                 "-e hg+file://{root}", "svn+file://{root}", "./evil[extra]")  # fmt: skip


@pytest.mark.parametrize("line", IN_REPOSITORY)
def test_what_has_to_be_built_first_is_named_and_not_built(
    line: str, locking: tuple[Team, Index], canary: Path
) -> None:
    team, _ = locking
    code = FIRES.format(canary=str(canary))
    files = {"setup.py": code, "pyproject.toml": BACKEND, "backend.py": code}
    folder = "environments/app"
    team.repository.write({f"{folder}/evil/{path}": text for path, text in files.items()})
    team.repository.write({f"{folder}/evil-1.0.tar.gz": sdist(files), **files})
    team.repository.commit("sources")
    said = lock(team, "leaf", line.format(root=team.root))
    assert "environment.yaml:8:7: " in said or "builds" in said or "has to be built" in said, said
    assert not canary.exists()
    count("X6", canaries=1, never_run=1)


def test_a_wheel_is_only_read(locking: tuple[Team, Index], canary: Path) -> None:
    """Neither what a wheel brings for the interpreter's start, nor its metadata, is run."""
    team, _ = locking
    code = FIRES.format(canary=str(canary))
    wheel = team.root / "environments/app/wheels/own-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    info = "own-1.0.dist-info"
    files = {
        "own.pth": code.strip(), "sitecustomize.py": code, "usercustomize.py": code,
        "own-1.0.data/scripts/own": "#!python\n" + code, "setup.py": code,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: own\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nuv = own:main\n",
    }  # fmt: skip
    listed = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": listed}.items():
            archive.writestr(name, text)
    team.repository.write(
        {
            "environments/app/environment.yaml": "image: scratch\nconda_file:\n"
            f"  channels: ['{team.channel.as_uri()}']\n"
            "  dependencies: [python=3.11, {pip: [./wheels/own-1.0-py3-none-any.whl]}]\n"
        }
    )
    assert team.envsync("lock", "app").code == 0
    team.repository.commit("app")
    done = team.envsync("apply")
    assert done.code == 0, done.err
    assert not canary.exists()
    count("X6", canaries=len(files), never_run=len(files))


def test_link_scripts_are_named_and_never_run(locking: tuple[Team, Index]) -> None:
    team, _ = locking
    text = "image: scratch\nconda_file:\n  channels: ['{channel}']\n  dependencies: [post-linked]\n"
    spec = {"environments/app/environment.yaml": text.format(channel=team.channel.as_uri())}
    team.repository.write(spec)
    assert team.envsync("lock", "app").code == 0
    team.repository.commit("app")
    done = team.envsync("apply")
    assert done.code == 6
    assert "post-linked 1.0: bin/.post-linked-post-link.sh" in done.err
    assert team.versions("app") == []
    count("X6", canaries=1, never_run=1)


def test_locking_reads_no_program_of_the_folder(locking: tuple[Team, Index], canary: Path) -> None:
    """Programs that stand in the repository under the names of those that locking starts."""
    team, _ = locking
    script = f"#!/bin/sh\ntouch {canary}\n"
    for name in ("git", "uv", "python", "python3", "conda", "mamba", "micromamba", "pip", "docker"):
        for folder in (team.root, team.root / "environments/app", team.root / "bin"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)
    team.repository.write(
        {
            "uv.toml": "python-downloads = 'automatic'\n",
            "environments/app/environment.yaml": "image: scratch\nconda_file:\n"
            f"  channels: ['{team.channel.as_uri()}']\n"
            "  dependencies: [python=3.11, {pip: [leaf]}]\n",
        }
    )
    before = Path.cwd()
    os.chdir(team.root)
    try:
        done = team.envsync("lock", "app")
    finally:
        os.chdir(before)
    assert done.code == 0, done.err
    assert not canary.exists()
    count("X6", canaries=27, never_run=27)

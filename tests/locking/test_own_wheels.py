"""Wheels that stand in the repository: locked by their bytes, installed from the commit."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from conda_lock.lockfile import parse_conda_lock_file

import envsync
from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.adapters.solving.uv_resolver import UvResolver
from envsync.errors import InvalidInput, Unsatisfiable
from envsync.model.lock import LockedPackage
from envsync.model.own_wheels import path_in_repository, url_in_repository, wheel_name
from envsync.model.reading import Present
from envsync.oci.descriptor import Descriptor
from envsync.ports.solver import OwnWheel, PipRequest
from tests.locking.index import Index
from tests.locking.repository import Repository
from tests.parts.cache import ENVIRONMENT
from tests.parts.gitremote import GitRepository

OWN = "./wheels/own-1.0-py3-none-any.whl"
PLACE = "environments/train/wheels/own-1.0-py3-none-any.whl"


def own_wheel(
    path: Path, text: str = "1", requires: str = "", name: str = "own", tag: str = "py3-none-any"
) -> str:
    """Write a tiny wheel with one module and return its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{name}/__init__.py": f"VALUE = {text}\n",
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        + needs,
        f"{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\n"
        f"Root-Is-Purelib: true\nTag: {tag}\n",
    }
    listed = [*files, f"{name}-1.0.dist-info/RECORD"]
    files[listed[-1]] = "".join(f"{file},,\n" for file in listed)
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(zipfile.ZipInfo(member, (2020, 2, 2, 2, 2, 2)), content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path) -> Index:
    found = Index(tmp_path / "index")
    found.wheel("leaf", "1.0")
    found.wheel("leaf", "2.0")
    found.wheel("own", "9.0")
    return found


def wheels_of(repository: Repository, name: str) -> dict[str, LockedPackage]:
    packages = repository.read(name).packages["linux-64"]
    return {p.name: p for p in packages if p.manager == "pip"}


def resolve(index: Index, wheel: OwnWheel, *lines: str) -> dict[str, LockedPackage]:
    request = PipRequest(
        platform="linux-64",
        requirements=(f"./{Path(wheel.path).name}", *lines),
        python_version="3.11.7",
        glibc="2.36",
        provided={},
        wheels={f"./{Path(wheel.path).name}": wheel},
    )
    found = UvResolver(environ={**ENVIRONMENT, **index.variables()}).resolve(request)
    return {package.name: package for package in found.packages}


def test_names_and_urls_lead_back() -> None:
    for path in (PLACE, "wheels/a b-1.0-py3-none-any.whl", "w/ä-1-py3-none-any.whl"):
        assert path_in_repository(url_in_repository(path)) == path
    assert path_in_repository("file:///a/b.whl") == ""
    assert path_in_repository("https://host.test/b.whl") == ""
    assert wheel_name("a/My_Pkg-1.0-py3-none-any.whl") == "my-pkg"
    assert wheel_name("pkg.whl") == ""


def test_uv_takes_the_wheel_itself_and_what_it_requires_from_the_index(
    index: Index, tmp_path: Path
) -> None:
    sha256 = own_wheel(tmp_path / "own-1.0-py3-none-any.whl", requires="leaf<2")
    content = (tmp_path / "own-1.0-py3-none-any.whl").read_bytes()
    found = resolve(index, OwnWheel(path=PLACE, content=content))
    assert {name: package.version for name, package in found.items()} == {
        "own": "1.0",
        "leaf": "1.0",
    }
    assert (found["own"].url, found["own"].sha256) == (f"file:{PLACE}", sha256)
    assert dict(found["own"].depends) == {"leaf": "*"}


def test_what_the_wheel_and_the_spec_ask_must_agree(index: Index, tmp_path: Path) -> None:
    own_wheel(tmp_path / "own-1.0-py3-none-any.whl", requires="leaf<2")
    wheel = OwnWheel(path=PLACE, content=(tmp_path / "own-1.0-py3-none-any.whl").read_bytes())
    with pytest.raises(Unsatisfiable):
        resolve(index, wheel, "leaf>=2")
    with pytest.raises(Unsatisfiable):
        resolve(index, wheel, "own>=2")


def test_a_wheel_for_another_machine_is_refused(index: Index, tmp_path: Path) -> None:
    name = "own-1.0-cp311-cp311-win_amd64.whl"
    own_wheel(tmp_path / name, tag="cp311-cp311-win_amd64")
    with pytest.raises(Unsatisfiable):
        resolve(index, OwnWheel(path=name, content=(tmp_path / name).read_bytes()))


def test_a_file_that_is_not_called_as_a_wheel_is_refused(index: Index, tmp_path: Path) -> None:
    own_wheel(tmp_path / "own.whl")
    with pytest.raises(InvalidInput, match="not the name of a wheel"):
        resolve(index, OwnWheel(path="own.whl", content=(tmp_path / "own.whl").read_bytes()))


def test_a_lock_names_the_wheel_by_its_place_and_holds_while_the_bytes_do(
    small: Repository, index: Index
) -> None:
    small.variables.update(index.variables())
    small.spec("train", "python=3.11", pip=(OWN,))
    file = small.root / PLACE
    sha256 = own_wheel(file, requires="leaf")
    outcome = small.locked("train")
    found = wheels_of(small, "train")
    assert (found["own"].url, found["own"].sha256) == (f"file:{PLACE}", sha256)
    assert found["leaf"].version == "2.0"
    assert next(c for c in outcome.changes if c.name == "own").direct
    assert small.check()["train"].fresh
    assert str(small.root).encode() not in (small.files("train").conda_lock or b"")
    # Other bytes under the same name are another request.
    own_wheel(file, text="2", requires="leaf")
    why = small.check()["train"].why
    assert [str(stale) for stale in why] == [
        f"{OWN} is another file than the one that is locked (linux-64)"
    ]
    small.locked("train")
    assert wheels_of(small, "train")["own"].sha256 != sha256
    assert small.check()["train"].fresh
    # Nothing asks for it any more.
    small.spec("train", "python=3.11", pip=("leaf",))
    assert not small.check()["train"].fresh
    small.locked("train")
    assert set(wheels_of(small, "train")) == {"leaf"}


def test_the_same_repository_elsewhere_has_the_same_lock(
    small: Repository, index: Index, tmp_path: Path
) -> None:
    other = Repository(tmp_path / "elsewhere", small.channel, small.cache)
    locks = []
    for repository in (small, other):
        repository.variables.update(index.variables())
        repository.spec("train", "python=3.11", pip=(OWN,))
        own_wheel(repository.root / PLACE)
        repository.locked("train")
        locks.append(repository.files("train"))
    assert locks[0] == locks[1]


def test_conda_lock_reads_the_lock(small: Repository, index: Index) -> None:
    small.variables.update(index.variables())
    small.spec("train", "python=3.11", pip=(OWN, "leaf"))
    own_wheel(small.root / PLACE)
    small.locked("train")
    lock = parse_conda_lock_file(small.root / "locks/train/conda-lock.yml")
    (own,) = [package for package in lock.package if package.name == "own"]
    assert (own.manager, own.url) == ("pip", f"file:{PLACE}")


def test_an_equal_request_names_its_own_file(small: Repository, index: Index) -> None:
    small.variables.update(index.variables())
    for name in ("one", "two"):
        small.spec(name, "python=3.11", pip=(OWN,))
        own_wheel(small.root / f"environments/{name}/wheels/own-1.0-py3-none-any.whl")
    small.locked("one")
    assert small.locked("two").outcome == "reused"
    for name in ("one", "two"):
        url = f"file:environments/{name}/wheels/own-1.0-py3-none-any.whl"
        assert wheels_of(small, name)["own"].url == url
        assert small.check()[name].fresh


def test_the_wheel_of_the_commit_is_in_the_image(
    repository: GitRepository,
    small_channel: Path,
    index: Index,
    tmp_path: Path,
) -> None:
    environ = {**os.environ, **index.variables(), "ENVSYNC_CACHE_DIR": str(tmp_path / "cache")}
    repository.write({"envsync.yaml": f"channels: ['{small_channel.as_uri()}']\n"})
    repository.write({".gitignore": "/.envsync/\n"})
    own_wheel(repository.path / PLACE, text="42")
    with envsync.Client(repository.path, environ=environ) as client:
        client.environments.create_or_update(
            envsync.Environment(
                name="train",
                image="scratch",
                conda_file={"dependencies": ["python=3.11", {"pip": [OWN]}]},
            )
        )
        assert client.lock().exit_code == 0
        repository.commit("train")
        # What is not committed is not what is built.
        own_wheel(repository.path / PLACE, text="43")
        outcome = client.apply()
        assert outcome.exit_code == 0, outcome
        made = client.environments.get("train", version="1").made
    assert made is not None
    urls = [package.url for package in made.packages["linux-64"] if package.name == "own"]
    assert urls == [f"file:{PLACE}"]
    registry = LayoutRegistry(repository.path / ".envsync/registry")
    manifest = registry.manifest("train", made.digest)
    assert isinstance(manifest, Present)
    prefix = unpacked_prefix(registry, manifest.value.document()["layers"], tmp_path / "root")
    probe = "import own; print(own.VALUE, own.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(prefix)!r}); {probe}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["42", str(prefix / "own/__init__.py")]
    # On a machine that never saw the wheel, the commit is enough.
    fresh = {**environ, "ENVSYNC_CACHE_DIR": str(tmp_path / "another cache")}
    with envsync.Client(repository.path, environ=fresh) as client:
        shutil.rmtree(repository.path / ".envsync")
        assert client.apply().exit_code == 0
        again = client.environments.get("train", version="1").made
    assert again is not None
    assert again.digest == made.digest


def unpacked_prefix(registry: LayoutRegistry, layers: list[dict[str, object]], root: Path) -> Path:
    """Unpack the layers over one another and return the folder of python's packages."""
    for layer in layers:
        with registry.blob("train", Descriptor.parse(layer)) as chunks:
            data = b"".join(chunks)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            archive.extractall(root, filter="tar")
    (package,) = root.rglob("site-packages/own")
    return package.parent


def test_a_lock_whose_wheel_is_gone_is_told_of_before_anything_is_built(
    repository: GitRepository, small_channel: Path, index: Index, tmp_path: Path
) -> None:
    environ = {**os.environ, **index.variables(), "ENVSYNC_CACHE_DIR": str(tmp_path / "cache")}
    repository.write({"envsync.yaml": f"channels: ['{small_channel.as_uri()}']\n"})
    repository.write(
        {
            "environments/train/environment.yaml": "image: scratch\nconda_file:\n  dependencies:"
            f"\n  - python=3.11\n  - pip: [{OWN}]\n"
        }
    )
    own_wheel(repository.path / PLACE)
    with envsync.Client(repository.path, environ=environ) as client:
        assert client.lock().exit_code == 0
        (repository.path / PLACE).unlink()
        repository.commit("without the wheel")
        (result,) = client.apply().results
    assert result.error is not None
    assert f"There is no file {PLACE}" in str(result.error)

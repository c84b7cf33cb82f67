"""New environments from what people have: conda prefixes, locks of other tools, saved folders."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rattler import Channel, MatchSpec, VirtualPackage, install, solve

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.adapters.locks.conda_lock_file import parse_lock, read_conda_lock
from envsync.adapters.solving.conda_prefix import read_prefix
from envsync.model.conda_pins import channel_text, roots
from envsync.model.document import Faults, Mapping
from envsync.model.explicit_text import is_explicit, parse_explicit, render_explicit
from envsync.model.lock import Lock, LockedPackage
from envsync.model.prefix import asked_for
from envsync.model.saved import read_saved
from envsync.model.spec import Spec
from envsync.model.yaml_text import plain_of, render_yaml, replaced, scalar
from envsync.operations.desire import read_lock
from envsync.operations.load import load_environment
from tests.parts.realdata import shared_data
from tests.team import Done, Team


def spec_of(team: Team, name: str) -> Spec:
    return load_environment(WorkTree(team.root), parse_document, name)


def lock_of(team: Team, name: str) -> Lock:
    lock = read_lock(WorkTree(team.root), parse_lock, name)
    assert lock is not None
    return lock


def made(team: Team, *arguments: str) -> dict[str, Any]:
    done = team.envsync("new", *arguments, "--format=json")
    assert done.code == 0, done.err
    document: dict[str, Any] = done.json
    return document


def said(done: Done) -> str:
    return done.out + done.err


# ---- a conda prefix ----


async def _install(channel: Path, prefix: Path, specs: list[str]) -> None:
    machine = [package.into_generic() for package in VirtualPackage.detect()]
    records = await solve(
        [Channel(channel.as_uri())],
        [MatchSpec(spec) for spec in specs],
        platforms=["linux-64", "noarch"],
        virtual_packages=machine,
    )
    await install(records, prefix, show_progress=False)


@pytest.fixture(scope="module")
def installed(small_channel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix that rattler made, with python, flask and rich."""
    prefix = tmp_path_factory.mktemp("prefix") / "env"
    asyncio.run(_install(small_channel, prefix, ["python=3.11", "flask=3.0", "rich"]))
    return prefix


@pytest.fixture
def prefix(installed: Path, tmp_path: Path) -> Path:
    """The records of that prefix, and its site-packages, to be changed by a test."""
    copy = tmp_path / "prefix"
    shutil.copytree(installed / "conda-meta", copy / "conda-meta")
    for info in (installed / "lib/python3.11/site-packages").glob("*.dist-info"):
        shutil.copytree(info, copy / "lib/python3.11/site-packages" / info.name)
    return copy


def pip_installed(prefix: Path, name: str, version: str, direct: object = None) -> None:
    info = prefix / f"lib/python3.11/site-packages/{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "INSTALLER").write_text("pip\n")
    if direct is not None:
        (info / "direct_url.json").write_text(json.dumps(direct))


def record_of(prefix: Path, name: str) -> Path:
    (found,) = (prefix / "conda-meta").glob(f"{name}-[0-9]*.json")
    return found


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_prefix_becomes_an_environment_with_exactly_its_packages_and_is_locked(
    folder_team: Team, prefix: Path
) -> None:
    document = made(folder_team, "kept", "--prefix", str(prefix), "--image", "scratch")
    assert document["locked"], document
    lock = lock_of(folder_team, "kept")
    records = [json.loads(f.read_text()) for f in (prefix / "conda-meta").glob("*.json")]
    assert {(p.name, p.build, p.sha256, p.url) for p in lock.packages["linux-64"]} == {
        (r["name"], r["build"], r["sha256"], r["url"]) for r in records
    }
    assert lock.image.sizes[lock.packages["linux-64"][0].file_name] > 0
    conda = spec_of(folder_team, "kept").conda
    assert conda is not None
    assert [text.partition("=")[0] for text in conda.dependencies] == ["flask", "python", "rich"]
    assert folder_team.envsync("lock", "--check").code == 0
    before = (folder_team.root / "locks/kept/conda-lock.yml").read_bytes()
    assert folder_team.envsync("lock").code == 0
    assert (folder_team.root / "locks/kept/conda-lock.yml").read_bytes() == before


def test_such_a_prefix_is_planned_at_once(folder_team: Team, prefix: Path) -> None:
    made(folder_team, "kept", "--prefix", str(prefix), "--image", "scratch")
    folder_team.repository.commit("kept")
    plan = folder_team.envsync("plan", "--format=json").json
    assert [(e["name"], e["state"]) for e in plan["environments"]] == [("kept", "create")]


def test_what_was_asked_for_stands_in_the_spec_as_it_was_asked(
    folder_team: Team, prefix: Path
) -> None:
    for name, spec in (("flask", "flask >=3.0,<4"), ("python", "python=3.11"), ("rich", "rich")):
        edit(record_of(prefix, name), requested_spec=spec)
    made(folder_team, "asked", "--prefix", str(prefix), "--image", "scratch")
    made(folder_team, "pinned", "--prefix", str(prefix), "--image", "scratch", "--pin")
    asked, pinned = spec_of(folder_team, "asked").conda, spec_of(folder_team, "pinned").conda
    assert asked is not None
    assert pinned is not None
    assert asked.dependencies == ("flask >=3.0,<4", "python=3.11", "rich")
    assert [text.count("=") for text in pinned.dependencies] == [1, 1, 1]
    assert lock_of(folder_team, "asked").packages == lock_of(folder_team, "pinned").packages
    assert folder_team.envsync("lock", "--check").code == 0


def test_what_pip_added_is_pinned_and_has_to_be_locked_and_says_so(
    folder_team: Team, prefix: Path
) -> None:
    pip_installed(prefix, "attrs", "23.2.0")
    pip_installed(
        prefix, "mine", "1.0", {"url": "file:///home/me/mine", "dir_info": {"editable": True}}
    )
    pip_installed(
        prefix, "other", "2.0", {"url": "https://git.example/o", "vcs_info": {"vcs": "git"}}
    )
    document = made(folder_team, "kept", "--prefix", str(prefix), "--image", "scratch")
    assert not document["locked"]
    assert document["lock_problems"] == [
        "attrs is not locked, the spec asks attrs==23.2.0 (linux-64)"
    ]
    notes = [note["message"] for note in document["not_carried_over"]]
    assert any(note.startswith("mine 1.0") and "/home/me" not in note for note in notes)
    assert any("https://git.example/o" in note for note in notes)
    conda = spec_of(folder_team, "kept").conda
    assert conda is not None
    assert conda.pip == ("attrs==23.2.0",)
    done = folder_team.envsync("lock", "--check")
    assert (done.code, "attrs is not locked" in done.out) == (2, True)


def test_records_without_a_sha256_give_a_spec_with_versions_and_no_lock(
    folder_team: Team, prefix: Path
) -> None:
    edit(record_of(prefix, "click"), sha256=None)
    document = made(folder_team, "kept", "--prefix", str(prefix), "--image", "scratch")
    assert not document["locked"]
    assert not (folder_team.root / "locks/kept").exists()
    assert any("SHA-256" in note["message"] for note in document["not_carried_over"])
    conda = spec_of(folder_team, "kept").conda
    assert conda is not None
    assert all("=" in text for text in conda.dependencies)


def test_values_of_variables_are_not_copied_from_a_prefix(folder_team: Team, prefix: Path) -> None:
    (prefix / "conda-meta/state").write_text(json.dumps({"env_vars": {"TOKEN": "s3cret"}}))
    done = folder_team.envsync("new", "kept", "--prefix", str(prefix), "--image", "scratch")
    assert "TOKEN" in done.out
    assert "s3cret" not in said(done)
    written = [p.read_text() for p in (folder_team.root / "environments/kept").iterdir()]
    assert all("s3cret" not in text for text in written)


def test_a_base_image_is_all_that_is_left_to_lock(folder_team: Team, prefix: Path) -> None:
    done = folder_team.envsync("new", "kept", "--prefix", str(prefix))
    assert (done.code, "Its packages are locked; the base image is not" in done.out) == (0, True)
    check = folder_team.envsync("lock", "--check")
    assert "the base image has no digest" in check.out


@pytest.mark.parametrize("content", [None, "not JSON", '{"name": "x"}', "[]"])
def test_a_folder_that_is_no_prefix_is_refused(
    folder_team: Team, tmp_path: Path, content: str | None
) -> None:
    folder = tmp_path / "odd"
    (folder / "conda-meta").mkdir(parents=True)
    if content is not None:
        (folder / "conda-meta/x-1-0.json").write_text(content)
    done = folder_team.envsync("new", "kept", "--prefix", str(folder))
    assert done.code == 6, said(done)
    assert not (folder_team.root / "environments/kept").exists()


def test_a_prefix_of_a_real_conda_environment_is_read(installed: Path) -> None:
    found = read_prefix(installed)
    assert found.platform == "linux-64"
    assert found.pip == ()
    assert not found.unhashed
    assert {"python", "flask", "rich"} <= {package.name for package in found.packages}


HISTORY = """\
==> 2024-01-01 10:00:00 <==
# cmd: conda create -n x python=3.11 numpy pandas
# update specs: ['python=3.11', 'numpy', "conda-forge::pandas[version='>=2']"]
==> 2024-01-02 10:00:00 <==
# update specs: ['numpy=1.26']
# neutered specs: ['python=3.11.5']
==> 2024-01-03 10:00:00 <==
# remove specs: ['pandas']
"""


def test_the_latest_word_of_a_history_counts() -> None:
    assert asked_for([("numpy", ("",))], HISTORY) == {
        "python": "python=3.11",
        "numpy": "numpy=1.26",
    }
    recorded = [("numpy", ("numpy[version='>=1']",)), ("pip", ("None",)), ("six", ("six==*",))]
    assert asked_for(recorded, HISTORY) == {"numpy": "numpy", "six": "six"}


def package(name: str, *depends: str) -> LockedPackage:
    return LockedPackage(
        manager="conda", name=name, version="1", build="0", platform="linux-64",
        url=f"https://conda.anaconda.org/conda-forge/noarch/{name}-1-0.conda", sha256="a" * 64,
        depends=dict.fromkeys(depends, ""),
    )  # fmt: skip


def test_what_nothing_needs_has_to_be_asked_for() -> None:
    packages = [package("a", "b"), package("b"), package("c", "d"), package("d", "c"), package("e")]
    assert roots(packages, []) == ("a", "c", "e")
    assert roots(packages, ["a", "d"]) == ("e",)


@given(
    st.dictionaries(
        st.sampled_from("abcdefg"), st.sets(st.sampled_from("abcdefg")), min_size=1, max_size=7
    )
)
def test_roots_reach_every_package(graph: dict[str, set[str]]) -> None:
    packages = [package(name, *sorted(needs)) for name, needs in graph.items()]
    waiting, reached = list(roots(packages, [])), set[str]()
    while waiting:
        name = waiting.pop()
        if name in graph and name not in reached:
            reached.add(name)
            waiting += graph[name]
    assert reached == set(graph)


# ---- locks of other tools ----


def channel_lock(channel: Path, *names: str, md5: bool = False) -> str:
    """Return an explicit lock of tiny packages."""
    lines = ["# platform: linux-64", "@EXPLICIT"]
    for name in names:
        (file,) = (channel / "noarch").glob(f"{name}-*.tar.bz2")
        data = file.read_bytes()
        digest = (
            hashlib.md5(data).hexdigest() if md5 else f"sha256:{hashlib.sha256(data).hexdigest()}"
        )
        lines.append(f"{file.as_uri()}#{digest}")
    return "\n".join(lines) + "\n"


def test_an_explicit_lock_with_sha256_is_adopted_and_can_be_built(
    folder_team: Team, tmp_path: Path
) -> None:
    file = tmp_path / "explicit.txt"
    file.write_text(channel_lock(folder_team.channel, "tiny-00000", "tiny-00001"))
    document = made(folder_team, "kept", "--lock", str(file), "--image", "scratch")
    assert document["locked"], document
    assert [p.name for p in lock_of(folder_team, "kept").packages["linux-64"]] == [
        "tiny-00000", "tiny-00001",
    ]  # fmt: skip
    folder_team.repository.commit("kept")
    done = folder_team.envsync("apply")
    assert done.code == 0, said(done)
    folder_team.check("kept")


def test_an_explicit_lock_with_md5_only_gives_pins_and_no_lock(
    folder_team: Team, tmp_path: Path
) -> None:
    file = tmp_path / "explicit.txt"
    file.write_text(channel_lock(folder_team.channel, "tiny-00000", md5=True))
    document = made(folder_team, "kept", "--lock", str(file), "--image", "scratch")
    assert not document["locked"]
    assert [note["message"] for note in document["not_carried_over"]] == [
        "1 of its packages have no SHA-256: it cannot be adopted"
    ]
    assert not (folder_team.root / "locks/kept").exists()
    assert folder_team.envsync("lock", "kept").code == 0
    assert [p.name for p in lock_of(folder_team, "kept").packages["linux-64"]] == ["tiny-00000"]


def test_a_conda_lock_beside_its_source_is_adopted_byte_for_byte(
    folder_team: Team, tmp_path: Path
) -> None:
    folder_team.ask("first", "tiny-00003", "tiny-00005")
    old = folder_team.root / "locks/first/conda-lock.yml"
    lock = yaml.safe_load(old.read_text())
    lock["metadata"]["sources"] = ["environment.yml"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "conda-lock.yml").write_text(yaml.safe_dump(lock))
    source = f"# ours\nchannels: ['{folder_team.channel.as_uri()}']\ndependencies:\n"
    source += "  - tiny-00003 # why\n  - tiny-00005\n"
    (other / "environment.yml").write_text(source)
    document = made(
        folder_team, "kept", "--lock", str(other / "conda-lock.yml"), "--image", "scratch"
    )
    assert document["locked"], document
    assert document["not_carried_over"] == []
    kept = folder_team.root / "locks/kept/conda-lock.yml"
    assert kept.read_bytes() == (other / "conda-lock.yml").read_bytes()
    conda = folder_team.root / "environments/kept/conda.yaml"
    assert conda.read_text() == source
    (other / "environment.yml").write_text(source + "platforms: [linux-64]\ncategory: main\n")
    second = made(
        folder_team, "second", "--lock", str(other / "conda-lock.yml"), "--image", "scratch"
    )
    assert second["locked"], second
    assert "platforms" not in (folder_team.root / "environments/second/conda.yaml").read_text()


def test_a_conda_lock_whose_source_moved_on_is_pinned_instead(
    folder_team: Team, tmp_path: Path
) -> None:
    folder_team.ask("first", "tiny-00003", "tiny-00005")
    other = tmp_path / "other"
    other.mkdir()
    lock = yaml.safe_load((folder_team.root / "locks/first/conda-lock.yml").read_text())
    lock["metadata"]["sources"] = ["environment.yml"]
    (other / "conda-lock.yml").write_text(yaml.safe_dump(lock))
    (other / "environment.yml").write_text(
        f"channels: ['{folder_team.channel.as_uri()}']\ndependencies: [tiny-00003, tiny-00039]\n"
    )
    document = made(
        folder_team, "kept", "--lock", str(other / "conda-lock.yml"), "--image", "scratch"
    )
    assert document["locked"], document
    assert any("something else now" in n["message"] for n in document["not_carried_over"])
    conda = spec_of(folder_team, "kept").conda
    assert conda is not None
    names = [text.split("=")[0] for text in conda.dependencies]
    assert names == [f"tiny-{number:05}" for number in range(6)]


def real_locks() -> list[Path]:
    folder = shared_data() / "conda-locks"
    return sorted(path for path in folder.rglob("conda-lock.yml") if "history" not in path.parts)


@pytest.mark.parametrize(("every", "least"), [(3, 3), pytest.param(1, 8, marks=pytest.mark.full)])
def test_real_conda_locks_are_adopted_or_refused_with_their_places(
    folder_team: Team, every: int, least: int
) -> None:
    adopted = 0
    for number, path in enumerate(real_locks()[::every]):
        name = f"real-{number}"
        done = folder_team.envsync("new", name, "--lock", str(path), "--image", "scratch")
        assert done.code in (0, 6), said(done)
        if done.code:
            assert "conda-lock.yml:" in done.err
            assert not (folder_team.root / "environments" / name).exists()
            continue
        adopted += 1
        faults = Faults()
        packages, _ = read_conda_lock(path.read_bytes(), "x", faults)
        kept = lock_of(folder_team, name).packages
        for platform, found in kept.items():
            assert {(p.name, p.sha256) for p in found} == {
                (p.name, p.sha256) for p in packages[platform]
            }
    assert adopted >= least


EXPLICIT_FILES = (
    "conda-envs/conda__rattler/test-data/python/explicit-env-linux-64.txt",
    "conda-envs/conda__conda-lock/tests/zlib/conda-linux-64.lock",
    "conda-envs/conda__rattler/test-data/python/explicit-env-osx-arm64.txt",
)


@pytest.mark.parametrize("path", EXPLICIT_FILES)
def test_real_explicit_locks_are_read(path: str) -> None:
    text = (shared_data() / path).read_text()
    faults = Faults()
    lock = parse_explicit(text, path, faults)
    assert not list(faults)
    assert is_explicit(text)
    urls = [line for line in text.splitlines() if line.startswith("http")]
    assert [p.url for p in lock.packages] == [url.partition("#")[0] for url in urls]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("numpy=1.2", "is not the URL"),
        ("https://c.example/linux-64/numpy-1.2.conda", "is not the URL"),
        ("https://c.example/mars-64/a-1-0.conda", "is not the URL"),
        ("https://me:pw@c.example/noarch/a-1-0.conda", "credentials"),
        ("https://c.example/t/tok/noarch/a-1-0.conda", "credentials"),
        ("https://c.example/noarch/a-1-0.conda#abc", "neither an MD5 nor"),
        ("https://c.example/win-64/a-1-0.conda", "is for win-64"),
        ("https://c.example/linux-64/x-2-0.conda", "stands twice"),
        ("# pip a @ https://c.example/a-1.tar.gz", "is not a wheel"),
    ],
)
def test_what_no_explicit_lock_has_is_told_at_its_line(line: str, says: str) -> None:
    faults = Faults()
    parse_explicit(f"@EXPLICIT\nhttps://c.example/linux-64/x-1-0.conda\n{line}\n", "f", faults)
    (fault,) = faults
    assert says in fault.message
    assert (fault.where.line, "pw" in str(fault)) == (3, False)


_WORD = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
_VERSION = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}", fullmatch=True)


@st.composite
def explicit_packages(draw: st.DrawFn) -> tuple[LockedPackage, ...]:
    found = []
    for name in draw(st.sets(_WORD, min_size=1, max_size=6)):
        version, build = draw(_VERSION), draw(_WORD)
        subdir = draw(st.sampled_from(["noarch", "linux-64"]))
        end = draw(st.sampled_from([".conda", ".tar.bz2"]))
        found.append(
            LockedPackage(
                manager="conda", name=name, version=version, build=build, platform="linux-64",
                url=f"https://c.example/ch/{subdir}/{name}-{version}-{build}{end}",
                sha256=hashlib.sha256(name.encode()).hexdigest(),
            )
        )  # fmt: skip
    return tuple(found)


@given(explicit_packages())
def test_an_explicit_lock_that_was_rendered_is_read_back(
    packages: tuple[LockedPackage, ...],
) -> None:
    wheel = LockedPackage(
        manager="pip", name="some-thing", version="1.0", platform="linux-64",
        url="https://w.example/some_thing-1.0-py3-none-any.whl", sha256="f" * 64,
    )  # fmt: skip
    faults = Faults()
    text = render_explicit([*packages, wheel], "linux-64", about=("a line",))
    lock = parse_explicit(text, "f", faults)
    assert not list(faults)
    assert (lock.platform, lock.packages) == ("linux-64", (*packages, wheel))


# ---- folders of the old SDK ----

SAVED: dict[str, Any] = {
    "assetId": None,
    "databricks": {"eggLibraries": [], "jarLibraries": [], "pypiLibraries": [{"package": "x"}]},
    "docker": {
        "arguments": ["--gpus", "all"],
        "baseDockerfile": None,
        "baseImage": "azureml/openmpi4.1.0-ubuntu20.04",
        "baseImageRegistry": {
            "address": "mcr.microsoft.com",
            "username": "me",
            "password": "s3cret",
        },
        "enabled": True,
        "platform": {"architecture": "amd64", "os": "Linux"},
        "sharedVolumes": True,
        "shmSize": "8g",
    },
    "environmentVariables": {"OMP_NUM_THREADS": "4"},
    "inferencingStackVersion": None,
    "name": "old-env",
    "python": {
        "baseCondaEnvironment": None,
        "condaDependenciesFile": None,
        "interpreterPath": "python",
        "userManagedDependencies": False,
    },
    "r": {"rVersion": "3.5", "cranPackages": [{"name": "dplyr"}]},
    "spark": {
        "packages": [{"group": "g"}],
        "precachePackages": True,
        "repositories": ["https://r"],
    },
    "version": "Autosave_2020-01-01",
}
CONDA = "channels: [anaconda, conda-forge]\ndependencies: [python=3.8, {pip: [azureml-defaults]}]\n"


def saved(folder: Path, conda: str | None = CONDA, **changes: Any) -> Path:
    folder.mkdir()
    document = json.loads(json.dumps(SAVED))
    for path, value in changes.items():
        *above, last = path.split("__")
        part = document
        for key in above:
            part = part[key]
        part[last] = value
    (folder / "azureml_environment.json").write_text(json.dumps(document, indent=4))
    if conda is not None:
        (folder / "conda_dependencies.yml").write_text(conda)
    return folder


def test_a_saved_folder_becomes_an_environment_and_what_is_left_is_named(
    folder_team: Team, tmp_path: Path
) -> None:
    document = made(folder_team, "train", "--saved", str(saved(tmp_path / "s")))
    spec = spec_of(folder_team, "train")
    assert spec.image == "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04"
    assert spec.conda is not None
    assert spec.conda.channels == ("anaconda", "conda-forge")
    assert (spec.conda.dependencies, spec.conda.pip) == (("python=3.8",), ("azureml-defaults",))
    assert dict(spec.settings.environment_variables) == {"OMP_NUM_THREADS": "4"}
    told = "\n".join(note["message"] for note in document["not_carried_over"])
    for word in (
        "docker.arguments", "docker.shmSize", "baseImageRegistry.username",
        "baseImageRegistry.password", "databricks.pypiLibraries", "r.rVersion", "r.cranPackages",
        "spark.packages", "spark.repositories", "'old-env'",
    ):  # fmt: skip
        assert word in told, word
    for quiet in ("sharedVolumes", "precachePackages", "enabled", "s3cret"):
        assert quiet not in told
    assert all(
        note["line"] > 1 for note in document["not_carried_over"] if "'old-" not in note["message"]
    )
    everything = b"".join(
        p.read_bytes() for p in (folder_team.root / "environments").rglob("*.yaml")
    )
    assert b"s3cret" not in everything


def test_an_image_that_brings_its_own_python_is_used_as_it_is(
    folder_team: Team, tmp_path: Path
) -> None:
    folder = saved(
        tmp_path / "s",
        python__userManagedDependencies=True,
        python__interpreterPath="/opt/miniconda/bin/python",
    )
    document = made(folder_team, "train", "--saved", str(folder))
    spec = spec_of(folder_team, "train")
    assert spec.kind == "image"
    assert document["not_carried_over"]
    assert any("userManaged" in note["message"] for note in document["not_carried_over"])


def test_a_dockerfile_of_one_line_is_its_image(folder_team: Team, tmp_path: Path) -> None:
    folder = saved(tmp_path / "s", docker__baseDockerfile="# base\nFROM debian:12-slim\n")
    made(folder_team, "train", "--saved", str(folder))
    assert spec_of(folder_team, "train").image == "debian:12-slim"


DOCKERFILE = "FROM debian:12\nRUN apt-get update\n"


def test_a_dockerfile_with_packages_on_top_needs_the_image_that_it_builds(
    folder_team: Team, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "s", docker__baseDockerfile=DOCKERFILE)
    done = folder_team.envsync("new", "train", "--saved", str(folder))
    assert (done.code, "--image" in done.err) == (6, True)
    assert not (folder_team.root / "environments/train").exists()
    made(folder_team, "train", "--saved", str(folder), "--image", "ghcr.io/me/base:1")
    assert spec_of(folder_team, "train").image == "ghcr.io/me/base:1"


def test_a_dockerfile_alone_becomes_a_build_context(folder_team: Team, tmp_path: Path) -> None:
    folder = saved(
        tmp_path / "s",
        None,
        docker__baseDockerfile=DOCKERFILE,
        docker__baseImage=None,
        python__userManagedDependencies=True,
    )
    made(folder_team, "train", "--saved", str(folder))
    context = folder_team.root / "environments/train/context/Dockerfile"
    assert context.read_text() == DOCKERFILE
    assert spec_of(folder_team, "train").kind == "build"


def test_conda_dependencies_within_the_json_are_taken_too(
    folder_team: Team, tmp_path: Path
) -> None:
    inline = {"channels": ["conda-forge"], "dependencies": ["python=3.8", {"pip": ["numpy"]}]}
    folder = saved(tmp_path / "s", None, python__condaDependencies=inline)
    made(folder_team, "train", "--saved", str(folder))
    conda = spec_of(folder_team, "train").conda
    assert conda is not None
    assert (conda.dependencies, conda.pip) == (("python=3.8",), ("numpy",))


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"docker__baseImage": None}, 6), ({"docker": []}, 6), ({"pythno": {}}, 6)],
)
def test_a_saved_folder_that_cannot_be_used_writes_nothing(
    folder_team: Team, tmp_path: Path, changes: dict[str, Any], code: int
) -> None:
    done = folder_team.envsync("new", "train", "--saved", str(saved(tmp_path / "s", **changes)))
    assert done.code == code, said(done)
    assert not (folder_team.root / "environments/train").exists()


def test_the_example_variable_of_the_sdk_is_no_variable() -> None:
    data = json.dumps({"environmentVariables": {"EXAMPLE_ENV_VAR": "EXAMPLE_VALUE"}}).encode()
    faults = Faults()
    root = parse_document(data, "f.json", faults)
    assert root is not None
    assert dict(read_saved(root, faults).variables) == {}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--prefix", ".", "--conda", "x"], 64),
        (["--pin"], 64),
        (["--saved", ".", "--description", "x"], 64),
    ],
)
def test_ways_in_that_exclude_each_other(
    folder_team: Team,
    arguments: list[str],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text("")
    assert folder_team.envsync("new", "a", *arguments).code == code


def test_nothing_is_written_over(folder_team: Team, tmp_path: Path) -> None:
    folder_team.ask("train", "tiny-00003")
    before = folder_team.state()
    file = tmp_path / "explicit.txt"
    file.write_text(channel_lock(folder_team.channel, "tiny-00000"))
    for way in (["--saved", str(saved(tmp_path / "s"))], ["--lock", str(file)]):
        done = folder_team.envsync("new", "train", *way)
        assert (done.code, "exists already" in done.err) == (6, True)
    assert folder_team.state() == before


# ---- YAML that is written ----

_TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=40)
_TREE = st.recursive(
    _TEXT, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4)
)


@given(_TEXT)
def test_a_scalar_is_read_back_as_the_text_it_was(text: str) -> None:
    assert yaml.safe_load(f"key: {scalar(text)}") == {"key": text}


@given(st.dictionaries(_TEXT, _TREE, max_size=5))
def test_yaml_that_was_rendered_is_read_back(tree: dict[str, Any]) -> None:
    assert (yaml.safe_load(render_yaml(tree)) or {}) == tree


@given(st.dictionaries(_TEXT.filter(lambda text: text not in {"<<", "="}), _TREE, max_size=5))
def test_our_own_reader_agrees(tree: dict[str, Any]) -> None:
    faults = Faults()
    root = parse_document(render_yaml(tree).encode(), "f", faults)
    assert not list(faults)
    if isinstance(root, Mapping):
        assert yaml.safe_load(render_yaml({"x": plain_of(root)})) == {"x": tree}


def test_a_value_is_replaced_and_all_else_stays() -> None:
    text = "a: one # 1\nb: 'two'\nc: \"three\"  # 3\nd: |\n  four\n"
    faults = Faults()
    root = parse_document(text.encode(), "f", faults)
    assert isinstance(root, Mapping)
    values = {key.text: value for key, value in root.entries}
    edits = [(values[key], "x y") for key in "abc"]
    assert replaced(text, edits) == "a: x y # 1\nb: x y\nc: x y  # 3\nd: |\n  four\n"  # type: ignore[arg-type]
    assert replaced(text, [(values["d"], "x")]) is None  # type: ignore[list-item]


def test_channels_are_called_by_their_names() -> None:
    assert channel_text("https://conda.anaconda.org/conda-forge") == "conda-forge"
    assert channel_text("https://conda.anaconda.org/conda-forge/label/x") == "conda-forge/label/x"
    assert channel_text("https://mirror.example/x") == "https://mirror.example/x"

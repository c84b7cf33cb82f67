"""Ways out: each format as its own tool reads it, and back in again where there is a way in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from conda_lock.conda_lock import render_lockfile_for_platform
from conda_lock.lockfile import parse_conda_lock_file
from packaging.requirements import Requirement

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.adapters.locks.conda_lock_file import parse_lock
from envsync.errors import InvalidInput
from envsync.model.conda_file_reader import read_conda_file
from envsync.model.config import Config
from envsync.model.document import Faults
from envsync.model.explicit_text import parse_explicit
from envsync.model.exports.source import Source
from envsync.model.lock import BasePlatform, ImageLock, Lock, LockedPackage
from envsync.model.record import Record
from envsync.model.request import request_hash
from envsync.model.spec import (
    SCRATCH,
    BuildContext,
    CondaFile,
    InferenceConfig,
    Route,
    Settings,
    Spec,
)
from envsync.operations.desire import read_lock
from envsync.operations.export import FORMATS, export
from envsync.operations.load import load_environment, load_spec
from tests.golden import Golden
from tests.parts.realdata import shared_data
from tests.team import Team

FORGE = "https://conda.anaconda.org/conda-forge"
MIRROR = "https://mirror.example/channel"


def conda(
    name: str, version: str, build: str, *, subdir: str = "noarch", **more: Any
) -> LockedPackage:
    channel = more.pop("channel", FORGE)
    return LockedPackage(
        manager="conda",
        name=name,
        version=version,
        build=build,
        platform="linux-64",
        url=f"{channel}/{subdir}/{name}-{version}-{build}.conda",
        sha256=(name.encode().hex() + "0" * 64)[:64],
        depends=more.pop("depends", {"python": ""}),
    )


PACKAGES = (
    conda("click", "8.1.8", "pyhd8ed1ab_0"),
    conda("python", "3.11.7", "hab00c5b_1_cpython", subdir="linux-64", depends={}),
    conda("pytorch", "2.5.1", "py311_0", subdir="linux-64", channel=MIRROR),
    conda("zlib", "1.3.1", "hb9d3cd8_2", subdir="linux-64", depends={}),
    LockedPackage(
        manager="pip", name="attrs", version="23.2.0", platform="linux-64",
        url="https://wheels.example/attrs-23.2.0-py3-none-any.whl", sha256="e" * 64,
    ),
)  # fmt: skip


def source(
    *, platforms: Sequence[str] = ("linux-64",), spec: Spec | None = None, released: bool = True
) -> Source:
    wanted = spec or Spec(
        name="train",
        path="environments/train/environment.yaml",
        description="For training\nwith care",
        tags={"team": "vision"},
        image="docker.io/library/debian:12-slim",
        conda=CondaFile(
            channels=("conda-forge", MIRROR),
            dependencies=("python=3.11", "click", f"{MIRROR}::pytorch"),
            pip=("attrs",),
            variables={"LEVEL": "1"},
        ),
        inference_config=InferenceConfig(
            liveness_route=Route(port=8080, path="/live"),
            readiness_route=Route(port=8080, path="/ready"),
            scoring_route=Route(port=8080, path="/score"),
        ),
        settings=Settings(environment_variables={"GREETING": 'say "$HOME"'}, user="1000"),
    )
    digest = "sha256:" + "b" * 64
    record = Record(
        name=wanted.name, version="3", definition="d" * 64, request="a" * 64,
        digest="sha256:" + "c" * 64, platforms=tuple(platforms), lock_sha256="", base_digest=digest,
        format=1, commit="f" * 40, created=0,
    )  # fmt: skip
    lock = Lock(
        image=ImageLock(
            request="a" * 64,
            image=wanted.image or "",
            digest=digest,
            platforms={p: BasePlatform(digest=digest, glibc="2.36") for p in platforms},
        ),
        packages=dict.fromkeys(platforms, PACKAGES) if wanted.kind == "conda" else {},
        channels=("conda-forge", MIRROR),
    )
    return Source(
        spec=wanted,
        lock=lock,
        config=Config(),
        record=record if released else None,
        image="registry.example/team/envs/train",
        conda_lock=b"version: 1\n",
    )


def only(files: object) -> str:
    assert isinstance(files, dict)
    (content,) = files.values()
    return bytes(content).decode()


# ---- each format as text ----


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "conda-lock"])
def test_each_format_as_it_is_written(form: str, golden: Golden) -> None:
    exported = export(source(), form)
    text = "".join(
        f"==> {name} <==\n{content.decode()}\n" for name, content in exported.files.items()
    )
    lost = "".join(f"lost: {line}\n" for line in exported.lost)
    golden.check(f"export/{form}", text + lost)


def test_a_file_for_each_platform_unless_one_is_chosen() -> None:
    two = source(platforms=("linux-64", "linux-aarch64"))
    assert list(export(two, "explicit").files) == [
        "conda-linux-64.lock",
        "conda-linux-aarch64.lock",
    ]
    assert list(export(two, "environment.yml").files) == [
        "environment-linux-64.yml", "environment-linux-aarch64.yml",
    ]  # fmt: skip
    assert list(export(two, "dockerfile", "linux-aarch64").files) == ["Dockerfile"]
    with pytest.raises(InvalidInput, match="not locked for osx-64"):
        export(two, "explicit", "osx-64")


def test_an_environment_that_is_only_an_image_has_no_packages_to_export() -> None:
    image = source(
        spec=Spec(name="base", path="environments/base/environment.yaml", image="debian:12")
    )
    for form in ("explicit", "environment.yml", "requirements.txt", "conda-lock"):
        with pytest.raises(InvalidInput, match="no locked packages"):
            export(image, form)
    digest = "sha256:" + "b" * 64
    assert f"FROM debian:12@{digest}\n" in only(export(image, "dockerfile").files)
    written = yaml.safe_load(only(export(image, "azureml").files))
    assert written["image"] == f"debian@{digest}"


def test_a_build_context_is_described_by_its_own_dockerfile() -> None:
    spec = Spec(
        name="built", path="environments/built/environment.yaml", build=BuildContext(path="x")
    )
    built = source(spec=spec)
    text = Source(spec=spec, lock=None, config=Config(), record=built.record, dockerfile="FROM a\n")
    assert only(export(text, "dockerfile").files) == "FROM a\n"
    saved = export(text, "azureml-folder")
    document = json.loads(saved.files["azureml_environment.json"])
    assert document["docker"]["baseDockerfile"] == "FROM a\n"
    assert document["python"]["userManagedDependencies"] is True
    assert any("build context" in lost for lost in saved.lost)


def test_what_was_never_released_has_no_image_to_name() -> None:
    with pytest.raises(InvalidInput, match="no version yet"):
        export(source(released=False), "azureml")


# ---- as their own tools read them ----


def test_azure_ml_yaml_loads_as_an_environment_and_names_the_digest(tmp_path: Path) -> None:
    exported = export(source(), "azureml")
    (tmp_path / "environment.yaml").write_bytes(exported.files["environment.yaml"])
    spec = load_spec(WorkTree(tmp_path), parse_document, "environment.yaml", name=None)
    original = source().spec
    assert spec.image == "registry.example/team/envs/train@sha256:" + "c" * 64
    assert (spec.name, spec.version, spec.kind) == ("train", "3", "image")
    assert (spec.description, dict(spec.tags)) == (original.description, dict(original.tags))
    assert spec.inference_config == original.inference_config
    plain = yaml.safe_load(exported.files["environment.yaml"])
    assert plain["inference_config"]["scoring_route"] == {"port": 8080, "path": "/score"}


def test_a_pinned_conda_file_asks_for_exactly_what_is_locked() -> None:
    text = only(export(source(), "environment.yml").files)
    faults = Faults()
    root = parse_document(text.encode(), "environment.yml", faults)
    assert root is not None
    draft = read_conda_file(root, faults, path="environment.yml")
    assert not list(faults)
    assert draft.file.channels == ("conda-forge", MIRROR)
    assert f"{MIRROR}::pytorch=2.5.1=py311_0" in draft.file.dependencies
    assert len(draft.file.dependencies) == 4
    assert [item.text for item in draft.pip] == [f"attrs==23.2.0 --hash=sha256:{'e' * 64}"]


def test_requirements_have_a_hash_in_every_line_that_says_something() -> None:
    text = only(export(source(), "requirements.txt").files).replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [str(Requirement(line.partition("--hash")[0])) for line in lines] == ["attrs==23.2.0"]
    assert all("--hash=sha256:" in line for line in lines)
    assert "click==8.1.8" in text
    assert "torch==2.5.1" in text
    assert "zlib" not in text


@pytest.mark.parametrize("most", [3, pytest.param(100, marks=pytest.mark.full)])
def test_an_explicit_lock_names_the_same_packages_as_conda_locks_own(
    tmp_path: Path, most: int
) -> None:
    """The smallest first: the full tier compares all that conda-lock itself can read."""
    compared = 0
    locks = (shared_data() / "conda-locks").glob("*/*/conda-lock.yml")
    for path in sorted(locks, key=lambda path: (path.stat().st_size, path)):
        if compared == most:
            break
        try:
            ours = parse_lock(path.read_bytes(), IMAGE, "locks/x")
            theirs = parse_conda_lock_file(path)
        except (InvalidInput, AssertionError):
            continue
        assert ours is not None
        compared += 1
        platform = next(p for p in ("linux-64", "osx-arm64") if p in ours.packages)
        lines = render_lockfile_for_platform(
            lockfile=theirs,
            platform=platform,
            kind="explicit",
            include_dev_dependencies=True,
            extras=sorted({c for p in theirs.package for c in p.categories}),
        )
        faults = Faults()
        theirs_read = parse_explicit("\n".join(lines), "theirs", faults, platform)
        exported = export(
            Source(
                spec=Spec(name="x", path="", image=SCRATCH, conda=CondaFile()),
                lock=ours,
                config=Config(),
            ),
            "explicit",
            platform,
        )
        ours_read = parse_explicit(only(exported.files), "ours", faults, platform)
        assert not list(faults)
        assert {p.url for p in theirs_read.packages} == {p.url for p in ours_read.packages}
        assert [(p.url, p.sha256) for p in ours_read.packages] == [
            (p.url, p.sha256) for p in ours.packages[platform]
        ]
    assert compared >= 3


IMAGE = f"format: 1\nrequest: '{'0' * 64}'\nimage: scratch\nplatforms: {{}}\n".encode()


def test_a_dockerfile_has_the_lock_the_base_and_the_settings() -> None:
    text = only(export(source(), "dockerfile").files)
    lines = text.splitlines()
    base = "docker.io/library/debian:12-slim@sha256:" + "b" * 64
    assert f"FROM --platform=linux/amd64 {base}" in lines
    assert sum(line.startswith("https://") for line in lines) == 4
    assert 'ENV GREETING="say \\"\\$HOME\\""' in lines
    assert "USER 1000" in lines
    assert lines[-1] == "USER 1000"


# ---- round trips ----


@pytest.fixture
def released(folder_team: Team) -> Team:
    """A team with a version of an environment that has pip lines, constraints and variables."""
    team = folder_team
    team.repository.write(
        {
            "environments/train/environment.yaml": "image: debian:12\nconda_file: conda.yaml\n"
            "envsync:\n  environment_variables: {A: '1'}\n",
            "environments/train/conda.yaml": f"channels: ['{team.channel.as_uri()}', nodefaults]\n"
            "dependencies: [tiny-00003, {pip: [-r r.txt, 'attrs >= 1']}]\n"
            "variables: {B: two words}\n",
            "environments/train/r.txt": "idna==3.6\n-c c.txt\n",
            "environments/train/c.txt": "attrs<99\n",
        }
    )
    team.ask("tiny", "tiny-00003")
    assert team.envsync("apply", "tiny").code == 0
    return team


def test_the_old_sdks_folder_comes_back_with_the_same_request(
    released: Team, tmp_path: Path
) -> None:
    out = tmp_path / "saved"
    done = released.envsync("export", "train", "--as", "azureml-folder", "--out", str(out))
    assert done.code == 0, done.err
    assert sorted(path.name for path in out.iterdir()) == [
        "azureml_environment.json", "conda_dependencies.yml", "constraints.txt",
    ]  # fmt: skip
    again = released.envsync("new", "back", "--saved", str(out))
    assert again.code == 0, again.err
    tree = WorkTree(released.root)
    before = load_environment(tree, parse_document, "train")
    after = load_environment(tree, parse_document, "back")
    assert request_hash(after, Config()) == request_hash(before, Config())
    assert after.settings == before.settings
    assert after.conda is not None
    assert dict(after.conda.variables) == {"B": "two words"}


def test_an_explicit_lock_comes_back_with_the_same_packages(released: Team, tmp_path: Path) -> None:
    file = tmp_path / "tiny.lock"
    done = released.envsync("export", "tiny:1", "--as", "explicit", "--out", str(file))
    assert done.code == 0, done.err
    again = released.envsync("new", "back", "--lock", str(file), "--image", "scratch")
    assert again.code == 0, again.err
    tree = WorkTree(released.root)
    before, after = (read_lock(tree, parse_lock, name) for name in ("tiny", "back"))
    assert before is not None
    assert after is not None
    assert {(p.name, p.sha256) for p in after.packages["linux-64"]} == {
        (p.name, p.sha256) for p in before.packages["linux-64"]
    }


def test_the_lock_is_exported_as_it_is_committed(released: Team) -> None:
    done = released.envsync("export", "tiny@latest", "--as", "conda-lock")
    assert done.out == (released.root / "locks/tiny/conda-lock.yml").read_text()


def test_show_prints_the_same_dockerfile(released: Team) -> None:
    exported = released.envsync("export", "tiny", "--as", "dockerfile")
    shown = released.envsync("show", "tiny", "--dockerfile")
    assert (exported.code, shown.code) == (0, 0)
    assert shown.out == exported.out
    assert "FROM scratch" in shown.out
    document = released.envsync("show", "tiny", "--dockerfile", "--format=json").json
    assert document["dockerfile"] == {"Dockerfile": exported.out}


def test_an_export_never_overwrites_and_tells_what_is_lost(released: Team, tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    arguments = ("export", "tiny", "--as", "requirements.txt", "--out", str(file))
    first = released.envsync(*arguments)
    assert (first.code, "not carried over" in first.err) == (0, True)
    before = file.read_bytes()
    assert released.envsync(*arguments).code == 6
    assert file.read_bytes() == before


def test_a_folder_needs_a_place_and_azure_needs_a_registry(released: Team) -> None:
    done = released.envsync("export", "train", "--as", "azureml-folder")
    assert (done.code, "--out FOLDER" in done.err) == (64, True)
    done = released.envsync("export", "tiny", "--as", "azureml")
    assert (done.code, "envsync copy tiny:1" in done.err) == (6, True)
    done = released.envsync("export", "train", "--as", "explicit")
    assert (done.code, "not locked" in done.err) == (6, True)


def test_azure_ml_yaml_of_a_registry_names_what_can_be_pulled(server_team: Team) -> None:
    server_team.ask("tiny", "tiny-00003")
    assert server_team.envsync("apply").code == 0
    (record,) = server_team.records("tiny")
    done = server_team.envsync("export", "tiny", "--as", "azureml")
    assert done.code == 0, done.err
    assert server_team.registry is not None
    assert yaml.safe_load(done.out)["image"] == (
        f"{server_team.registry.host}/team/envs/tiny@{record.digest}"
    )

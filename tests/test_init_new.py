"""init, new and validate: valid before written, all or nothing, nothing overwritten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from envsync import Client
from envsync.adapters.files.new_files import NewFiles
from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.errors import InvalidInput
from envsync.model.canonical import sha256_hex
from envsync.model.spec import CondaFile, Spec
from envsync.operations.copied_files import SourceFile
from envsync.operations.init import FIRST, initialise
from envsync.operations.load import load_repository
from envsync.operations.new import (
    BASE_IMAGE,
    NewEnvironment,
    create_environment,
)


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".git/" not in path.as_posix()
    }


def new(root: Path, **options: object) -> Spec:
    """Make an environment and return what it loads as."""
    name = str(options.setdefault("name", "train"))
    wanted = NewEnvironment(**options)  # type: ignore[arg-type]
    paths = create_environment(WorkTree(root), parse_document, NewFiles(root), wanted)
    assert all((root / path).is_file() for path in paths)
    return load_repository(WorkTree(root), parse_document, [name]).specs[name]


def source(folder: Path, path: str, content: str | bytes) -> SourceFile:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return SourceFile(tree=WorkTree(folder), path=path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


# ---- init ----


def test_init_makes_a_repository_that_is_valid(root: Path) -> None:
    done = initialise(WorkTree(root), parse_document, NewFiles(root))
    assert done.created == (
        ".gitignore", "environments/example/conda.yaml", "environments/example/environment.yaml",
        "envsync.yaml", "locks/README.md",
    )  # fmt: skip
    assert (done.changed, done.kept) == ((), ())
    assert sorted(contents(root)) == sorted(done.created)
    repository = load_repository(WorkTree(root), parse_document)
    repository.check()
    assert list(repository.specs) == [FIRST]
    assert repository.specs[FIRST].kind == "conda"
    assert (root / ".gitignore").read_text().splitlines()[-1] == "/.envsync/"


def test_init_again_changes_nothing_and_says_what_is_there(root: Path) -> None:
    first = initialise(WorkTree(root), parse_document, NewFiles(root))
    before = contents(root)
    again = initialise(WorkTree(root), parse_document, NewFiles(root))
    assert contents(root) == before
    assert (again.created, again.changed) == ((), ())
    assert again.kept == (
        ".gitignore", "environments/example", "envsync.yaml", "locks/README.md",
    )  # fmt: skip
    assert first.created


def test_init_keeps_what_is_there_and_adds_to_an_ignore_file_once(root: Path) -> None:
    (root / "envsync.yaml").write_text("platforms: [linux-aarch64]\n")
    (root / "environments/mine").mkdir(parents=True)
    (root / "environments/mine/environment.yaml").write_text("image: busybox\n")
    (root / ".gitignore").write_bytes(b"*.pyc\r\nbuild/")
    (root / ".gitignore").chmod(0o600)
    done = initialise(WorkTree(root), parse_document, NewFiles(root))
    assert done.created == ("locks/README.md",)
    assert done.changed == (".gitignore",)
    assert done.kept == ("environments/mine", "envsync.yaml")
    assert (root / ".gitignore").read_bytes() == (
        b"*.pyc\r\nbuild/\r\n# envsync: the registry on disk, and caches\r\n/.envsync/\r\n"
    )
    assert (root / ".gitignore").stat().st_mode & 0o777 == 0o600
    assert (root / "envsync.yaml").read_text() == "platforms: [linux-aarch64]\n"
    before = contents(root)
    assert initialise(WorkTree(root), parse_document, NewFiles(root)).changed == ()
    assert contents(root) == before


@pytest.mark.parametrize("line", [".envsync", ".envsync/", "/.envsync", "/.envsync/", " .envsync/"])
def test_init_sees_that_its_folder_is_ignored_already(root: Path, line: str) -> None:
    (root / ".gitignore").write_text(f"{line}\n")
    assert initialise(WorkTree(root), parse_document, NewFiles(root)).changed == ()


def test_init_writes_the_registry_it_is_given(root: Path) -> None:
    initialise(
        WorkTree(root), parse_document, NewFiles(root), registry="localhost:5000/a", image="scratch"
    )
    repository = load_repository(WorkTree(root), parse_document)
    assert repository.config.registry == "localhost:5000/a"
    assert repository.specs[FIRST].image == "scratch"


@pytest.mark.parametrize("wrong", [{"registry": "https://x"}, {"image": "A B"}])
def test_init_with_a_wrong_option_writes_nothing(root: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        initialise(WorkTree(root), parse_document, NewFiles(root), **wrong)
    assert contents(root) == {}


# ---- new ----


def test_new_without_options_has_python_on_a_small_image(root: Path) -> None:
    spec = new(root)
    assert spec.image == BASE_IMAGE
    assert spec.conda == CondaFile(
        channels=("conda-forge",),
        dependencies=("python=3.12",),
        path="environments/train/conda.yaml",
    )


def test_new_from_an_image_alone_uses_it_as_it_is(root: Path) -> None:
    spec = new(root, image="ubuntu:24.04", description="Just: an image #1")
    assert (spec.kind, spec.image, spec.conda) == ("image", "ubuntu:24.04", None)
    assert spec.description == "Just: an image #1"


def test_new_from_an_image_and_a_version_of_python_builds_on_it(root: Path) -> None:
    spec = new(root, image="scratch", python="3.11")
    assert spec.image == "scratch"
    assert spec.conda is not None
    assert spec.conda.dependencies == ("python=3.11",)


def test_new_copies_a_conda_file_byte_for_byte_with_what_it_names(
    root: Path, elsewhere: Path
) -> None:
    text = (
        "# why we pin\nchannels: [bioconda]\ndependencies:\n  - python=3.10\n  - pip:\n"
        "      - -r reqs/base.txt\n      - wheels/a-1-py3-none-any.whl\n"
    )
    conda = source(elsewhere, "env.yml", text)
    source(elsewhere, "reqs/base.txt", "numpy\n-c limits.txt\n")
    source(elsewhere, "reqs/limits.txt", "numpy<2\n")
    source(elsewhere, "wheels/a-1-py3-none-any.whl", b"PK wheel")
    spec = new(root, conda=conda, image="scratch")
    folder = root / "environments/train"
    assert (folder / "conda.yaml").read_text() == text
    assert spec.conda == CondaFile(
        channels=("bioconda",),
        dependencies=("python=3.10",),
        pip=("numpy", "wheels/a-1-py3-none-any.whl"),
        pip_constraints=("numpy<2",),
        wheels={"wheels/a-1-py3-none-any.whl": sha256_hex(b"PK wheel")},
        path="environments/train/conda.yaml",
    )


def test_new_copies_requirements_and_adds_python(root: Path, elsewhere: Path) -> None:
    pip = source(elsewhere, "dev.txt", "numpy==1.26.4  # a comment\n-r more/sub.txt\n")
    source(elsewhere, "more/sub.txt", "-r other.txt\n")
    source(elsewhere, "more/other.txt", "scipy\n")
    spec = new(root, pip=pip, python="3.10")
    assert (root / "environments/train/requirements.txt").read_text() == (
        "numpy==1.26.4  # a comment\n-r more/sub.txt\n"
    )
    assert spec.conda is not None
    assert spec.conda.dependencies == ("python=3.10", "pip")
    assert spec.conda.pip == ("numpy==1.26.4", "scipy")


def test_new_from_a_build_context_refers_to_it(root: Path) -> None:
    (root / "docker/app").mkdir(parents=True)
    (root / "docker/app/Dockerfile").write_text("FROM scratch\n")
    spec = new(root, build="docker/app")
    assert spec.build is not None
    assert spec.build.path == "docker/app"
    assert spec.kind == "build"


@pytest.mark.parametrize("name", ["null", "true", "No", "010", "1e3", "3", "a-b_C", "0x1F", "y"])
def test_a_new_name_is_text_for_every_yaml_parser(root: Path, name: str) -> None:
    assert new(root, name=name).name == name
    text = (root / f"environments/{name}/environment.yaml").read_text()
    assert yaml.safe_load(text)["name"] == name


WRONG = [
    ({"name": "AzureML-x"}, "Names that start with 'AzureML-' are reserved for Azure ML"),
    ({"name": "a/b"}, "has no name that an environment can have"),
    ({"name": "../../x"}, "has no name that an environment can have"),
    ({"name": "-x"}, "has no name that an environment can have"),
    ({"name": ""}, "has no name that an environment can have"),
    ({"image": "A B"}, "is not an image reference"),
    ({"python": "three"}, "'three' is not a version of Python"),
    ({"python": "3.12; x"}, "is not a version of Python"),
    ({"build": "nothing"}, "There is no file nothing/Dockerfile"),
    ({"build": "x", "image": "y"}, "--build and --image cannot be given together"),
    ({"build": "x", "python": "3.12"}, "--python cannot be given with --build"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_new_writes_nothing_when_it_would_not_be_valid(
    root: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        new(root, **options)
    assert message in str(refused.value)
    assert list(root.iterdir()) == []


def test_new_refuses_sources_that_are_wrong_and_writes_nothing(root: Path, elsewhere: Path) -> None:
    good = source(elsewhere, "good.yml", "dependencies: [python]\n")
    for options, message in (
        ({"conda": source(elsewhere, "a.yml", "dependencies: [numpy=>1]\n")}, "a.yml:1:16: '=>'"),
        ({"conda": source(elsewhere, "b.yml", "\t")}, "b.yml:1:1: A tab cannot indent YAML"),
        ({"pip": source(elsewhere, "a.txt", "-r ../x.txt\n")}, "'../x.txt' in a.txt leaves the"),
        ({"pip": source(elsewhere, "b.txt", "-r missing.txt\n")}, "There is no file missing.txt"),
        ({"pip": source(elsewhere, "c.txt", "numpy=1\n")}, "requirements.txt:1:1: 'numpy=1' has"),
        ({"pip": SourceFile(tree=WorkTree(elsewhere), path="no.txt")}, "There is no file no.txt"),
        ({"conda": good, "pip": good}, "--conda and --pip cannot be given together"),
        ({"conda": good, "python": "3.12"}, "--python cannot be given with --conda"),
    ):
        with pytest.raises(InvalidInput) as refused:
            new(root, **options)
        assert message in str(refused.value)
        assert list(root.iterdir()) == []


def test_new_never_overwrites_an_environment(root: Path) -> None:
    new(root)
    before = contents(root)
    with pytest.raises(InvalidInput) as refused:
        new(root, image="scratch")
    assert str(refused.value) == (
        "The environment train exists already\n"
        "Edit environments/train/environment.yaml, or choose another name."
    )
    assert contents(root) == before


def test_new_never_overwrites_a_file_in_the_folder(root: Path) -> None:
    (root / "environments/train").mkdir(parents=True)
    (root / "environments/train/conda.yaml").write_text("mine")
    with pytest.raises(InvalidInput, match=r"environments/train/conda.yaml exists already"):
        new(root)
    assert contents(root) == {"environments/train/conda.yaml": b"mine"}


# ---- writing ----


def test_files_appear_all_together_or_not_at_all(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a/b/c": b"1", "d": b"2", "e/f": b"3", "a/g": b"4"}
    calls = {"count": 0}
    real_rename, real_link = Path.rename, os.link

    def step() -> None:
        calls["count"] += 1
        if calls["count"] == calls["fails"]:
            raise OSError(28, "No space left on device", "d")

    def rename(self: Path, target: Path) -> Path:
        step()
        return real_rename(self, target)

    def link(source: Path, target: Path) -> None:
        step()
        real_link(source, target)

    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(os, "link", link)
    for fails in (1, 2, 3):
        calls.update(count=0, fails=fails)
        with pytest.raises(InvalidInput, match="No space left on device"):
            NewFiles(root).create(files)
        assert list(root.iterdir()) == []
    calls.update(count=0, fails=0)
    NewFiles(root).create(files)
    assert contents(root) == dict(sorted(files.items()))
    assert {path.name for path in root.iterdir()} == {"a", "d", "e"}
    assert (root / "a").stat().st_mode & 0o777 == 0o777 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_files_are_not_written_through_links(root: Path, elsewhere: Path) -> None:
    (root / "environments").symlink_to(elsewhere)
    (root / ".gitignore").symlink_to(elsewhere / "ignore")
    with pytest.raises(InvalidInput, match="environments is not a folder"):
        NewFiles(root).create({"environments/x/environment.yaml": b""})
    with pytest.raises(InvalidInput, match=r".gitignore is not a regular file"):
        NewFiles(root).replace(".gitignore", b"")
    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_of(root: Path) -> None:
    missing = NewFiles(root / "missing")
    with pytest.raises(InvalidInput, match="The files cannot be written"):
        missing.create({"a": b""})
    with pytest.raises(InvalidInput, match="The files cannot be written"):
        missing.replace("a", b"")


def test_a_file_that_stands_in_the_way_is_left_alone(root: Path) -> None:
    (root / "a").write_text("mine")
    for files in ({"a": b""}, {"b": b"", "a": b""}, {"a/b": b""}):
        with pytest.raises(InvalidInput):
            NewFiles(root).create(files)
    assert contents(root) == {"a": b"mine"}


# ---- validate and the command line ----


def test_validate_reports_all_faults_of_settings_and_environments(root: Path) -> None:
    (root / "envsync.yaml").write_text("regsitry: x\n")
    for name, text in {"a": "image: busybox\n", "b": "image: A B\nx: 1\n"}.items():
        (root / "environments" / name).mkdir(parents=True)
        (root / "environments" / name / "environment.yaml").write_text(text)
    found = Client(root).validate()
    assert (found.names, found.broken) == (("a", "b"), ("b",))
    assert [str(fault.where) for fault in found.faults] == [
        "environments/b/environment.yaml:1:8",
        "environments/b/environment.yaml:2:1",
        "envsync.yaml:1:1",
    ]
    assert Client(root).validate("a").broken == ()


def envsync(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "envsync", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_first_session_on_the_command_line(root: Path, elsewhere: Path) -> None:
    code, said = envsync(root, "init")
    assert code == 0
    assert said.splitlines()[0] == "created  .git"
    assert said.endswith("Next:\n    envsync lock\n")
    assert (root / ".git").is_dir()
    assert envsync(root, "init")[1].endswith("Everything was there already.\n")
    source(elsewhere, "requirements.txt", "numpy\n")
    code, said = envsync(root, "new", "train", "--pip", str(elsewhere / "requirements.txt"))
    assert (code, said) == (
        0,
        (
            "created  environments/train/conda.yaml\n"
            "created  environments/train/environment.yaml\n"
            "created  environments/train/requirements.txt\n"
            "Next:\n    envsync lock train\n"
        ),
    )
    assert envsync(root, "validate") == (0, "2 environments checked: no faults.\n")
    (root / "environments/train/environment.yaml").write_text("name: train\nimag: x\n")
    code, said = envsync(root, "validate")
    assert (code, said) == (
        6,
        (
            "environments/train/environment.yaml:2:1: 'imag' is not a key of an environment file\n"
            "    Did you mean 'image'?\n"
            "2 environments checked: 1 fault, 1 broken.\n"
        ),
    )
    code, said = envsync(root, "validate", "--format", "json", "tra*")
    assert code == 6
    document = json.loads(said)
    assert document["valid"] is False
    assert document["environments"] == [{"name": "train", "valid": False}]
    assert document["faults"][0] == {
        "file": "environments/train/environment.yaml",
        "line": 2,
        "column": 1,
        "message": "'imag' is not a key of an environment file",
        "hint": "Did you mean 'image'?",
    }


def test_a_build_context_outside_of_the_repository_is_refused(root: Path, elsewhere: Path) -> None:
    envsync(root, "init")
    code, said = envsync(root, "new", "x", "--build", str(elsewhere))
    assert code == 6
    assert "is not in this repository" in said
    assert not (root / "environments/x").exists()

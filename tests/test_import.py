"""Import of whole trees: the public examples of Azure ML, and trees made for one rule each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from envsync.adapters.files.new_files import NewFiles
from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.errors import InvalidInput
from envsync.model.config import Config
from envsync.model.names import is_name
from envsync.model.request import request_hash
from envsync.operations.import_found import candidates, slug
from envsync.operations.import_tree import ImportChoices, ImportReport, import_tree
from envsync.operations.load import load_repository, load_spec
from tests.parts.realdata import shared_data
from tests.team import Team

ENVIRONMENT = "$schema: https://azuremlschemas.azureedge.net/latest/environment.schema.json\n"
CONDA = "channels: [conda-forge]\ndependencies: [python=3.11, pip, {pip: [-r requirements.txt]}]\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder


@pytest.fixture
def examples() -> Path:
    return shared_data() / "azureml" / "azureml-examples"


def taken(
    source: Path, root: Path, *, jobs: bool = False, inside: str | None = None
) -> ImportReport:
    choices = ImportChoices(jobs=jobs, inside=inside)
    return import_tree(WorkTree(source), WorkTree(root), parse_document, NewFiles(root), choices)


def write(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


# ---- the public examples ----


def test_every_environment_of_the_examples_is_imported_or_told_of(
    examples: Path, root: Path
) -> None:
    report = taken(examples, root)
    stated = {
        path.relative_to(examples).as_posix()
        for path in examples.rglob("*.y*ml")
        if "environment.schema.json" in path.read_text()
    }
    told = {one.where.file for one in report.imported} | {one.where.file for one in report.same}
    told |= {fault.where.file for fault in report.skipped}
    assert len(stated) == 17
    assert stated <= told
    assert len(report.imported) == 10
    repository = load_repository(WorkTree(root), parse_document)
    repository.check()
    assert set(repository.specs) == {one.name for one in report.imported}


def test_what_is_imported_asks_for_the_same_as_it_did(examples: Path, root: Path) -> None:
    report = taken(examples, root)
    specs = load_repository(WorkTree(root), parse_document).specs
    for one in report.imported:
        before = load_spec(WorkTree(examples), parse_document, one.where.file, name=None)
        after = specs[one.name]
        assert request_hash(after, Config()) == request_hash(before, Config())
        assert (after.version, after.description, dict(after.tags)) == (
            before.version, before.description, dict(before.tags),
        )  # fmt: skip


def test_with_jobs_each_inline_environment_is_imported_the_same_or_skipped(
    examples: Path, root: Path
) -> None:
    report = taken(examples, root, jobs=True)
    load_repository(WorkTree(root), parse_document).check()
    inline = 0
    for path in examples.rglob("*.y*ml"):
        try:
            document = yaml.safe_load(path.read_text())
        except yaml.YAMLError:
            continue
        inline += sum(1 for _ in inline_environments(document))
    skipped = {f.where for f in report.skipped if "conda file that no" not in f.message}
    places = [one.where for one in report.imported] + [one.where for one in report.same]
    assert len(places) == len(set(places))
    assert len(report.imported) >= 45
    assert len(places) + len(skipped) >= inline
    assert any("labels/latest" in reference for reference in report.uses)


def inline_environments(node: Any) -> Any:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "environment" and isinstance(value, dict):
                yield value
            else:
                yield from inline_environments(value)
    elif isinstance(node, list):
        for item in node:
            yield from inline_environments(item)


@pytest.mark.parametrize("jobs", [False, True])
def test_a_second_import_writes_nothing(examples: Path, root: Path, jobs: bool) -> None:
    first = taken(examples, root, jobs=jobs)
    before = contents(root)
    again = taken(examples, root, jobs=jobs)
    assert contents(root) == before
    assert again.imported == []
    places = {one.where for one in first.imported} | {same.where for same in first.same}
    assert {same.where for same in again.same} == places
    assert again.skipped == first.skipped


def test_the_import_is_the_same_each_time(examples: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = (taken(examples, tmp_path / name, jobs=True) for name in ("one", "two"))
    assert one == two
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


# ---- one rule each ----


def test_comments_stay_and_only_paths_change(tmp_path: Path, root: Path) -> None:
    source = write(
        tmp_path / "source",
        {
            "envs/train.yml": f"# ours\n{ENVIRONMENT}name: train\n"
            "image: debian:12 # small\nconda_file: '../conda/train.yml'  # packages\n",
            "conda/train.yml": CONDA,
            "conda/requirements.txt": "numpy==2.0\n-c limits/c.txt\n",
            "conda/limits/c.txt": "idna<4\n",
        },
    )
    (one,) = taken(source, root).imported
    assert (root / "environments/train/environment.yaml").read_text() == (
        f"# ours\n{ENVIRONMENT}name: train\n"
        "image: debian:12 # small\nconda_file: conda.yaml  # packages\n"
    )
    assert [file.removeprefix("environments/train/") for file in one.files] == [
        "conda.yaml", "environment.yaml", "limits/c.txt", "requirements.txt",
    ]  # fmt: skip


def test_two_of_one_name_are_both_imported_and_one_is_renamed(tmp_path: Path, root: Path) -> None:
    source = write(
        tmp_path / "source",
        {
            "a/env.yml": f"{ENVIRONMENT}name: train\nimage: debian:12\n",
            "b/env.yml": f"{ENVIRONMENT}name: train\nimage: debian:11\n",
            "c/env.yml": f"{ENVIRONMENT}name: train\nimage: debian:12\n",
        },
    )
    report = taken(source, root)
    assert [(one.name, bool(one.renamed)) for one in report.imported] == [
        ("train", False), ("b", True),
    ]  # fmt: skip
    assert [(same.name, same.where.file) for same in report.same] == [("train", "c/env.yml")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("AzureML-sklearn-1.0", "sklearn-1-0"), ("my env", "my-env"), ("x" * 300, "x" * 200)],
)
def test_a_name_that_may_not_be_is_changed_and_told(
    tmp_path: Path, root: Path, name: str, expected: str
) -> None:
    source = write(
        tmp_path / "source", {"env.yml": f"{ENVIRONMENT}name: {name}\nimage: debian:12\n"}
    )
    (one,) = taken(source, root).imported
    assert one.name == expected
    assert one.renamed
    assert (
        yaml.safe_load((root / "environments" / expected / "environment.yaml").read_text())["name"]
        == expected
    )


def test_a_broken_environment_is_skipped_whole_with_every_fault_at_its_place(
    tmp_path: Path, root: Path
) -> None:
    source = write(
        tmp_path / "source",
        {
            "bad.yml": f"{ENVIRONMENT}name: bad\nimage: debian:12\nimagee: x\nversion: '<V>'\n",
            "lost.yml": f"{ENVIRONMENT}name: lost\nimage: debian:12\nconda_file: none.yml\n",
            "good.yml": f"{ENVIRONMENT}name: good\nimage: debian:12\n",
            "broken.yml": "a: [b\n",
        },
    )
    report = taken(source, root)
    assert [one.name for one in report.imported] == ["good"]
    assert report.failed == 2
    places = {(fault.where.file, fault.where.line) for fault in report.skipped}
    assert {("bad.yml", 4), ("bad.yml", 5)} <= places
    assert {"lost.yml", "broken.yml"} <= {file for file, _ in places}
    assert sorted(p.name for p in (root / "environments").iterdir()) == ["good"]


def test_a_build_context_is_copied_with_everything_in_it(tmp_path: Path, root: Path) -> None:
    source = write(
        tmp_path / "source",
        {
            "env.yml": f"{ENVIRONMENT}name: built\nbuild:\n  path: ctx # here\n",
            "ctx/Dockerfile": "FROM debian:12\nCOPY . /x\n",
            "ctx/.dockerignore": "*.log\n",
            "ctx/deep/run.sh": "#!/bin/sh\n",
        },
    )
    (one,) = taken(source, root).imported
    folder = root / "environments/built"
    assert contents(folder)["context/deep/run.sh"] == b"#!/bin/sh\n"
    assert (folder / "context/.dockerignore").exists()
    assert (folder / "environment.yaml").read_text().endswith("  path: context # here\n")
    assert [note.where.file for note in one.notes] == ["ctx/deep/run.sh"]


def test_contexts_with_other_files_are_other_environments(tmp_path: Path, root: Path) -> None:
    job = "$schema: x/commandJob.schema.json\nenvironment:\n  build:\n    path: ctx\n"
    files = {f"{n}/job.yml": job for n in ("a", "b", "c")}
    files |= {
        f"{n}/ctx/Dockerfile": f"FROM debian:{v}\n" for n, v in (("a", 1), ("b", 2), ("c", 1))
    }
    source = write(tmp_path / "source", files)
    report = taken(source, root, jobs=True)
    assert [one.name for one in report.imported] == ["a", "b"]
    assert [same.name for same in report.same] == ["a"]
    again = taken(source, root, jobs=True)
    assert [same.name for same in again.same] == ["a", "b", "a"]


def test_a_build_context_of_the_repository_is_used_where_it_is(root: Path) -> None:
    write(
        root,
        {
            "aml/env.yml": f"{ENVIRONMENT}name: built\nbuild:\n  path: ctx\n",
            "aml/ctx/Dockerfile": "FROM debian:12\n",
        },
    )
    (one,) = taken(root / "aml", root, inside="aml").imported
    assert one.files == ("environments/built/environment.yaml",)
    spec = load_repository(WorkTree(root), parse_document).specs["built"]
    assert spec.build is not None
    assert spec.build.path == "aml/ctx"


def test_a_build_context_without_its_dockerfile_is_told_at_its_place(
    tmp_path: Path, root: Path
) -> None:
    source = write(
        tmp_path / "source", {"env.yml": f"{ENVIRONMENT}name: built\nbuild:\n  path: ctx\n"}
    )
    report = taken(source, root)
    (fault,) = report.skipped
    assert (fault.where.file, fault.where.line) == ("env.yml", 4)
    assert "ctx/Dockerfile" in fault.message


def test_inline_environments_become_files_of_their_own(tmp_path: Path, root: Path) -> None:
    job = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
jobs:
  prep:
    environment:
      image: debian:12
      conda_file:
        channels: [conda-forge]
        dependencies: [python=3.10, {pip: [numpy]}]
  train:
    environment: azureml://registries/azureml/environments/sklearn/labels/latest
"""
    source = write(tmp_path / "source", {"flows/iris/src/pipeline.yml": job})
    assert not taken(source, root).imported
    report = taken(source, root, jobs=True)
    assert [one.name for one in report.imported] == ["iris-prep"]
    spec = load_repository(WorkTree(root), parse_document).specs["iris-prep"]
    assert spec.conda is not None
    assert (spec.conda.dependencies, spec.conda.pip) == (("python=3.10",), ("numpy",))
    assert list(report.uses) == ["azureml://registries/azureml/environments/sklearn/labels/latest"]


def test_a_folder_that_the_old_sdk_saved_is_found_in_the_tree(tmp_path: Path, root: Path) -> None:
    saved = {"name": "old", "docker": {"baseImage": "debian:12"}, "spark": {"packages": ["x"]}}
    source = write(
        tmp_path / "source",
        {
            "saved/old/azureml_environment.json": json.dumps(saved, indent=4),
            "saved/old/conda_dependencies.yml": "dependencies: [python=3.8]\n",
        },
    )
    (one,) = taken(source, root).imported
    assert one.name == "old"
    assert [note.message for note in one.notes] == [
        "'spark.packages' has no place in an environment"
    ]


@pytest.mark.parametrize(
    ("named", "path", "keys", "first"),
    [
        ("good", "a/b.yml", (), "good"),
        ("", "train/src/env.yml", (), "train"),
        ("", "train/src/pipeline.yml", ("prep",), "train-prep"),
        ("", "env.yml", (), "env"),
        ("", "src/environment/env.yml", (), "environment"),
        ("", "ü.yml", (), "imported"),
    ],
)
def test_names_come_from_where_environments_stand(
    named: str, path: str, keys: tuple[str, ...], first: str
) -> None:
    found = candidates(named, path, keys)
    assert found[0] == first
    assert all(map(is_name, found))


@pytest.mark.parametrize("text", ["", "---", "ü", "AzureML-", "Microsoft"])
def test_nothing_is_left_of_some_names(text: str) -> None:
    assert slug(text) == ""


def test_a_link_out_of_the_tree_is_not_followed(tmp_path: Path, root: Path) -> None:
    secret = tmp_path / "secret.yml"
    secret.write_text(CONDA)
    source = write(
        tmp_path / "source",
        {"env.yml": f"{ENVIRONMENT}name: a\nimage: debian:12\nconda_file: c.yml\n"},
    )
    (source / "c.yml").symlink_to(secret)
    with pytest.raises(InvalidInput):
        WorkTree(source).read("c.yml")
    report = taken(source, root)
    assert not report.imported
    assert any("leaves the repository" in fault.message for fault in report.skipped)


# ---- the command ----


def test_the_command_tells_all_of_it_as_text_and_as_json(folder_team: Team, tmp_path: Path) -> None:
    source = write(
        tmp_path / "source",
        {
            "good.yml": f"{ENVIRONMENT}name: good\nimage: debian:12\n",
            "bad.yml": f"{ENVIRONMENT}name: bad\n",
            "conda.yml": CONDA,
        },
    )
    done = folder_team.envsync("import", str(source), "--format=json")
    assert done.code == 3
    document = done.json
    assert [one["name"] for one in document["imported"]] == ["good"]
    assert document["imported"][0]["from"] == {"file": "good.yml", "line": 1, "column": 1}
    assert {skipped["file"] for skipped in document["skipped"]} == {"bad.yml", "conda.yml"}
    again = folder_team.envsync("import", str(source))
    assert re.search(r"3 files read: 0 environments imported, 1 the same, 2 skipped", again.out)
    write(source, {"good.yml": f"{ENVIRONMENT}name: good\nimage: debian:11\n"})
    changed = folder_team.envsync("import", str(source))
    assert "environments/good exists already, and says something else" in changed.out
    assert folder_team.envsync("validate").code == 0

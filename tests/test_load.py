"""Loading: all environments of a tree, broken ones apart, and nothing read outside of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.errors import InvalidInput
from envsync.model.config import Config
from envsync.model.document import Faults, Mapping, Node, Scalar, Sequence
from envsync.model.policy import Policy
from envsync.model.spec_reader import read_spec
from envsync.operations.load import (
    environment_names,
    load_repository,
    load_spec,
    select,
)
from envsync.ports.tree import Tree
from tests.memory_tree import MemoryTree
from tests.reliability.counts import count

GOOD = "image: busybox\n"


def tree_of(**environments: str) -> MemoryTree:
    return MemoryTree(
        {f"environments/{name}/environment.yaml": text for name, text in environments.items()}
    )


def test_a_broken_environment_blocks_no_other() -> None:
    tree = tree_of(a=GOOD, b="image: A B\nx: 1\n", c=GOOD, d="")
    repository = load_repository(tree, parse_document)
    assert list(repository.specs) == ["a", "c"]
    assert {name: len(error.faults) for name, error in repository.broken.items()} == {
        "b": 2,
        "d": 1,
    }
    with pytest.raises(InvalidInput) as refused:
        repository.check()
    assert refused.value.summary == "2 of 4 environments cannot be used"
    assert [str(fault.where) for fault in refused.value.faults] == [
        "environments/b/environment.yaml:1:8",
        "environments/b/environment.yaml:2:1",
        "environments/d/environment.yaml",
    ]


def test_a_repository_without_faults_passes_its_check() -> None:
    load_repository(tree_of(a=GOOD), parse_document).check()
    load_repository(MemoryTree({}), parse_document).check()


def test_without_settings_everything_has_its_default() -> None:
    assert load_repository(tree_of(a=GOOD), parse_document).config == Config()
    comments = MemoryTree({"envsync.yaml": "# nothing yet\n"})
    assert load_repository(comments, parse_document).config == Config()


def test_settings_are_read() -> None:
    tree = MemoryTree(
        {
            "envsync.yaml": "registry: localhost:5000/team/envs\nplatforms: [linux-aarch64]\n"
            "channels: [bioconda, conda-forge]\nremote: upstream\ncopy_images: true\n"
            "allow_link_scripts: [font-ttf-ubuntu]\n"
        }
    )
    assert load_repository(tree, parse_document).config == Config(
        registry="localhost:5000/team/envs",
        platforms=("linux-aarch64",),
        channels=("bioconda", "conda-forge"),
        remote="upstream",
        copy_images=True,
        allow_link_scripts=("font-ttf-ubuntu",),
        policy=Policy(own_registry="localhost:5000/team/envs"),
    )


SETTINGS = [
    ("- a\n", "envsync.yaml:1:1: envsync.yaml is a list; it must be a map of 'key: value'"),
    ("regsitry: a/b\n", ("envsync.yaml:1:1: 'regsitry' is not a key of envsync.yaml\n"
     "    Did you mean 'registry'?")),
    ("namespace: a\n", ("envsync.yaml:1:1: 'namespace' is not a key of envsync.yaml\n"
     "    Write it after the registry: 'registry: host/namespace'.")),
    ("copy_images: yes\n", "envsync.yaml:1:14: 'copy_images' must be true or false"),
    ("platforms: [linux/arm64]\n", ("envsync.yaml:1:13: 'linux/arm64' is not a platform\n"
     "    Did you mean 'linux-aarch64'?")),
    ("channels: conda-forge\n", ("envsync.yaml:1:11: 'channels' is text; it must be a list\n"
     "    Write '- ' before each.")),
    ("remote: -x\n", "envsync.yaml:1:9: 'remote' cannot be called '-x'"),
    ("allow_link_scripts: [a b]\n", "envsync.yaml:1:22: A package cannot be called 'a b'"),
    ("registry: me:pw@ghcr.io/a\n", ("envsync.yaml:1:11: The registry holds a user, a password or a"
     " token\n    Remove them and log in: docker login.")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SETTINGS, ids=[text.strip() for text, _ in SETTINGS])
def test_wrong_settings_stop_everything_with_place_and_advice(text: str, expected: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        load_repository(MemoryTree({"envsync.yaml": text}), parse_document)
    assert str(refused.value) == f"envsync.yaml cannot be used\n{expected}"


@pytest.mark.parametrize("registry", ["https://ghcr.io/a", "ghcr.io", "ghcr.io/A", "x", "a/b:1"])
def test_a_registry_that_is_none_is_refused_where_it_stands(registry: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        load_repository(MemoryTree({"envsync.yaml": f"registry: {registry}\n"}), parse_document)
    [fault] = refused.value.faults
    assert str(fault.where) == "envsync.yaml:1:11"
    assert fault.message.startswith(f"'{registry}' is not a registry location: ")
    assert fault.hint


KNOWN = ("train", "train-gpu", "serve", "Serve")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), KNOWN),
        (("train",), ("train",)),
        (("train*",), ("train", "train-gpu")),
        (("serve", "train"), ("train", "serve")),
        (("[st]*",), ("train", "train-gpu", "serve")),
        (("?erve", "serve"), ("serve", "Serve")),
    ],
)
def test_names_and_globs_select_in_the_order_of_the_tree(
    names: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert select(KNOWN, names) == expected


@pytest.mark.parametrize(
    ("known", "name", "expected"),
    [
        (KNOWN, "trian", "There is no environment 'trian'\nDid you mean: train, train-gpu?"),
        (KNOWN, "zzz", "There is no environment 'zzz'"),
        (KNOWN, "x*", "There is no environment 'x*'"),
        (
            (),
            "a",
            "There is no environment 'a'\nThere is no folder below environments/ at all.",
        ),
    ],
)
def test_a_name_that_selects_nothing_is_refused_with_the_nearest(
    known: tuple[str, ...], name: str, expected: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        select(known, (name,))
    assert str(refused.value) == expected


def test_only_folders_that_are_not_hidden_are_environments() -> None:
    tree = MemoryTree(
        {
            "environments/README.md": "",
            "environments/.gitkeep": "",
            "environments/.ipynb_checkpoints/environment.yaml": "",
            "environments/b/environment.yaml": "",
            "environments/a/environment.yml": GOOD,
        }
    )
    assert environment_names(tree) == ("a", "b")
    assert load_repository(tree, parse_document, ["a"]).specs["a"].path == (
        "environments/a/environment.yml"
    )


FOLDERS = [
    ({"environments/a/conda.yaml": ""}, "a", ("environments/a: There is no environment.yaml in this"
     " folder\n    Add one, or keep what is shared outside of environments/.")),
    ({"environments/a/environment.yaml": GOOD, "environments/a/environment.yml": GOOD}, "a",
     ("environments/a: There are environment.yaml and environment.yml in this folder\n"
     "    Keep one of them.")),
    ({"environments/a b/environment.yaml": GOOD}, "a b", ("environments: The folder 'a b' has no"
     " name that an environment can have\n    Names have letters, digits, '-' and '_', at most"
     " 255, and start with a letter or digit.")),
    ({"environments/AzureML-x/environment.yaml": GOOD}, "AzureML-x", ("environments/AzureML-x:"
     " Names that start with 'AzureML-' are reserved for Azure ML\n"
     "    Choose another name; images of Azure ML can be used.")),
]  # fmt: skip


@pytest.mark.parametrize(("files", "name", "expected"), FOLDERS)
def test_a_folder_that_is_no_environment_is_told_of(
    files: dict[str, bytes | str], name: str, expected: str
) -> None:
    repository = load_repository(MemoryTree(files), parse_document)
    assert repository.broken[name].detail == expected


def test_a_folder_name_cannot_write_to_the_terminal() -> None:
    tree = MemoryTree({"environments/a\x1b[31m/environment.yaml": GOOD})
    [error] = load_repository(tree, parse_document).broken.values()
    assert "\x1b" not in str(error)


# ---- the working folder ----


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that nobody may read through the repository."""
    sentinel = tmp_path / "outside" / "secret.yaml"
    sentinel.parent.mkdir()
    sentinel.write_text("dependencies: [sentinel]\n")
    return sentinel


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "environments/train").mkdir(parents=True)
    (folder / "environments/train/environment.yaml").write_text(GOOD)
    (folder / "environments/train/conda.yaml").write_text("dependencies: [inside]\n")
    return folder


def test_the_working_folder_lists_and_reads_regular_files(root: Path) -> None:
    (root / ".git").mkdir()
    (root / ".git/config").write_text("secret")
    tree = WorkTree(root)
    assert tree.list("environments") == ("train/",)
    assert tree.list("environments/train/") == ("conda.yaml", "environment.yaml")
    assert tree.list("nothing") == ()
    assert tree.list("environments/train/conda.yaml") == ()
    assert tree.read("environments/train/environment.yaml") == GOOD.encode()
    for path in ("environments", "nothing", "a/b", ".git/config", "../x", "/etc/passwd", "", "."):
        assert tree.read(path) is None, path
    assert ".git/" not in tree.list("")


def test_a_link_to_a_file_of_the_repository_is_read_as_from_a_commit(root: Path) -> None:
    (root / "environments/train/link.yaml").symlink_to("conda.yaml")
    (root / "environments/train/chain.yaml").symlink_to("../train/link.yaml")
    tree = WorkTree(root)
    assert tree.read("environments/train/chain.yaml") == b"dependencies: [inside]\n"


def test_links_out_of_the_repository_are_refused(root: Path, outside: Path) -> None:
    folder = root / "environments/train"
    (folder / "absolute.yaml").symlink_to(outside)
    (folder / "relative.yaml").symlink_to("../../../outside/secret.yaml")
    (folder / "chain.yaml").symlink_to("relative.yaml")
    (folder / "circle.yaml").symlink_to("circle.yaml")
    tree = WorkTree(root)
    for name in ("absolute", "relative", "chain"):
        with pytest.raises(InvalidInput, match="is a link that leaves the repository"):
            tree.read(f"environments/train/{name}.yaml")
    with pytest.raises(InvalidInput, match="is a link that leads in a circle"):
        tree.read("environments/train/circle.yaml")


def test_a_linked_folder_is_not_entered(root: Path, outside: Path) -> None:
    (root / "environments/linked").symlink_to(outside.parent)
    (root / "environments/inner").symlink_to("train")
    tree = WorkTree(root)
    assert tree.list("environments") == ("inner", "linked", "train/")
    assert tree.list("environments/linked") == ()
    assert tree.read("environments/linked/secret.yaml") is None
    assert tree.read("environments/inner/conda.yaml") is None


def test_pipes_sockets_and_folders_are_not_files(root: Path) -> None:
    folder = root / "environments/train"
    os.mkfifo(folder / "pipe.yaml")
    (folder / "folder.yaml").mkdir()
    here = Path.cwd()
    os.chdir(folder)  # the path of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.yaml")
    finally:
        os.chdir(here)
    tree = WorkTree(root)
    for name in ("pipe", "folder", "socket"):
        assert tree.read(f"environments/train/{name}.yaml") is None


def test_a_file_that_is_too_large_or_not_readable_is_told_of(root: Path) -> None:
    (root / "large").write_bytes(b"x" * 101)
    with pytest.raises(InvalidInput, match="large has 101 bytes"):
        WorkTree(root, size_limit=100).read("large")
    assert WorkTree(root, size_limit=101).read("large") == b"x" * 101


TRAVERSALS = [
    "../../../outside/secret.yaml", "../../../../outside/secret.yaml",
    "../../../../../../../../../../etc/hostname", "/etc/hostname", "//etc/hostname",
    "./../../../outside/secret.yaml", "a/../../../../outside/secret.yaml",
    "..//..//..//outside/secret.yaml", "../../../outside/./secret.yaml",
    "..\\..\\..\\outside\\secret.yaml", "..%2f..%2f..%2foutside%2fsecret.yaml",
    "file:../../../outside/secret.yaml", "file:/etc/hostname", "file:///etc/hostname",
    "file://localhost/etc/hostname", "~/secret.yaml", "~root/.bashrc", "C:\\secret.yaml",
    "C:secret.yaml", "\\\\host\\share\\secret.yaml", "linked.yaml", "chain.yaml",
    "folder/secret.yaml", "linkedfolder/secret.yaml", "../../.git/config", "../../.GIT/config",
    "../../.git/../../outside/secret.yaml", "https://host.example/secret.yaml", "pipe.yaml", ".",
    "..", "../..", "", " ", "conda.yaml/../../../../outside/secret.yaml",
    "/proc/self/environ", "/dev/zero", "\u2025/\u2025/\u2025/outside/secret.yaml",
    "..\u2215..\u2215..\u2215outside\u2215secret.yaml", "%2e%2e/%2e%2e/%2e%2e/outside/secret.yaml",
]  # fmt: skip


@pytest.fixture
def trapped(root: Path, outside: Path) -> Path:
    """A repository full of ways out."""
    folder = root / "environments/train"
    (folder / "linked.yaml").symlink_to(outside)
    (folder / "chain.yaml").symlink_to("linked.yaml")
    (folder / "linkedfolder").symlink_to(outside.parent)
    (folder / "folder").mkdir()
    (folder / "folder/secret.yaml").symlink_to("../../../../outside/secret.yaml")
    os.mkfifo(folder / "pipe.yaml")
    (root / ".git").mkdir()
    (root / ".git/config").write_text("dependencies: [sentinel]\n")
    return root


def _quoted(text: str) -> str:
    return "'" + text + "'"


@pytest.mark.parametrize("path", TRAVERSALS)
@pytest.mark.parametrize(
    "spec",
    [
        "image: scratch\nconda_file: {}\n",
        "image: scratch\nconda_file:\n  dependencies: [a, pip: [-r {}]]\n",
        "build:\n  path: .\n  dockerfile_path: {}\n",
        "build:\n  path: {}\n",
    ],
)
def test_no_path_of_a_spec_leads_out_of_the_repository(
    trapped: Path, path: str, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = trapped / "environments/train/environment.yaml"
    file.write_text(spec.replace("-r {}", _quoted(f"-r {path}")).replace("{}", _quoted(path)))
    opened: list[str] = []
    real_open = os.open

    def spy(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        handle = real_open(name, flags, mode, dir_fd=dir_fd)
        opened.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        return handle

    monkeypatch.setattr(os, "open", spy)
    repository = load_repository(WorkTree(trapped), parse_document)
    if path.startswith("https:") and spec.startswith("build:\n  path: {"):
        assert repository.specs["train"].kind == "build"  # a context may stand at a URL
    else:
        assert "sentinel" not in str(repository.broken["train"])
    inside = str(trapped)
    assert all(name == inside or name.startswith(f"{inside}/") for name in opened)
    assert not any("/.git" in name for name in opened)
    count("X3", payloads=1, **{"refused" if repository.broken else "harmless": 1})


# ---- real files ----


class Completed:
    """The collected data has YAML and requirements only: Dockerfiles are added to it."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    @property
    def label(self) -> str:
        return self._tree.label

    def read(self, path: str) -> bytes | None:
        found = self._tree.read(path)
        return b"FROM scratch\n" if found is None and path.endswith("Dockerfile") else found

    def list(self, folder: str) -> tuple[str, ...]:
        return self._tree.list(folder)


EXAMPLES = "azureml/azureml-examples"
REFUSED = {
    f"{EXAMPLES}/cli/jobs/pipelines-with-components/nyc_taxi_data_regression/env_train.yml": (
        "3:10: '<VERSION>' in 'version' is a placeholder of a template\n"
        "    Fill it in, or leave 'version' out: versions are then 1, 2, 3 …."
    ),
    # A slip in the public example itself.
    f"{EXAMPLES}/sdk/python/endpoints/online/deploy-with-packages/custom-model/environment/"
    "sklearn-regression-env.yml": (
        f"4:13: There is no file {EXAMPLES}/sdk/python/endpoints/online/deploy-with-packages/"
        "custom-model/environment/conda.yaml in the working folder\n"
        "    Did you mean conda.yml?"
    ),
}


def parsed(file: Path) -> Node | None:
    return parse_document(file.read_bytes(), file.name, Faults())


def is_environment(root: Node | None) -> bool:
    if not isinstance(root, Mapping):
        return False
    schema = root.get("$schema")
    if isinstance(schema, Scalar):
        return schema.text.endswith("/environment.schema.json")
    return root.get("name") is not None and bool(root.get("image") or root.get("build"))


def inline_environments(root: Node | None) -> Iterator[Mapping]:
    if isinstance(root, Mapping):
        for key, value in root.entries:
            if key.text == "environment" and isinstance(value, Mapping):
                yield value
            yield from inline_environments(value)
    elif isinstance(root, Sequence):
        for item in root.items:
            yield from inline_environments(item)


def test_every_environment_of_the_public_examples_loads_unchanged(shared_data: Path) -> None:
    tree = Completed(WorkTree(shared_data))
    loaded, refused = [], {}
    for file in sorted((shared_data / "azureml").rglob("*.y*ml")):
        if not is_environment(parsed(file)):
            continue
        path = file.relative_to(shared_data).as_posix()
        try:
            loaded.append(load_spec(tree, parse_document, path, name=None))
        except InvalidInput as error:
            refused[path] = error.detail.removeprefix(f"{path}:")
    assert refused == REFUSED
    assert len(loaded) >= 16
    assert {spec.kind for spec in loaded} == {"image", "conda", "build"}
    assert all(spec.name for spec in loaded)


def test_every_environment_inside_the_jobs_of_the_public_examples_is_read(
    shared_data: Path,
) -> None:
    found = 0
    for file in sorted((shared_data / "azureml").rglob("*.y*ml")):
        path = file.relative_to(shared_data).as_posix()
        # Templates of deployments are no YAML before they are filled in.
        faults = Faults()
        root = parse_document(file.read_bytes(), path, faults)
        for environment in inline_environments(root) if not faults else ():
            read_spec(environment, faults, path=path, name=None)
            found += 1
        assert not [fault for fault in faults if "{{" not in fault.hint], path
    assert found >= 80

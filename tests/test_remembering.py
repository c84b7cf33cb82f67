"""What is remembered of specs and locks: never wrong, whatever happens to it, and never needed."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envsync.adapters.building.memory_folder import MemoryFolder, this_program
from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.repository import GitRepository
from envsync.adapters.locks.conda_lock_file import parse_lock
from envsync.errors import Unavailable
from envsync.model.canonical import sha256_hex
from envsync.model.lock import LockedPackage
from envsync.operations.desire import Wishes, desire
from envsync.operations.readers import Readers
from envsync.operations.recalled import document_of, recalled
from envsync.planning.states import Desired
from envsync.ports.memory import Memory
from envsync.ports.tree import TreeFile
from tests.parts import gitremote

IMAGE = "image: docker.io/library/debian:12\n"


def _lock(request: str) -> str:
    return (
        f"format: 1\nrequest: {request * 64}\nimage: docker.io/library/debian:12\n"
        f"digest: sha256:{'a' * 64}\n"
        f"platforms:\n  linux-64:\n    digest: sha256:{'b' * 64}\n"
    )


class Kept:
    """A memory that tells what it was asked."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.hits = 0

    def recall(self, keys: Iterable[str]) -> Mapping[str, bytes]:
        found = {key: self.documents[key] for key in keys if key in self.documents}
        self.hits = len(found)
        return found

    def remember(self, documents: Mapping[str, bytes]) -> None:
        self.documents.update(documents)


def _never(text: str, package: LockedPackage) -> bool:
    raise AssertionError("there are no packages")


def _read(repository: gitremote.GitRepository, memory: Memory, cache: Path) -> Wishes:
    git = GitRepository(repository.path, remote="", cache=cache, environ=os.environ)
    readers = Readers(
        parse=parse_document,
        parse_lock=parse_lock,
        matches=_never,
        root=repository.path.as_posix(),
        memory=memory,
    )
    return desire(git.tree("HEAD"), readers)


def _write(repository: gitremote.GitRepository, name: str, more: str = "") -> None:
    repository.commit(
        name,
        {
            f"environments/{name}/environment.yaml": f"name: {name}\n{IMAGE}{more}",
            f"locks/{name}/image.yaml": _lock("c"),
        },
    )


def test_what_is_remembered_is_what_would_be_read(
    repository: gitremote.GitRepository, tmp_path: Path
) -> None:
    for name in ("serve", "train"):
        _write(repository, name)
    memory = Kept()
    first = _read(repository, memory, tmp_path)
    assert memory.hits == 0
    assert sorted(first.wishes) == ["serve", "train"]
    again = _read(repository, memory, tmp_path)
    assert memory.hits == 2
    assert {name: wish.desired for name, wish in again.wishes.items()} == {
        name: wish.desired for name, wish in first.wishes.items()
    }
    for name, wish in again.wishes.items():
        assert wish.resolved().lock == first.wishes[name].resolved().lock


def test_every_file_that_was_read_counts(
    repository: gitremote.GitRepository, tmp_path: Path
) -> None:
    _write(repository, "train", "version: '1'\n")
    memory = Kept()
    _read(repository, memory, tmp_path)
    for files in (
        {"environments/train/environment.yaml": f"name: train\n{IMAGE}version: '2'\n"},
        {"locks/train/image.yaml": _lock("d")},
        {"envsync.yaml": "copy_images: true\n"},
    ):
        repository.commit("changed", files)
        changed = _read(repository, memory, tmp_path)
        assert memory.hits == 0
        fresh = _read(repository, Kept(), tmp_path)
        assert changed.wishes["train"].desired == fresh.wishes["train"].desired
    repository.commit("another", {"README.md": "not read\n"})
    _read(repository, memory, tmp_path)
    assert memory.hits == 1


def test_a_file_elsewhere_that_was_read_through_a_link_counts(
    repository: gitremote.GitRepository, tmp_path: Path
) -> None:
    _write(repository, "train")
    spec = repository.path / "environments/train/environment.yaml"
    repository.write({"shared.yaml": f"name: train\n{IMAGE}version: '1'\n"})
    spec.unlink()
    spec.symlink_to("../../shared.yaml")
    repository.commit("a link")
    memory = Kept()
    assert _read(repository, memory, tmp_path).wishes["train"].desired.version == "1"
    repository.commit("behind the link", {"shared.yaml": f"name: train\n{IMAGE}version: '2'\n"})
    # The folder of the environment is the same, and so is the key; what was read is not.
    assert _read(repository, memory, tmp_path).wishes["train"].desired.version == "2"


def test_a_memory_that_lies_is_found_out_before_anything_is_built(
    repository: gitremote.GitRepository, tmp_path: Path
) -> None:
    _write(repository, "train")
    memory = Kept()
    _read(repository, memory, tmp_path)
    ((key, document),) = memory.documents.items()
    told = json.loads(document)
    told["desired"]["definition_hash"] = "f" * 64
    memory.documents[key] = json.dumps(told).encode()
    wish = _read(repository, memory, tmp_path).wishes["train"]
    with pytest.raises(Unavailable, match="what is remembered of train"):
        wish.resolved()


DESIRED = Desired(
    name="train",
    kind="conda",
    definition_hash="a" * 64,
    format=1,
    request="b" * 64,
    version=None,
    platforms=("linux-64", "linux-aarch64"),
    lock_sha256="c" * 64,
    image="scratch",
    base_digest="",
    copied=True,
)


class Everywhere:
    """A tree in which everything is what it was."""

    label = "the tree"

    def read(self, path: str) -> bytes | None:
        return None

    def list(self, folder: str) -> tuple[str, ...]:
        return ()

    def files(self, folder: str) -> tuple[TreeFile, ...]:
        return ()

    def identity(self, path: str) -> str:
        return path.upper()


def test_what_is_written_is_read_again() -> None:
    document = document_of(DESIRED, {"a": "A"})
    assert recalled(document, Everywhere()) == DESIRED
    assert recalled(document_of(DESIRED, {"a": "B"}), Everywhere()) is None


values = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.just(["x", 1]))


@given(st.sampled_from(sorted(json.loads(document_of(DESIRED, {}))["desired"])), values)
def test_a_document_with_a_value_of_another_type_is_not_believed(name: str, value: object) -> None:
    told = json.loads(document_of(DESIRED, {}))
    if type(told["desired"][name]) is type(value) and name not in {"kind", "platforms"}:
        return
    if name == "version" and isinstance(value, str):
        return
    told["desired"][name] = value
    assert recalled(json.dumps(told).encode(), Everywhere()) is None


@given(st.binary(max_size=40))
def test_bytes_that_are_no_document_are_not_believed(data: bytes) -> None:
    assert recalled(data, Everywhere()) is None


def test_a_damaged_file_was_never_there(tmp_path: Path) -> None:
    memory = MemoryFolder(tmp_path / "memory", maker="one")
    memory.remember({"key": b"document", "other": b"other"})
    assert memory.recall(["key", "other", "unknown"]) == {"key": b"document", "other": b"other"}
    for file in (tmp_path / "memory").iterdir():
        data = file.read_bytes()
        for damaged in (data[:-1], data + b"x", b"", data.replace(b"o", b"0")):
            file.write_bytes(damaged)
            assert len(memory.recall(["key", "other"])) == 1
        file.write_bytes(data)
    one, two = (tmp_path / "memory").iterdir()
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    assert memory.recall(["key", "other"]) == {}


def test_what_another_program_worked_out_is_not_recalled(tmp_path: Path) -> None:
    MemoryFolder(tmp_path, maker="one").remember({"key": b"document"})
    assert MemoryFolder(tmp_path, maker="two").recall(["key"]) == {}
    assert this_program() == this_program()


def test_a_memory_does_not_grow_without_end(tmp_path: Path) -> None:
    memory = MemoryFolder(tmp_path / "memory", maker="one", limit=20)
    for number in range(100):
        memory.remember({str(number): b"document"})
        assert len(list((tmp_path / "memory").iterdir())) <= 20
    assert memory.recall(["99"]) == {"99": b"document"}


def test_a_place_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    memory = MemoryFolder(tmp_path / "file" / "memory", maker="one")
    memory.remember({"key": b"document"})
    assert memory.recall(["key"]) == {}


def test_many_may_remember_at_the_same_time(tmp_path: Path) -> None:
    documents = {str(number): sha256_hex(b"%d" % number).encode() * 50 for number in range(20)}
    wrong: list[str] = []

    def work() -> None:
        memory = MemoryFolder(tmp_path / "memory", maker="one", limit=15)
        for _ in range(20):
            memory.remember(documents)
            found = memory.recall(documents)
            wrong.extend(key for key, document in found.items() if documents[key] != document)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(not file.name.startswith(".") for file in (tmp_path / "memory").iterdir())

"""What every registry does, be it a folder or a server: one suite for all implementations."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import pytest

from envsync.errors import EnvsyncError, InvalidInput, Unavailable
from envsync.model.reading import ABSENT, Present
from envsync.oci.descriptor import (
    CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MANIFEST,
    Descriptor,
    RawManifest,
    digest_of,
)
from envsync.ports.registry import ContentMissing, RegistryWriter
from tests.registry.images import blob, content, image, index

NOWHERE = digest_of(b"nobody has this")


def test_a_manifest_is_found_by_tag_and_by_digest(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    hello = image("hello")
    hello.put(registry_under_test, repository, "1")
    for reference in ("1", hello.manifest.digest):
        assert registry_under_test.head(repository, reference) == Present(hello.manifest.descriptor)
        assert registry_under_test.manifest(repository, reference) == Present(hello.manifest)


def test_what_is_not_there_is_absent(registry_under_test: RegistryWriter, repository: str) -> None:
    def all_absent() -> bool:
        return all(
            registry_under_test.head(repository, reference) == ABSENT
            and registry_under_test.manifest(repository, reference) == ABSENT
            for reference in ("1", NOWHERE)
        )

    assert all_absent()
    assert registry_under_test.tags(repository) == ABSENT
    image("hello").put(registry_under_test, repository, "2")
    assert all_absent()


def test_a_blob_is_no_manifest(registry_under_test: RegistryWriter, repository: str) -> None:
    hello = image("hello")
    hello.put(registry_under_test, repository, "1")
    for digest in (digest_of(hello.config), digest_of(hello.layer)):
        # distribution 2.8 answers 500 here
        assert not isinstance(registry_under_test.manifest(repository, digest), Present)
        assert not isinstance(registry_under_test.head(repository, digest), Present)


def test_a_manifest_under_its_digest_has_no_tag(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    hello = image("hello")
    hello.put(registry_under_test, repository)
    assert registry_under_test.head(repository, hello.manifest.digest) == Present(
        hello.manifest.descriptor
    )
    assert registry_under_test.tags(repository) == ABSENT


def test_tags_are_listed_in_order(registry_under_test: RegistryWriter, repository: str) -> None:
    image("hello").put(registry_under_test, repository, "2", "latest", "10", "def-" + "a" * 64)
    assert registry_under_test.tags(repository) == Present(("10", "2", "def-" + "a" * 64, "latest"))


def test_repositories_are_listed(registry_under_test: RegistryWriter, repository: str) -> None:
    for name in (repository, f"{repository}/deeper"):
        image("hello").put(registry_under_test, name, "1")
    found = registry_under_test.repositories()
    assert isinstance(found, Present)
    assert {repository, f"{repository}/deeper"} <= {*found.value}
    assert found.value == tuple(sorted(found.value))


def test_a_tag_moves_and_the_old_image_stays(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    old, new = image("old"), image("new")
    old.put(registry_under_test, repository, "1", "latest")
    new.put(registry_under_test, repository, "2", "latest")
    assert registry_under_test.head(repository, "latest") == Present(new.manifest.descriptor)
    assert registry_under_test.head(repository, "1") == Present(old.manifest.descriptor)
    assert registry_under_test.tags(repository) == Present(("1", "2", "latest"))


def test_writing_twice_is_the_same_as_writing_once(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    hello = image("hello")
    for _ in range(2):
        for data in (hello.layer, hello.config):
            registry_under_test.put_blob(repository, blob(data), content(data))
        registry_under_test.put_manifest(repository, "1", hello.manifest)
    assert registry_under_test.tags(repository) == Present(("1",))
    assert registry_under_test.head(repository, "1") == Present(hello.manifest.descriptor)


def test_an_index_and_its_children_are_found(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    amd64, arm64 = image("hello", "amd64"), image("hello", "arm64")
    top = index((amd64, "amd64"), (arm64, "arm64"))
    amd64.put(registry_under_test, repository)
    arm64.put(registry_under_test, repository)
    registry_under_test.put_manifest(repository, "1", top)
    assert registry_under_test.manifest(repository, "1") == Present(top)
    for child in (amd64, arm64):
        assert registry_under_test.manifest(repository, child.manifest.digest) == Present(
            child.manifest
        )


def test_a_manifest_without_its_content_is_refused(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    hello = image("hello")
    with pytest.raises(ContentMissing):
        registry_under_test.put_manifest(repository, "1", hello.manifest)
    with pytest.raises(ContentMissing):
        registry_under_test.put_manifest(repository, "1", index((hello, "amd64")))
    assert registry_under_test.head(repository, "1") == ABSENT


def test_a_manifest_under_another_digest_is_refused(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    hello = image("hello")
    hello.put(registry_under_test, repository)
    with pytest.raises(InvalidInput, match="digest"):
        registry_under_test.put_manifest(repository, NOWHERE, hello.manifest)


def test_a_manifest_with_a_wrong_type_is_refused(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    for body in (b'{"mediaType": "text/plain"}', b"<html>", b"[]"):
        with pytest.raises(InvalidInput):
            registry_under_test.put_manifest(
                repository, "1", RawManifest(media_type=MANIFEST, body=body)
            )


@pytest.mark.parametrize("name", ["", "../x", "a//b", "A/b", "a/../b", "a?b", "a\nb", "/a"])
def test_a_name_that_is_no_repository_never_reaches_a_registry(
    registry_under_test: RegistryWriter, name: str
) -> None:
    with pytest.raises(InvalidInput):
        registry_under_test.head(name, "1")
    with pytest.raises(InvalidInput):
        registry_under_test.put_blob(name, blob(b"x"), content(b"x"))


@pytest.mark.parametrize("reference", ["", "../1", "a b", "sha256:12", "x" * 129, "1\r\nX: y"])
def test_a_text_that_is_no_reference_never_reaches_a_registry(
    registry_under_test: RegistryWriter, repository: str, reference: str
) -> None:
    with pytest.raises(InvalidInput):
        registry_under_test.manifest(repository, reference)


@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 18) + 1, 3_000_000])
def test_a_blob_comes_back_as_it_was_put(
    registry_under_test: RegistryWriter, repository: str, size: int
) -> None:
    data = os.urandom(size)
    assert not registry_under_test.has_blob(repository, digest_of(data))
    heard: list[int] = []
    registry_under_test.put_blob(repository, blob(data), content(data), heard.append)
    assert sum(heard) == size
    assert registry_under_test.has_blob(repository, digest_of(data))
    with registry_under_test.blob(repository, blob(data)) as chunks:
        assert b"".join(chunks) == data


def test_a_blob_can_be_put_from_an_iterator(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    parts = [b"one", b"", b"two", b"three"]
    data = b"".join(parts)
    registry_under_test.put_blob(repository, blob(data), lambda: nullcontext(iter(parts)))
    with registry_under_test.blob(repository, blob(data)) as chunks:
        assert b"".join(chunks) == data


def test_a_blob_that_is_not_there_is_not_read(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    image("hello").put(registry_under_test, repository)
    wanted = Descriptor(media_type=CONFIG, digest=NOWHERE, size=3)
    with pytest.raises(Unavailable), registry_under_test.blob(repository, wanted) as chunks:
        list(chunks)


@pytest.mark.parametrize("data", [b"damaged!", b"short", b"much longer than it should be"])
def test_bytes_that_are_not_what_they_should_be_are_not_stored(
    registry_under_test: RegistryWriter, repository: str, data: bytes
) -> None:
    wanted = blob(b"original")
    with pytest.raises(EnvsyncError):
        registry_under_test.put_blob(repository, wanted, content(data))
    assert not registry_under_test.has_blob(repository, wanted.digest)


def test_a_blob_of_another_size_is_not_believed(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    data = b"what is there"
    registry_under_test.put_blob(repository, blob(data), content(data))
    for size in (len(data) - 1, len(data) + 1):
        wanted = Descriptor(media_type=CONFIG, digest=digest_of(data), size=size)
        with pytest.raises(Unavailable), registry_under_test.blob(repository, wanted) as chunks:
            list(chunks)


def test_what_fails_while_bytes_are_read_is_passed_on(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    class Broken(Exception):
        pass

    @contextmanager
    def breaking() -> Iterator[Iterator[bytes]]:
        def chunks() -> Iterator[bytes]:
            yield b"half"
            raise Broken

        yield chunks()

    with pytest.raises(Broken):
        registry_under_test.put_blob(repository, blob(b"half and half"), breaking)
    assert not registry_under_test.has_blob(repository, digest_of(b"half and half"))


def test_a_blob_is_mounted_from_another_repository(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    source, target = f"{repository}/source", f"{repository}/target"
    hello = image("hello")
    hello.put(registry_under_test, source, "1")
    for data in (hello.layer, hello.config):
        assert registry_under_test.mount_blob(target, digest_of(data), source)
        assert registry_under_test.mount_blob(target, digest_of(data), source)
    registry_under_test.put_manifest(target, "1", hello.manifest)
    assert registry_under_test.manifest(target, "1") == Present(hello.manifest)


def test_a_blob_that_cannot_be_mounted_can_be_put(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    source, data = f"{repository}/source", b"nothing to mount"
    assert not registry_under_test.mount_blob(repository, digest_of(data), source)
    registry_under_test.put_blob(repository, blob(data), content(data))
    assert registry_under_test.has_blob(repository, digest_of(data))


def test_eight_threads_write_and_read_together(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    shared = image("shared by all")
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        own = image(f"of thread {number}")
        for _ in range(3):
            shared.put(registry_under_test, repository, "shared")
            own.put(registry_under_test, repository, f"t{number}")
        found = registry_under_test.manifest(repository, f"t{number}")
        assert found == Present(own.manifest)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    tags = ("shared", *(f"t{number}" for number in range(8)))
    assert registry_under_test.tags(repository) == Present(tags)


def test_a_large_blob_passes_through_little_memory(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    block, count = os.urandom(1 << 20), 96
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(block)
    wanted = Descriptor(media_type=CONFIG, digest=f"sha256:{digest.hexdigest()}", size=count << 20)
    tracemalloc.start()
    try:
        registry_under_test.put_blob(repository, wanted, lambda: nullcontext(iter([block] * count)))
        with registry_under_test.blob(repository, wanted) as chunks:
            assert sum(map(len, chunks)) == count << 20
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_a_docker_image_is_read_as_it_is(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    hello = image("hello")
    hello.put(registry_under_test, repository)
    body = hello.manifest.document() | {"mediaType": DOCKER_MANIFEST}
    docker = RawManifest(media_type=DOCKER_MANIFEST, body=json.dumps(body).encode())
    registry_under_test.put_manifest(repository, docker.digest, docker)
    child = docker.descriptor.document() | {"platform": {"os": "linux", "architecture": "amd64"}}
    listed = {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [child]}
    top = RawManifest(media_type=DOCKER_LIST, body=json.dumps(listed).encode())
    registry_under_test.put_manifest(repository, "1", top)
    assert registry_under_test.head(repository, "1") == Present(top.descriptor)
    assert registry_under_test.manifest(repository, docker.digest) == Present(docker)


def test_a_file_is_read_from_its_start_for_each_try(
    registry_under_test: RegistryWriter, repository: str
) -> None:
    opened: list[io.BytesIO] = []

    @contextmanager
    def fresh() -> Iterator[io.BytesIO]:
        opened.append(io.BytesIO(b"data"))
        yield opened[-1]

    registry_under_test.put_blob(repository, blob(b"data"), fresh)
    assert len(opened) == 1

"""Writing to a registry that fails, lies, or behaves in its own way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest

from envsync.adapters.registry.http_registry_writer import HttpRegistry
from envsync.adapters.registry.registries import Registries, RegistrySettings
from envsync.errors import Conflict, EnvsyncError, NotAllowed, Unavailable
from envsync.model.reading import ABSENT, Present
from envsync.oci.descriptor import digest_of
from envsync.oci.referrer import Referrer, listed, referrers_tag, with_referrers
from envsync.operations.attach import attach
from envsync.ports.registry import ContentMissing
from tests.parts.registry import run_registry
from tests.registry.images import Image, blob, content, image, index
from tests.registry.proxy import DROP, Asked, Proxy, Reply, errors


@pytest.mark.parametrize("absolute", [True, False])
def test_uploads_go_where_the_registry_says(
    registry: HttpRegistry, proxy: Proxy, repository: str, absolute: bool
) -> None:
    def located(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        reply = ask()
        path = "/v2/" + reply.headers["location"].partition("/v2/")[2]
        return reply.having(location=f"http://{proxy.host}{path}" if absolute else path)

    proxy.on("POST", "/uploads/", located)
    registry.put_blob(repository, blob(b"data"), content(b"data"))
    assert registry.has_blob(repository, digest_of(b"data"))
    assert [a.method for a in proxy.asked] == ["POST", "PUT", "HEAD"]


PAGE = Reply(status=200, headers={"content-type": "text/html"}, body=b"<html>Please log in</html>")
"""What a proxy on the way says of itself, whatever it is asked."""
UPLOAD_FAULTS = {
    "a page": PAGE,
    "accepted": Reply(status=202),
    "500": errors(500, "UNKNOWN"),
    "503": Reply(status=503),
    "dropped": Reply(status=DROP),
    "session lost": errors(404, "BLOB_UPLOAD_UNKNOWN"),
    "damaged on the way": errors(400, "DIGEST_INVALID"),
    "416": errors(416, "BLOB_UPLOAD_INVALID"),
}


@pytest.mark.parametrize("answer", [PAGE, Reply(status=204)], ids=["a page", "no content"])
def test_what_is_no_session_is_asked_for_again(
    registry: HttpRegistry, proxy: Proxy, repository: str, answer: Reply
) -> None:
    proxy.on("POST", "/uploads/", lambda asked, ask: answer, times=1)
    registry.put_blob(repository, blob(b"data"), content(b"data"))
    assert registry.has_blob(repository, digest_of(b"data"))
    proxy.on("POST", "/uploads/", lambda asked, ask: answer)
    with pytest.raises(Unavailable, match="is not available"):
        registry.put_blob(repository, blob(b"other"), content(b"other"))


@pytest.mark.parametrize("fault", UPLOAD_FAULTS)
@pytest.mark.parametrize("committed", [True, False])
def test_an_upload_that_fails_once_is_done_once_more_if_needed(
    registry: HttpRegistry, proxy: Proxy, repository: str, fault: str, committed: bool
) -> None:
    def fail(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        if committed:
            assert ask().status == 201
        return UPLOAD_FAULTS[fault]

    proxy.on("PUT", "/uploads/", fail, times=1)
    data = repository.encode()
    registry.put_blob(repository, blob(data), content(data))
    assert registry.has_blob(repository, digest_of(data))
    sessions = [a.path for a in proxy.requests("POST", "/uploads/")]
    assert len(sessions) == (1 if committed else 2)


def test_an_upload_is_done_with_the_session_of_a_refused_mount(
    registry: HttpRegistry, proxy: Proxy, repository: str
) -> None:
    assert not registry.mount_blob(repository, digest_of(b"data"), f"{repository}/other")
    registry.put_blob(repository, blob(b"data"), content(b"data"))
    assert [a.method for a in proxy.asked] == ["POST", "PUT"]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500])
def test_a_mount_that_is_refused_is_only_a_no(
    registry: HttpRegistry, proxy: Proxy, repository: str, hello: Image, status: int
) -> None:
    proxy.on("POST", "mount=", errors(status, "UNSUPPORTED"))
    assert not registry.mount_blob(f"{repository}/a", digest_of(hello.layer), repository)


def test_a_stream_that_is_damaged_once_is_read_again(
    registry: HttpRegistry, repository: str
) -> None:
    streams = [[b"dama", b"ged!"], [b"orig", b"inal"]]
    registry.put_blob(repository, blob(b"original"), lambda: nullcontext(iter(streams.pop(0))))
    assert registry.has_blob(repository, digest_of(b"original"))


@pytest.mark.parametrize("fault", ["500", "503", "dropped"])
@pytest.mark.parametrize("committed", [True, False])
def test_a_manifest_that_fails_once_is_put_again(
    registry: HttpRegistry, proxy: Proxy, repository: str, fault: str, committed: bool
) -> None:
    def fail(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        if committed:
            assert ask().status == 201
        return UPLOAD_FAULTS[fault]

    proxy.on("PUT", "/manifests/", fail, times=1)
    hello = image(repository)
    hello.put(registry, repository, "1")
    assert registry.head(repository, "1") == Present(hello.manifest.descriptor)


def test_a_tag_that_may_not_move_is_a_conflict_unless_it_is_right(
    registry: HttpRegistry, proxy: Proxy, repository: str, hello: Image
) -> None:
    proxy.on("PUT", "/manifests/1", errors(409, "TAG_IMMUTABLE", "tags do not move here"))
    hello.put(registry, repository, "1")
    with pytest.raises(Conflict, match="tags do not move here"):
        image("another").put(registry, repository, "1")


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (errors(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown"), ContentMissing, "blob unknown"),
        (errors(403, "DENIED", "no push for you"), NotAllowed, "no push for you"),
        (errors(405, "UNSUPPORTED", "read-only"), NotAllowed, "read-only"),
        (errors(413, "SIZE_INVALID", "too large"), Unavailable, "too large"),
        (errors(400, "MANIFEST_INVALID", "bad field"), EnvsyncError, "bad field"),
    ],
)
def test_a_refused_manifest_is_explained_in_the_words_of_the_registry(
    registry: HttpRegistry,
    proxy: Proxy,
    repository: str,
    reply: Reply,
    kind: type[EnvsyncError],
    words: str,
) -> None:
    proxy.on("PUT", "/manifests/", reply)
    with pytest.raises(kind, match=words):
        image("hello").put(registry, repository, "1")


def test_content_that_a_registry_does_not_see_at_once_is_not_missing(
    registry: HttpRegistry, proxy: Proxy, repository: str
) -> None:
    proxy.on("PUT", "/manifests/", errors(400, "MANIFEST_BLOB_UNKNOWN"), times=2)
    hello = image("hello")
    hello.put(registry, repository, "1")
    assert registry.head(repository, "1") == Present(hello.manifest.descriptor)


def test_a_registry_that_answers_for_another_digest_is_not_believed(
    registry: HttpRegistry, proxy: Proxy, repository: str
) -> None:
    def other(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        return ask().having(docker_content_digest=digest_of(b"another"))

    proxy.on("PUT", "/manifests/", other)
    with pytest.raises(Unavailable, match="another digest"):
        image("hello").put(registry, repository, "1")


def test_an_index_with_a_missing_child_is_content_that_is_missing(
    registry: HttpRegistry, repository: str
) -> None:
    with pytest.raises(ContentMissing):
        registry.put_manifest(repository, "1", index((image("nowhere"), "amd64")))


def test_a_read_only_registry_says_so() -> None:
    with (
        run_registry(read_only=True) as running,
        Registries(RegistrySettings()) as registries,
        pytest.raises(NotAllowed, match="does not allow it"),
    ):
        image("hello").put(registries.at(running.host), "a/b", "1")


@pytest.mark.parametrize("itself", [True, False])
def test_what_refers_to_an_image_is_listed_at_a_tag_where_the_registry_does_not_do_it(
    proxy: Proxy, registry: HttpRegistry, repository: str, hello: Image, itself: bool
) -> None:
    """A registry that does says so with a header, as the specification has it."""
    hello.put(registry, repository)
    if itself:
        subject = hello.manifest.digest
        proxy.on("PUT", "/manifests/sha256:", lambda _, ask: ask().having(OCI_Subject=subject))
    one = Referrer(
        subject=hello.manifest.descriptor, media_type="application/x.note", document=b"seen"
    )
    for _ in range(2):
        attach([one], registry, repository)
    assert isinstance(registry.head(repository, one.manifest.digest), Present)
    listed = registry.manifest(repository, referrers_tag(hello.manifest.digest))
    if itself:
        assert listed == ABSENT
        return
    assert isinstance(listed, Present)
    assert listed.value.document()["manifests"] == [one.entry()]
    assert len(proxy.requests("PUT", "/manifests/sha256-")) == 1, "the second time it is there"


def test_two_who_write_a_list_at_once_both_stand_in_it(
    proxy: Proxy, registry: HttpRegistry, repository: str, hello: Image
) -> None:
    """The other one writes between our reading and our writing, once."""
    hello.put(registry, repository)
    ours, theirs = (
        Referrer(subject=hello.manifest.descriptor, media_type="application/x.note", document=text)
        for text in (b"ours", b"theirs")
    )
    tag = referrers_tag(hello.manifest.digest)
    attach([theirs], registry, repository)
    only = with_referrers(None, [theirs])

    def undone(_: Asked, ask: Callable[[], Reply]) -> Reply:
        reply = ask()
        registry.put_manifest(repository, tag, only)
        return reply

    proxy.on("PUT", f"/manifests/{tag}", undone, times=1)
    attach([ours], registry, repository)
    found = registry.manifest(repository, tag)
    assert isinstance(found, Present)
    assert set(listed(found.value)) == {ours.manifest.digest, theirs.manifest.digest}

"""A registry over HTTP that fails, lies, or behaves in its own way."""

from __future__ import annotations

import email.utils
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from envsync.adapters.http.retries import TRIES
from envsync.adapters.registry.http_registry_writer import HttpRegistry
from envsync.adapters.registry.registries import Registries, RegistrySettings
from envsync.errors import Unavailable
from envsync.model.reading import ABSENT, Present, Reading, Unknown
from envsync.oci.descriptor import DOCKER_MANIFEST, MANIFEST, Descriptor, digest_of
from tests.parts.process import free_port
from tests.parts.registry import Registry, run_registry
from tests.registry.conftest import Waits
from tests.registry.images import Image, blob, content, image
from tests.registry.proxy import DROP, Asked, Proxy, Reply, errors, proxied

HTML = Reply(status=200, headers={"content-type": "text/html"}, body=b"<html>Please log in</html>")
Read = Callable[[HttpRegistry, str], Reading[object]]

READS: dict[str, tuple[str, str, Read]] = {
    "head": ("HEAD", "/manifests/", lambda registry, name: registry.head(name, "1")),
    "manifest": ("GET", "/manifests/", lambda registry, name: registry.manifest(name, "1")),
    "tags": ("GET", "/tags/list", lambda registry, name: registry.tags(name)),
}


FAULTS: dict[str, Reply] = {
    "408": Reply(status=408),
    "425": Reply(status=425),
    "429": errors(429, "TOOMANYREQUESTS"),
    "500": errors(500, "UNKNOWN"),
    "502": Reply(status=502, body=b"<html>Bad gateway</html>"),
    "503": Reply(status=503),
    "504": Reply(status=504),
    "dropped": Reply(status=DROP),
    "HTML": HTML,
    "a 404 that no registry wrote": Reply(
        status=404, headers={"content-type": "text/html"}, body=b"<html>Not found</html>"
    ),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_happens_once_is_not_noticed(
    registry: HttpRegistry, proxy: Proxy, repository: str, hello: Image, read: str, fault: str
) -> None:
    method, part, ask = READS[read]
    expected = ask(registry, repository)
    assert isinstance(expected, Present)
    proxy.on(method, part, FAULTS[fault], times=1)
    assert ask(registry, repository) == expected


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("fault", [*FAULTS, "401", "403", "400", "405", "418"])
def test_a_fault_that_stays_is_unknown_and_never_absent(
    registry: HttpRegistry, proxy: Proxy, repository: str, read: str, fault: str
) -> None:
    """The repository does not even exist, and still the answer is not *absent*."""
    _, part, ask = READS[read]
    reply = FAULTS.get(fault) or errors(int(fault), "DENIED")
    for method in ("HEAD", "GET"):
        proxy.on(method, part, reply)
    found = ask(registry, repository)
    assert isinstance(found, Unknown)
    assert found.why == ("not allowed" if fault in {"401", "403", "405"} else "unavailable")
    assert proxy.host in found.reason


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 412, 413])
def test_answers_that_will_not_change_are_not_asked_for_again(
    registry: HttpRegistry, proxy: Proxy, repository: str, status: int
) -> None:
    proxy.on("GET", "/tags/list", errors(status, "NAME_UNKNOWN"))
    registry.tags(repository)
    assert len(proxy.requests("GET", "/tags/list")) == 1


def test_a_failing_registry_is_tried_six_times_with_growing_pauses(
    registry: HttpRegistry, proxy: Proxy, repository: str, waits: Waits
) -> None:
    proxy.on("GET", "/tags/list", Reply(status=503))
    assert isinstance(registry.tags(repository), Unknown)
    assert len(proxy.requests("GET", "/tags/list")) == TRIES
    assert waits.slept == [0.5, 1, 2, 4, 8]


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("7", 7.0),
        (email.utils.formatdate(1_700_000_011, usegmt=True), 11.0),
        ("soon", 0.5),
        ("-3", 0.5),
        ("", 0.5),
        (email.utils.formatdate(1_600_000_000, usegmt=True), None),
    ],
)
def test_a_registry_that_asks_for_a_pause_gets_it(
    registry: HttpRegistry,
    proxy: Proxy,
    repository: str,
    hello: Image,
    waits: Waits,
    value: str,
    pause: float | None,
) -> None:
    reply = errors(429, "TOOMANYREQUESTS").having(retry_after=value)
    proxy.on("HEAD", "/manifests/", reply, times=1)
    assert registry.head(repository, "1") == Present(hello.manifest.descriptor)
    assert waits.slept == ([] if pause is None else [pause])


def test_a_registry_that_asks_for_an_hour_is_given_up(
    registry: HttpRegistry, proxy: Proxy, repository: str, waits: Waits
) -> None:
    proxy.on("HEAD", "/manifests/", Reply(status=429, headers={"retry-after": "3600"}))
    found = registry.head(repository, "1")
    assert isinstance(found, Unknown)
    assert "3600 seconds" in found.reason
    assert waits.slept == []


@pytest.mark.parametrize("header", ["docker-content-digest", "content-type", "content-length"])
def test_a_head_that_says_too_little_becomes_a_get(
    registry: HttpRegistry, proxy: Proxy, repository: str, hello: Image, header: str
) -> None:
    def without(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        return ask().having(**{header.replace("-", "_"): ""})

    proxy.on("HEAD", "/manifests/", without)
    assert registry.head(repository, "1") == Present(hello.manifest.descriptor)
    assert len(proxy.requests("GET", "/manifests/")) == 1


def test_a_head_that_names_another_digest_than_asked_for_is_checked(
    registry: HttpRegistry, proxy: Proxy, repository: str, hello: Image
) -> None:
    def lying(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        return ask().having(docker_content_digest=digest_of(b"another"))

    proxy.on("HEAD", "/manifests/", lying)
    reference = hello.manifest.digest
    assert registry.head(repository, reference) == Present(hello.manifest.descriptor)


def changed(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    reply = ask()
    return replace(reply, body=reply.body.replace(b"schemaVersion", b"SchemaVersion"))


def truncated(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    return replace(ask(), cut=5)


def shortened(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    reply = ask()
    return replace(reply.having(content_length=""), body=reply.body[:-5])


def huge(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    return replace(ask().having(content_length=""), body=b" " * (5 << 20))


@pytest.mark.parametrize("how", [changed, truncated, shortened, huge])
def test_a_manifest_with_wrong_bytes_is_not_believed(
    registry: HttpRegistry,
    proxy: Proxy,
    repository: str,
    hello: Image,
    how: Callable[[Asked, Callable[[], Reply]], Reply],
) -> None:
    proxy.on("GET", "/manifests/", how, times=1)
    assert registry.manifest(repository, "1") == Present(hello.manifest)
    proxy.on("GET", "/manifests/", how)
    for reference in ("1", hello.manifest.digest):
        assert isinstance(registry.manifest(repository, reference), Unknown)


def test_a_manifest_in_a_type_from_the_past_is_unknown(
    registry: HttpRegistry, proxy: Proxy, repository: str
) -> None:
    old = Reply(
        status=200,
        headers={"content-type": "application/vnd.docker.distribution.manifest.v1+prettyjws"},
        body=b'{"schemaVersion": 1, "fsLayers": []}',
    )
    proxy.on("HEAD", "/manifests/", old)
    proxy.on("GET", "/manifests/", old)
    assert isinstance(registry.head(repository, "1"), Unknown)


def test_a_manifest_that_contradicts_its_header_is_unknown(
    registry: HttpRegistry, proxy: Proxy, repository: str, hello: Image
) -> None:
    def other(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        return ask().having(content_type=DOCKER_MANIFEST)

    proxy.on("GET", "/manifests/", other)
    assert isinstance(registry.manifest(repository, "1"), Unknown)


def test_a_404_to_a_head_in_html_is_asked_again_with_a_get(
    registry: HttpRegistry, proxy: Proxy, repository: str
) -> None:
    proxy.on("HEAD", "/manifests/", FAULTS["a 404 that no registry wrote"])
    assert registry.head(repository, "1") == ABSENT
    assert len(proxy.requests("GET", "/manifests/")) == 1


@pytest.mark.parametrize("absolute", [True, False])
def test_tags_are_read_from_all_pages(
    registry: HttpRegistry, proxy: Proxy, repository: str, absolute: bool
) -> None:
    def page(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        number = int(asked.path.partition("last=")[2] or 0)
        base = f"http://{proxy.host}" if absolute else ""
        link = f'<{base}/v2/{repository}/tags/list?n=2&last={number + 1}>; rel="next"'
        return Reply(
            status=200,
            headers={"link": link} if number < 4 else {},
            body=json.dumps({"tags": [f"t{number}", f"u{number}"]}).encode(),
        )

    proxy.on("GET", "/tags/list", page)
    found = registry.tags(repository)
    assert isinstance(found, Present)
    assert found.value == tuple(sorted(f"{letter}{n}" for letter in "tu" for n in range(5)))


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_a_registry_need_not_show_its_repositories(
    registry: HttpRegistry, proxy: Proxy, status: int
) -> None:
    proxy.on("GET", "/_catalog", errors(status, "UNSUPPORTED"))
    assert registry.repositories() == ABSENT


def test_repositories_that_cannot_be_listed_now_are_unknown(
    registry: HttpRegistry, proxy: Proxy
) -> None:
    proxy.on("GET", "/_catalog", errors(500, "UNKNOWN"))
    assert isinstance(registry.repositories(), Unknown)


@pytest.mark.parametrize("link", ["</v2/x>", "same", "<http://127.0.0.1:1/v2/x>"])
def test_pages_that_lead_nowhere_are_unknown(
    registry: HttpRegistry, proxy: Proxy, repository: str, link: str
) -> None:
    def page(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        target = f"<{asked.path}>" if link == "same" else link
        return Reply(status=200, headers={"link": f'{target}; rel="next"'}, body=b'{"tags": ["1"]}')

    proxy.on("GET", "/tags/list", page)
    assert isinstance(registry.tags(repository), Unknown)


def redirecting(to: Proxy) -> Callable[[Asked, Callable[[], Reply]], Reply]:
    def redirect(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        return Reply(status=307, headers={"location": f"http://{to.host}{asked.path}?signature=x"})

    return redirect


def test_a_blob_elsewhere_is_read_from_there(
    registry: HttpRegistry,
    proxy: Proxy,
    repository: str,
    hello: Image,
    shared_registry: Registry,
) -> None:
    with proxied(shared_registry.host) as storage:
        proxy.on("GET", "/blobs/", redirecting(storage))
        proxy.on("HEAD", "/blobs/", redirecting(storage))
        with registry.blob(repository, blob(hello.layer)) as chunks:
            assert b"".join(chunks) == hello.layer
        assert registry.has_blob(repository, digest_of(hello.layer))
        assert len(storage.asked) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_a_storage_host_refuses_proves_nothing(
    registry: HttpRegistry, proxy: Proxy, repository: str, shared_registry: Registry, status: int
) -> None:
    with proxied(shared_registry.host) as storage:
        storage.on("GET", "/", errors(status, "MANIFEST_UNKNOWN"))
        storage.on("HEAD", "/", errors(status, "MANIFEST_UNKNOWN"))
        for method in ("HEAD", "GET"):
            proxy.on(method, "/v2/", redirecting(storage))
        for _, _, ask in READS.values():
            found = ask(registry, repository)
            assert isinstance(found, Unknown)
            assert found.why == "unavailable"


def test_redirects_in_circles_end(registry: HttpRegistry, proxy: Proxy, repository: str) -> None:
    proxy.on("HEAD", "/manifests/", redirecting(proxy))
    assert isinstance(registry.head(repository, "1"), Unknown)
    assert len(proxy.asked) == 6


def test_a_blob_that_breaks_off_is_read_on_from_there(
    registry: HttpRegistry, proxy: Proxy, repository: str
) -> None:
    data = bytes(range(256)) * 4096
    registry.put_blob(repository, blob(data), content(data))

    def breaking(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        reply = ask()
        return replace(reply, cut=len(reply.body) // 2)

    proxy.on("GET", "/blobs/", breaking, times=3)
    with registry.blob(repository, blob(data)) as chunks:
        assert b"".join(chunks) == data
    ranges = [asked.headers.get("range") for asked in proxy.requests("GET", "/blobs/")]
    assert ranges == [None, "bytes=524288-", "bytes=786432-", "bytes=917504-"]


def test_a_blob_that_breaks_off_is_read_on_where_ranges_are_unknown(
    registry: HttpRegistry, proxy: Proxy, repository: str
) -> None:
    data = bytes(range(256)) * 4096
    registry.put_blob(repository, blob(data), content(data))

    def whole(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        return Reply(status=200, body=data)

    proxy.on("GET", "/blobs/", whole)
    proxy.on("GET", "/blobs/", Reply(status=200, body=data, cut=300_000), times=1)
    with registry.blob(repository, blob(data)) as chunks:
        assert b"".join(chunks) == data


def test_a_blob_that_always_breaks_off_is_given_up(
    registry: HttpRegistry, proxy: Proxy, repository: str, hello: Image
) -> None:
    proxy.on("GET", "/blobs/", Reply(status=200, body=b"x" * 10, cut=10))
    wanted = blob(hello.layer)
    with pytest.raises(Unavailable), registry.blob(repository, wanted) as chunks:
        list(chunks)
    assert len(proxy.requests("GET", "/blobs/")) == TRIES


def test_a_damaged_blob_is_not_believed(
    registry: HttpRegistry, proxy: Proxy, repository: str, hello: Image
) -> None:
    proxy.on("GET", "/blobs/", Reply(status=200, body=bytes(len(hello.layer))))
    wanted = blob(hello.layer)
    with pytest.raises(Unavailable, match="damaged"), registry.blob(repository, wanted) as chunks:
        list(chunks)


def test_words_of_a_registry_are_shown_short_and_on_one_line(
    registry: HttpRegistry, proxy: Proxy, repository: str
) -> None:
    proxy.on("GET", "/tags/list", errors(403, "DENIED", "a\x1b[31m\r\nb\u202e" + "x" * 5000))
    found = registry.tags(repository)
    assert isinstance(found, Unknown)
    assert len(found.reason) < 600
    assert not any(c in found.reason for c in "\x1b\r\u202e")


def test_a_host_that_is_not_there_is_said_to_be_unreachable(waits: Waits) -> None:
    host = f"127.0.0.1:{free_port()}"
    with Registries(RegistrySettings(clock=waits.clock())) as registries:
        found = registries.at(host).head("a/b", "1")
        assert isinstance(found, Unknown)
        assert f"{host} is not available" in found.reason
        assert "could not be reached: connection refused" in found.reason
        assert len(waits.slept) == TRIES - 1
        # The next environments need not wait as long to learn the same.
        assert isinstance(registries.at(host).head("a/c", "1"), Unknown)
        assert len(waits.slept) == TRIES - 1


def test_a_host_without_an_address_is_said_to_be_misspelt(waits: Waits) -> None:
    with Registries(RegistrySettings(clock=waits.clock())) as registries:
        found = registries.at("registry.invalid").head("a/b", "1")
    assert isinstance(found, Unknown)
    assert "there is no host registry.invalid" in found.reason or "resol" in found.reason


def test_a_registry_is_found_again_after_it_was_away(
    registry_that_moves: Registry, waits: Waits, repository: str
) -> None:
    with Registries(RegistrySettings(clock=waits.clock())) as registries:
        registry = registries.at(registry_that_moves.host)
        hello = image("hello")
        hello.put(registry, repository, "1")
        registry_that_moves.down()
        assert isinstance(registry.head(repository, "1"), Unknown)
        registry_that_moves.up()
        waits.now += 60
        assert registry.head(repository, "1") == Present(hello.manifest.descriptor)


@pytest.fixture
def registry_that_moves() -> Iterator[Registry]:
    with run_registry() as running:
        yield running


def test_a_descriptor_of_a_head_has_the_size_of_the_manifest(
    registry: HttpRegistry, repository: str, hello: Image
) -> None:
    expected = Descriptor(
        media_type=MANIFEST, digest=hello.manifest.digest, size=len(hello.manifest.body)
    )
    assert registry.head(repository, "1") == Present(expected)


def test_a_404_about_another_address_proves_no_absence(
    registry: HttpRegistry, proxy: Proxy, repository: str
) -> None:
    elsewhere = Reply(status=307, headers={"location": "/login"})
    for method in ("HEAD", "GET"):
        proxy.on(method, "/manifests/", elsewhere)
        proxy.on(method, "/login", Reply(status=404, headers={"content-type": "text/plain"}))
    assert isinstance(registry.head(repository, "1"), Unknown)
    assert isinstance(registry.manifest(repository, "1"), Unknown)

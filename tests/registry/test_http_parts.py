"""The parts of the HTTP registry by themselves: laws over whatever a server may say."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envsync.adapters.http.retries import (
    GIVEN_UP,
    LEFT_ALONE_FOR,
    TRIES,
    Again,
    Clock,
    Patience,
    retry_after,
)
from envsync.adapters.http.wire import Origin, Proxies, split_url
from envsync.adapters.registry.recording_registry import Call, RecordingRegistry
from envsync.adapters.registry.registries import Registries, RegistrySettings, open_registry
from envsync.adapters.registry.registry_auth import Redactor, _parse
from envsync.errors import InvalidInput, Unavailable
from envsync.model.reading import ABSENT, Unknown
from envsync.model.reference import parse_registry_location
from envsync.oci.descriptor import digest_of
from tests.parts.registry import Registry
from tests.registry.conftest import Waits, fast_clock
from tests.registry.images import image
from tests.registry.proxy import proxied


@given(st.one_of(st.text(), st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ .*")))
def test_no_retry_after_makes_anything_fail(value: str) -> None:
    pause = retry_after(value, fast_clock())
    assert pause is None or pause >= 0


@given(st.text())
def test_no_challenge_makes_anything_fail(value: str) -> None:
    assert all(name == name.lower() for name in _parse(value))


def test_challenges_are_told_apart() -> None:
    challenge = 'Basic realm="a, b", Bearer realm="https://auth/token",service=hub,scope="x:y:pull"'
    assert _parse(challenge) == {
        "basic": {"realm": "a, b"},
        "bearer": {"realm": "https://auth/token", "service": "hub", "scope": "x:y:pull"},
    }


@given(
    st.one_of(st.text(), st.text().map("http://{}".format), st.text().map("https://h/{}".format))
)
def test_a_url_is_split_or_refused(url: str) -> None:
    try:
        origin, target = split_url(url)
    except ValueError:
        return
    assert origin.scheme in {"http", "https"}
    assert target.startswith("/")
    assert target.isascii()
    assert split_url(f"{origin}{target}") == (origin, target)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://ghcr.io/v2/", Origin("https", "ghcr.io", 443)),
        ("https://ghcr.io:443/v2/", Origin("https", "ghcr.io", 443)),
        ("http://[::1]:5000/", Origin("http", "::1", 5000)),
    ],
)
def test_an_origin_knows_its_port(url: str, origin: Origin) -> None:
    assert split_url(url)[0] == origin


@given(st.lists(st.text(min_size=4), min_size=1, max_size=5), st.text())
def test_a_secret_never_survives_cleaning(secrets: list[str], text: str) -> None:
    redactor = Redactor()
    redactor.add(*secrets)
    said = text.join(secrets) + text
    cleaned = redactor.clean(said)
    longest = max(secrets, key=len)
    assert longest.replace("*", "") == "" or longest not in cleaned.replace("***", "")


@given(st.floats(0, 1), st.integers(0, TRIES - 1))
def test_pauses_stay_within_their_bounds(chance: float, number: int) -> None:
    patience = Patience("host", Clock(random=lambda: chance), deadline=1)
    assert 0 <= patience.jitter(number) <= min(30, 0.5 * 2**number)


def test_a_pause_holds_for_all_threads() -> None:
    waits = Waits()
    patience = Patience("host", waits.clock(), deadline=100)
    tried = threading.Semaphore(0)
    asked: list[float] = []

    def first() -> None:
        if not asked:
            asked.append(waits.now)
            tried.release()
            raise Again("busy", after=20)
        asked.append(waits.now)

    def second() -> None:
        asked.append(waits.now)

    start = waits.now
    patience.run(first)
    patience.run(second)
    assert asked == [start, start + 20, start + 20]


def test_work_that_is_short_ends_at_its_deadline() -> None:
    waits = Waits()
    patience = Patience("host", waits.clock(), deadline=100)
    tries: list[float] = []

    def slow() -> None:
        tries.append(waits.now)
        waits.now += 60
        raise Again("too slow")

    with pytest.raises(Unavailable, match="Too slow"):
        patience.run(slow)
    assert len(tries) == 2
    with pytest.raises(Unavailable):
        patience.run(slow, long=True)
    assert len(tries) == 2 + TRIES


def test_a_host_that_only_fails_is_left_alone_and_then_tried_again() -> None:
    waits = Waits()
    patience = Patience("host", waits.clock(), deadline=100)
    tried = 0

    def failing() -> None:
        nonlocal tried
        tried += 1
        raise Again("it answered 500")

    for _ in range(GIVEN_UP):
        with pytest.raises(Unavailable, match="It answered 500"):
            patience.run(failing)
    assert tried == GIVEN_UP * TRIES
    with pytest.raises(Unavailable, match="It answered 500"):
        patience.run(failing)
    assert tried == GIVEN_UP * TRIES, "nobody asked it"
    waits.now += LEFT_ALONE_FOR
    assert patience.run(lambda: "well") == "well"
    with pytest.raises(Unavailable):
        patience.run(failing)
    assert tried == (GIVEN_UP + 1) * TRIES


def test_a_host_that_fails_for_some_and_not_for_others_is_asked() -> None:
    waits = Waits()
    patience = Patience("host", waits.clock(), deadline=100)
    tried = 0

    def failing() -> None:
        nonlocal tried
        tried += 1
        raise Again("it answered 500", after=0)

    assert patience.run(lambda: "well") == "well"
    for number in range(2 * GIVEN_UP):
        with pytest.raises(Unavailable):
            patience.run(failing)
        assert tried == (number + 1) * TRIES


def test_only_loopback_is_asked_without_tls(shared_registry: Registry) -> None:
    with Registries(
        RegistrySettings(clock=fast_clock(), resolve=lambda h, p: ["127.0.0.1"])
    ) as all_:
        assert all_.at(shared_registry.host).head("a/b", "1") == ABSENT
        named = all_.at(f"localhost:{shared_registry.port}")
        assert named.head("a/b", "1") == ABSENT
        found = all_.at(f"registry.example:{shared_registry.port}").head("a/b", "1")
        assert isinstance(found, Unknown)
        assert "does not speak TLS" in found.reason


def test_a_host_has_one_registry_however_it_is_asked_for(shared_registry: Registry) -> None:
    with Registries(RegistrySettings()) as registries:
        location = parse_registry_location(f"{shared_registry.host}/envs")
        first = open_registry(location, registries)
        assert open_registry(shared_registry.host, registries) is first
        assert registries.at("docker.io") is registries.at("index.docker.io")
        assert registries.at("docker.io").name == "docker.io"


@pytest.mark.parametrize("host", ["", "a b", "http://x", "x/y", "u@x", "x:99999"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with Registries(RegistrySettings()) as registries, pytest.raises(InvalidInput):
        registries.at(host)


def test_a_recording_tells_reading_from_changing(shared_registry: Registry) -> None:
    with Registries(RegistrySettings()) as registries:
        recorded = RecordingRegistry(registries.at(shared_registry.host))
        recorded.head("record/a", "1")
        recorded.tags("record/a")
        assert not recorded.mutations
        hello = image("hello")
        hello.put(recorded, "record/a", "1")
        assert recorded.mutations[-1] == Call(
            operation="put_manifest", repository="record/a", reference="1"
        )
        assert recorded.mutations[0] == Call(
            operation="put_blob", repository="record/a", reference=digest_of(hello.layer)
        )
        assert len(recorded.calls) == 2 + 2 + 3


def test_a_proxy_is_used_except_where_it_is_not_to_be(shared_registry: Registry) -> None:
    with proxied(shared_registry.host) as proxy:
        proxies = Proxies(
            urls={"http": f"http://user:canary@{proxy.host}"}, bypass="direct.example,.lan"
        )
        chosen = RegistrySettings(
            proxies=proxies,
            insecure=frozenset({"registry.example", "169.254.169.254"}),
            clock=fast_clock(),
        )
        with Registries(chosen) as registries:
            assert registries.at("registry.example").head("a/b", "1") == ABSENT
            (asked,) = proxy.asked
            assert asked.path.startswith("http://registry.example:80/v2/a/b/")
            assert asked.headers["proxy-authorization"].startswith("Basic ")
            metadata = registries.at("169.254.169.254").head("a/b", "1")
            assert isinstance(metadata, Unknown)
            assert registries.at(shared_registry.host).head("a/b", "1") == ABSENT
            assert len(proxy.asked) == 1
        for host in ("direct.example", "registry.lan", "127.0.0.1", "localhost"):
            assert proxies.url(Origin("http", host, 80)) is None

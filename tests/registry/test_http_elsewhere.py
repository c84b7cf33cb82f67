"""Logins stay with the host that they are for, and some addresses are never asked (X9)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envsync.adapters.building.archives import Archives
from envsync.adapters.building.package_store import ArchiveStore
from envsync.adapters.http.addresses import AddressRefused, is_refused_host, refuse_place
from envsync.adapters.http.downloads import Downloads
from envsync.adapters.http.trust import Trust
from envsync.adapters.http.wire import Proxies, Timeouts, Wire
from envsync.adapters.registry.docker_config import Credentials, DockerConfig
from envsync.adapters.registry.http_registry_writer import HttpRegistry
from envsync.adapters.registry.registries import Registries, RegistrySettings
from envsync.adapters.solving.rattler_solver import RattlerSolver
from envsync.adapters.solving.uv_resolver import UvResolver
from envsync.errors import NotAllowed, Unavailable
from envsync.model.canonical import sha256_hex
from envsync.model.lock import LockedPackage
from envsync.model.reading import Present, Unknown
from envsync.ports.solver import CondaRequest, PipRequest
from tests.parts.registry import Registry
from tests.registry.conftest import fast_clock
from tests.registry.images import blob, content, image
from tests.registry.proxy import Asked, Proxy, Reply, proxied
from tests.reliability.counts import count

LOGIN = Credentials(username="canary-user", password="canary-password")
BASIC = f"Basic {base64.b64encode(b'canary-user:canary-password').decode()}"
NEVER = "metadata addresses are never connected to"

REFUSED = {
    "link-local": "169.254.169.254",
    "containers on AWS": "169.254.170.2",
    "any link-local": "169.254.0.1",
    "link-local, version 6": "fe80::1",
    "with a zone": "fe80::a9fe:a9fe%eth0",
    "AWS, version 6": "fd00:ec2::254",
    "Google, version 6": "fd20:ce::254",
    "Alibaba": "100.100.100.200",
    "Oracle": "192.0.0.192",
    "Azure": "168.63.129.16",
    "mapped": "::ffff:169.254.169.254",
    "mapped, in digits": "::ffff:a9fe:a9fe",
    "mapped Alibaba": "::ffff:100.100.100.200",
    "compatible": "::169.254.169.254",
    "translated": "::ffff:0:169.254.169.254",
    "NAT64": "64:ff9b::a9fe:a9fe",
    "NAT64 of a site": "64:ff9b:1::a9fe:a9fe",
    "6to4": "2002:a9fe:a9fe::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:5601:5601",
}

WRITTEN = (
    "169.254.169.254.", "169.254.169.254", "2852039166", "0xa9fea9fe", "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376", "025177524776", "169.254.43518", "169.16689662", "0xa9.254.0251.254",
)  # fmt: skip
"""One address as C programs read it."""


@contextmanager
def logged_in(host: str, **settings: object) -> Iterator[HttpRegistry]:
    chosen = RegistrySettings(logins={host: LOGIN}, clock=fast_clock(), **settings)  # type: ignore[arg-type]
    with Registries(chosen) as registries:
        yield registries.at(host)


def wants_a_password(asked: Asked, ask: Callable[[], Reply]) -> Reply | None:
    """A registry's rule: only who sends the password is let in."""
    if asked.headers.get("authorization") == BASIC:
        return None
    return Reply(status=401, headers={"www-authenticate": 'Basic realm="registry"'})


@pytest.fixture
def other(shared_registry: Registry) -> Iterator[Proxy]:
    """Another host, which has the same images and takes everything from everybody."""
    with proxied(shared_registry.host) as running:
        yield running


@pytest.mark.parametrize("case", REFUSED)
def test_an_address_is_looked_at_after_dns(case: str) -> None:
    address = REFUSED[case]
    with logged_in(
        "registry.example",
        insecure=frozenset({"registry.example"}),
        resolve=lambda host, port: [address],
    ) as registry:
        found = registry.head("a/b", "1")
        with pytest.raises(Unavailable, match=NEVER) as refused:
            registry.put_blob("a/b", blob(b"x"), content(b"x"))
    assert isinstance(found, Unknown)
    assert NEVER in found.reason
    assert "registry.example" in str(refused.value)
    count("X9", cases=1, **{"addresses refused after DNS": 1})


@pytest.mark.parametrize(
    "host", [*WRITTEN[1:], "[fe80::1]", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]"]
)
def test_an_address_is_known_however_it_is_written(host: str) -> None:
    with logged_in(host, insecure=frozenset({host})) as registry:
        found = registry.head("a/b", "1")
    assert isinstance(found, Unknown)
    assert NEVER in found.reason
    count("X9", cases=1, **{"spellings of an address refused": 1})


@pytest.mark.parametrize("host", [*WRITTEN, "metadata.google.internal", "METADATA.google.internal"])
def test_a_proxy_is_not_sent_there_either(host: str, other: Proxy) -> None:
    """What a proxy connects to is not seen here, so that only the name can be looked at."""
    proxies = Proxies(urls={"http": f"http://{other.host}"})
    with logged_in(host, insecure=frozenset({host}), proxies=proxies) as registry:
        found = registry.head("a/b", "1")
    assert isinstance(found, Unknown)
    assert NEVER in found.reason
    assert other.asked == []
    count("X9", cases=1, **{"spellings of an address refused": 1})


@pytest.mark.parametrize("name", ["10.0.0.1", "registry.example", "1", "0x7f000001", "metadata.io"])
def test_other_names_are_not_refused(name: str) -> None:
    assert not is_refused_host(name)


def _elsewhere(host: str) -> Callable[[Asked, Callable[[], Reply]], Reply]:
    def answer(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        if asked.headers.get("authorization") != BASIC:
            return Reply(status=401, headers={"www-authenticate": 'Basic realm="registry"'})
        return Reply(status=307, headers={"location": f"http://{host}{asked.path}"})

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("name", ["another port", "another name"])
def test_a_redirect_takes_no_login_along(
    proxy: Proxy, other: Proxy, repository: str, status: int, name: str
) -> None:
    port = other.host.partition(":")[2]
    place = other.host if name == "another port" else f"localhost:{port}"
    hello = image(f"{repository} {name} {status}")
    with logged_in(other.host) as registry:
        hello.put(registry, repository, "1")
    other.asked.clear()
    proxy.rule(wants_a_password)
    for method in ("GET", "HEAD"):
        proxy.on(method, "/v2/", _elsewhere(place))
    with logged_in(proxy.host) as registry:
        assert registry.manifest(repository, "1") == Present(hello.manifest)
        with registry.blob(repository, blob(hello.layer)) as chunks:
            assert b"".join(chunks) == hello.layer
    assert other.asked
    assert not any("authorization" in asked.headers for asked in other.asked)
    assert any(asked.headers.get("authorization") == BASIC for asked in proxy.asked)
    count("X9", cases=1, **{"redirects without the login": 1})


def test_a_place_that_asks_for_a_login_after_a_redirect_gets_none(
    proxy: Proxy, other: Proxy, repository: str
) -> None:
    other.rule(
        lambda asked, ask: Reply(status=401, headers={"www-authenticate": 'Basic realm="x"'})
    )
    for method in ("GET", "HEAD"):
        proxy.on(method, "/manifests/", _elsewhere(other.host))
    with logged_in(proxy.host) as registry:
        found = registry.manifest(repository, "1")
    assert isinstance(found, Unknown)
    assert not any("authorization" in asked.headers for asked in other.asked)
    count("X9", cases=1, **{"redirects without the login": 1})


def test_a_redirect_away_and_back_is_not_followed_with_another_hosts_word(
    proxy: Proxy, other: Proxy, repository: str
) -> None:
    """The other host may send us back: the login goes to the registry, and was not seen there."""
    hello = image(repository)
    proxy.rule(wants_a_password)
    with logged_in(proxy.host) as registry:
        hello.put(registry, repository, "1")
    back = f"http://{proxy.host}/v2/{repository}/manifests/1"
    other.on("GET", "/manifests/", Reply(status=307, headers={"location": back}))
    proxy.on("GET", "/manifests/", _elsewhere(other.host), times=2)
    with logged_in(proxy.host) as registry:
        assert registry.manifest(repository, "1") == Present(hello.manifest)
    assert not any("authorization" in asked.headers for asked in other.asked)
    count("X9", cases=1, **{"redirects without the login": 1})


@pytest.mark.parametrize("name", ["another port", "another name"])
def test_an_upload_elsewhere_gets_no_login(
    proxy: Proxy, other: Proxy, repository: str, name: str
) -> None:
    port = other.host.partition(":")[2]
    place = other.host if name == "another port" else f"localhost:{port}"
    data = f"{repository} {name}".encode()

    def uploads(asked: Asked, ask: Callable[[], Reply]) -> Reply | None:
        if asked.headers.get("authorization") != BASIC:
            return None
        path = "/v2/" + ask().headers["location"].partition("/v2/")[2]
        return Reply(status=202, headers={"location": f"http://{place}{path}"})

    proxy.rule(wants_a_password)
    proxy.on("POST", "/uploads/", uploads)
    with logged_in(proxy.host) as registry:
        registry.put_blob(repository, blob(data), content(data))
    assert [asked.method for asked in other.asked] == ["PUT"]
    assert "authorization" not in other.asked[0].headers
    count("X9", cases=1, **{"uploads elsewhere without the login": 1})


LED_TO = (
    "http://169.254.169.254/latest/", "http://2852039166/", "http://[fd00:ec2::254]/",
    "http://metadata.example/", "//169.254.169.254/", "http://0xa9fea9fe:80/",
)  # fmt: skip


@pytest.mark.parametrize("location", LED_TO)
@pytest.mark.parametrize("way", ["redirect", "upload", "token service"])
def test_nobody_leads_us_to_such_an_address(
    proxy: Proxy, repository: str, location: str, way: str
) -> None:
    def resolve(host: str, port: int) -> list[str]:
        from envsync.adapters.http.addresses import resolve as ask

        return ["169.254.169.254"] if host == "metadata.example" else ask(host, port)

    if way == "redirect":
        proxy.on("GET", "/manifests/", Reply(status=307, headers={"location": location}))
    elif way == "upload":
        proxy.on("POST", "/uploads/", Reply(status=202, headers={"location": location}))
    else:
        realm = f"https:{location.removeprefix('http:')}"
        challenge = f'Bearer realm="{realm}",service="x"'
        proxy.rule(lambda asked, ask: Reply(status=401, headers={"www-authenticate": challenge}))
    with logged_in(proxy.host, resolve=resolve) as registry:
        if way == "upload":
            with pytest.raises(Unavailable) as refused:
                registry.put_blob(repository, blob(b"x"), content(b"x"))
            said = str(refused.value)
        else:
            found = registry.manifest(repository, "1")
            assert isinstance(found, Unknown)
            said = found.reason
    assert NEVER in said
    assert "canary" not in said
    count("X9", cases=1, **{"led to such an address": 1})


def test_a_token_service_that_redirects_is_not_followed(
    proxy: Proxy, other: Proxy, repository: str
) -> None:
    def answer(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        if asked.path.startswith("/token"):
            return Reply(status=307, headers={"location": f"http://{other.host}/token"})
        challenge = f'Bearer realm="http://{proxy.host}/token",service="x"'
        return Reply(status=401, headers={"www-authenticate": challenge})

    proxy.rule(answer)
    with logged_in(proxy.host) as registry:
        found = registry.head(repository, "1")
    assert isinstance(found, Unknown)
    assert "gives no token" in found.reason
    assert other.asked == []
    count("X9", cases=1, **{"token services": 1})


@pytest.mark.parametrize(
    ("realm", "words"),
    [
        ("http://token.example/token", "a login is not sent there without TLS"),
        ("http://10.0.0.1/token", "a login is not sent there without TLS"),
        ("https://me:x@token.example/token", "not an http(s) address"),
        ("file:///etc/passwd", "not an http(s) address"),
        ("gopher://token.example/", "not an http(s) address"),
        ("/token", "not an http(s) address"),
    ],
)
def test_a_token_service_that_may_not_have_the_login(
    proxy: Proxy, repository: str, realm: str, words: str
) -> None:
    challenge = f'Bearer realm="{realm}",service="x"'
    proxy.rule(lambda asked, ask: Reply(status=401, headers={"www-authenticate": challenge}))
    with logged_in(proxy.host) as registry:
        found = registry.head(repository, "1")
    assert isinstance(found, Unknown)
    assert words in found.reason
    assert all("authorization" not in asked.headers for asked in proxy.asked)
    count("X9", cases=1, **{"token services": 1})


def test_a_realm_without_tls_is_refused_to_a_registry_with_tls(
    login_registry: Registry, other: Proxy, repository: str
) -> None:
    assert login_registry.ca is not None
    with logged_in(login_registry.host, authorities={"*": login_registry.ca}) as registry:
        host = registry._host
        challenge = f'Bearer realm="http://{other.host}/token",service="x"'
        with pytest.raises(Unavailable, match="without TLS"):
            host._auth.challenged(challenge, frozenset(), "")
        with pytest.raises(Unavailable, match="leads to a place without TLS"):
            host.resolve("/v2/", "http://storage.example/blob")
        own = f"http://127.0.0.1:1/v2/{repository}/blobs/x"
        assert host.resolve("/v2/", own) == f"/v2/{repository}/blobs/x"
    count("X9", cases=2, **{"ways down to no TLS": 2})


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        ("host.example:5000", "host.example:5001"),
        ("host.example:5000", "host.example"),
        ("host.example", "host.example:8443"),
        ("host.example", "example"),
        ("host.example", "sub.host.example"),
        ("host.example", "host.example.evil.test"),
        ("https://host.example/v2/", "host.example:80"),
    ],
)
def test_a_login_of_docker_is_for_one_host_and_port(tmp_path: Path, known: str, asked: str) -> None:
    auth = base64.b64encode(b"me:canary").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {known: {"auth": auth}}}))
    logins = DockerConfig(tmp_path)
    own = known.removeprefix("https://").partition("/")[0]
    assert logins.credentials(own) is not None
    assert logins.credentials(asked) is None
    count("X9", cases=1, **{"logins of another host or port": 1})


# Packages that a lock names.


def wheel(url: str, data: bytes = b"wheel") -> LockedPackage:
    return LockedPackage(
        manager="pip", name="leaf", version="1.0", platform="linux-64",
        url=f"{url}/leaf-1.0-py3-none-any.whl", sha256=sha256_hex(data),
    )  # fmt: skip


def archives(folder: Path, proxies: Proxies | None = None) -> Archives:
    wire = Wire(trust=Trust(), timeouts=Timeouts(), proxies=proxies or Proxies())
    return Archives(folder, Downloads(wire).fetch)


def test_a_wheel_is_fetched_behind_a_redirect_and_nobody_is_told_who_we_are(
    proxy: Proxy, other: Proxy, tmp_path: Path
) -> None:
    place = f"http://{other.host}/real.whl"
    proxy.on("GET", "/leaf", Reply(status=302, headers={"location": place}))
    other.on("GET", "/real.whl", Reply(status=200, body=b"wheel"))
    one = wheel(f"http://{proxy.host}")
    store = archives(tmp_path)
    store.fetch([one])
    assert store.verified(one).read_bytes() == b"wheel"
    assert not any("authorization" in asked.headers for asked in (*proxy.asked, *other.asked))


@pytest.mark.parametrize("location", LED_TO[:3])
@pytest.mark.parametrize("way", ["redirect", "lock", "lock, with a proxy"])
def test_a_wheel_does_not_lead_to_such_an_address(
    proxy: Proxy, tmp_path: Path, location: str, way: str
) -> None:
    url, proxies = location.rstrip("/"), Proxies()
    if way == "redirect":
        proxy.on("GET", "/", Reply(status=302, headers={"location": location}))
        url = f"http://{proxy.host}"
    elif "proxy" in way:
        proxies = Proxies(urls={"http": f"http://{proxy.host}"})
    with pytest.raises(Unavailable, match=NEVER) as refused:
        archives(tmp_path, proxies).fetch([wheel(url)])
    assert "leaf 1.0 cannot be fetched" in str(refused.value)
    assert way == "redirect" or proxy.asked == []
    count("X9", cases=1, **{"packages at such an address": 1})


@pytest.mark.parametrize("host", WRITTEN)
def test_a_conda_package_is_not_asked_for_there(tmp_path: Path, host: str) -> None:
    url = f"http://{host}/channel/noarch/leaf-1.0-0.conda"
    package = LockedPackage(
        manager="conda", name="leaf", version="1.0", build="0", platform="linux-64", url=url,
        sha256="0" * 64,
    )  # fmt: skip
    with pytest.raises(Unavailable, match=NEVER):
        ArchiveStore(tmp_path).fetch([package])
    count("X9", cases=1, **{"packages at such an address": 1})


@pytest.mark.parametrize("host", WRITTEN)
def test_neither_a_channel_nor_an_index_is_asked_there(tmp_path: Path, host: str) -> None:
    url = f"http://{host}/simple"
    solver = RattlerSolver(cache=tmp_path, root=tmp_path, environ={})
    asked = CondaRequest(
        platform="linux-64", channels=(url,), dependencies=("leaf",), virtual_packages={}
    )
    (found,) = solver.solve([asked])
    assert isinstance(found, Unavailable)
    assert NEVER in str(found)
    resolver = UvResolver(environ={"PATH": ""})
    wanted = PipRequest(
        platform="linux-64",
        requirements=(f"--index-url {url}", "leaf"),
        python_version="3.11.9",
        glibc="2.17",
        provided={},
    )
    with pytest.raises(Unavailable, match=NEVER):
        resolver.resolve(wanted)
    count("X9", cases=2, **{"channels and indexes at such an address": 2})


def test_a_place_is_refused_for_programs_that_connect_themselves() -> None:
    with pytest.raises(AddressRefused):
        refuse_place("https://x.example/", lambda host, port: ["fe80::1", "169.254.1.1"])
    refuse_place("https://x.example/", lambda host, port: ["fe80::1", "10.0.0.1"])
    refuse_place("file:///x", lambda host, port: ["fe80::1"])
    refuse_place("https://[", lambda host, port: ["fe80::1"])


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_wheel_that_cannot_be_had_says_who_refused_it(
    proxy: Proxy, tmp_path: Path, status: int
) -> None:
    proxy.on("GET", "/", Reply(status=status, body=b"canary"))
    kind = NotAllowed if status in {401, 403} else Unavailable
    with pytest.raises(kind, match=f"{proxy.host} answered {status}") as refused:
        archives(tmp_path).fetch([wheel(f"http://{proxy.host}")])
    assert "canary" not in str(refused.value)


def test_a_wheel_that_leads_in_circles_or_breaks_off_is_unavailable(
    proxy: Proxy, tmp_path: Path
) -> None:
    store = archives(tmp_path)
    proxy.on("GET", "/", Reply(status=200, body=b"wheel", cut=2))
    with pytest.raises(Unavailable, match="broke off"):
        store.fetch([wheel(f"http://{proxy.host}")])
    proxy.on("GET", "/", Reply(status=302, headers={"location": "/"}))
    with pytest.raises(Unavailable, match="circles"):
        store.fetch([wheel(f"http://{proxy.host}")])
    proxy.on("GET", "/", Reply(status=302, headers={"location": "ftp://x/"}))
    with pytest.raises(Unavailable, match=r"not an http\(s\) address"):
        store.fetch([wheel(f"http://{proxy.host}")])
    assert not list(tmp_path.rglob(".part-*"))

"""Logging in to registries: with tokens, with a password, by helper; and telling nobody else."""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from envsync.adapters.http.addresses import is_refused
from envsync.adapters.registry.docker_config import Credentials, DockerConfig
from envsync.adapters.registry.http_registry_writer import HttpRegistry
from envsync.adapters.registry.registries import Registries, RegistrySettings
from envsync.errors import EnvsyncError, InvalidInput, NotAllowed
from envsync.model.reading import ABSENT, Present, Unknown
from envsync.oci.descriptor import digest_of
from tests.parts.certificates import write_certificates
from tests.parts.registry import LOGIN as BASIC_LOGIN
from tests.parts.registry import Registry
from tests.registry.conftest import fast_clock, settings
from tests.registry.images import blob, content, image
from tests.registry.proxy import DROP, Asked, Proxy, Reply, proxied
from tests.registry.tokens import LOGIN, REFRESH, TokenService, token_registry, token_service
from tests.reliability.counts import count

GOOD = Credentials(username=LOGIN[0], password=LOGIN[1])


@pytest.fixture(scope="module")
def token_host(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[TokenService, str]]:
    folder = tmp_path_factory.mktemp("tokens")
    with token_service(folder) as service, token_registry(folder, service) as host:
        yield service, host


@pytest.fixture
def service(token_host: tuple[TokenService, str]) -> TokenService:
    service, _ = token_host
    service.asked.clear()
    service.given.clear()
    service.anonymous, service.stale, service.life, service.fail = False, 0, 300, 0
    return service


@pytest.fixture
def host(token_host: tuple[TokenService, str]) -> str:
    return token_host[1]


@contextmanager
def logged_in(host: str, login: Credentials | None = GOOD) -> Iterator[HttpRegistry]:
    logins = {host: login} if login else {}
    with Registries(RegistrySettings(logins=logins, clock=fast_clock())) as registries:
        yield registries.at(host)


def test_a_login_is_traded_for_tokens(service: TokenService, host: str, repository: str) -> None:
    hello = image("hello")
    with logged_in(host) as registry:
        hello.put(registry, repository, "1")
        assert registry.manifest(repository, "1") == Present(hello.manifest)
        assert registry.head(f"{repository}/other", "1") == ABSENT
    assert [asked.scopes for asked in service.asked] == [
        (f"repository:{repository}:pull",),
        (f"repository:{repository}:pull,push",),
        (f"repository:{repository}/other:pull",),
    ]


def test_an_identity_token_is_traded_for_tokens(
    service: TokenService, host: str, repository: str
) -> None:
    with logged_in(host, Credentials(identity_token=REFRESH)) as registry:
        image("hello").put(registry, repository, "1")
    assert {asked.method for asked in service.asked} == {"POST"}


def test_mounting_asks_for_both_repositories(
    service: TokenService, host: str, repository: str
) -> None:
    hello = image("hello")
    with logged_in(host) as registry:
        hello.put(registry, repository, "1")
        assert registry.mount_blob(f"{repository}/b", digest_of(hello.layer), repository)
    assert service.asked[-1].scopes == (
        f"repository:{repository}/b:pull,push",
        f"repository:{repository}:pull",
    )


def test_nobody_may_pull_where_tokens_are_for_everybody(
    service: TokenService, host: str, repository: str
) -> None:
    hello = image("hello")
    with logged_in(host) as registry:
        hello.put(registry, repository, "1")
    service.anonymous = True
    with logged_in(host, None) as registry:
        assert registry.manifest(repository, "1") == Present(hello.manifest)
        with pytest.raises(NotAllowed, match=f"docker login {host}"):
            registry.put_blob(repository, blob(b"new"), content(b"new"))


def test_a_wrong_login_is_said_to_be_wrong(
    service: TokenService, host: str, repository: str
) -> None:
    with logged_in(host, Credentials(username="reader", password="guess")) as registry:
        found = registry.head(repository, "1")
        assert isinstance(found, Unknown)
        assert found.why == "not allowed"
        assert f"{host} does not accept the login" in found.reason
        assert f"docker login {host}" in found.reason
    assert len(service.asked) == 1


def test_a_missing_login_is_said_to_be_missing(
    service: TokenService, host: str, repository: str
) -> None:
    with logged_in(host, None) as registry:
        found = registry.head(repository, "1")
    assert isinstance(found, Unknown)
    assert f"{host} wants a login" in found.reason


def test_a_token_that_has_run_out_is_replaced_once(
    service: TokenService, host: str, repository: str
) -> None:
    hello = image("hello")
    service.stale = 1
    with logged_in(host) as registry:
        hello.put(registry, repository, "1")
        assert registry.head(repository, "1") == Present(hello.manifest.descriptor)
    pull, push = (f"repository:{repository}:pull{more}" for more in ("", ",push"))
    assert [asked.scopes for asked in service.asked] == [(pull,), (pull,), (push,)]


def test_tokens_that_never_work_end_in_a_refusal(
    service: TokenService, host: str, repository: str
) -> None:
    service.stale = 1000
    with logged_in(host) as registry:
        found = registry.head(repository, "1")
    assert isinstance(found, Unknown)
    assert found.why == "not allowed"
    assert len(service.asked) == 2


def test_a_token_is_not_used_beyond_its_life(
    service: TokenService, host: str, repository: str
) -> None:
    clock = fast_clock()
    service.life = 100
    chosen = RegistrySettings(logins={host: GOOD}, clock=clock)
    with Registries(chosen) as registries:
        registry = registries.at(host)
        for _ in range(3):
            assert registry.head(repository, "1") == ABSENT
        assert len(service.asked) == 1
        clock.sleep(90)
        assert registry.head(repository, "1") == ABSENT
    assert len(service.asked) == 2


def test_a_token_service_that_fails_once_is_asked_again(
    service: TokenService, host: str, repository: str
) -> None:
    service.fail = 2
    with logged_in(host) as registry:
        assert registry.head(repository, "1") == ABSENT


def test_a_token_service_that_stays_away_leaves_everything_unknown(
    service: TokenService, host: str, repository: str
) -> None:
    service.fail = 1000
    with logged_in(host) as registry:
        found = registry.head(repository, "1")
    assert isinstance(found, Unknown)
    assert found.why == "unavailable"


def test_threads_share_one_token(service: TokenService, host: str, repository: str) -> None:
    start = threading.Barrier(16)

    def ask(registry: HttpRegistry, name: str) -> object:
        start.wait()
        return registry.head(name, "1")

    with logged_in(host) as registry, ThreadPoolExecutor(16) as pool:
        for name in (repository, f"{repository}/next"):
            assert set(pool.map(ask, [registry] * 16, [name] * 16)) == {ABSENT}
    assert len(service.asked) == 2


class TokenGate:
    """A proxy's rule: tokens of the gate's own, which it may call expired at any moment."""

    def __init__(self, proxy: Proxy, *, realm: str = "") -> None:
        self.proxy = proxy
        self.realm = realm or f"http://{proxy.host}/token"
        self.valid = set[str]()
        self.given = 0
        proxy.rule(self.answer)

    def answer(self, asked: Asked, ask: Callable[[], Reply]) -> Reply | None:
        if asked.path.startswith("/token"):
            self.given += 1
            token = f"canary-token-{self.given}"
            self.valid.add(token)
            return Reply(status=200, body=json.dumps({"token": token}).encode())
        if asked.headers.get("authorization", "").removeprefix("Bearer ") in self.valid:
            return None
        challenge = f'Bearer realm="{self.realm}",service="gate",scope="repository:x:pull"'
        return Reply(status=401, headers={"www-authenticate": challenge}, body=b"{}")


@pytest.fixture
def proxy(shared_registry: Registry) -> Iterator[Proxy]:
    with proxied(shared_registry.host) as running:
        yield running


def test_a_token_that_runs_out_in_mid_upload_costs_a_second_session(
    proxy: Proxy, repository: str
) -> None:
    gate = TokenGate(proxy)
    data = os.urandom(3 << 20)

    def expiring() -> Iterator[bytes]:
        if gate.given == 1:
            gate.valid.clear()
        for start in range(0, len(data), 1 << 18):
            yield data[start : start + (1 << 18)]

    with logged_in(proxy.host) as registry:
        registry.put_blob(repository, blob(data), lambda: nullcontext(expiring()))
        assert registry.has_blob(repository, digest_of(data))
    assert gate.given == 2
    assert len(proxy.requests("POST", "/uploads/")) == 3  # asked, with a token, with the next one


def test_a_token_that_runs_out_before_a_manifest_is_replaced(proxy: Proxy, repository: str) -> None:
    gate = TokenGate(proxy)
    hello = image("hello")
    with logged_in(proxy.host) as registry:
        hello.put(registry, repository)
        gate.valid.clear()
        registry.put_manifest(repository, "1", hello.manifest)
        assert registry.head(repository, "1") == Present(hello.manifest.descriptor)


@pytest.mark.parametrize(
    "realm", ["http://token.example/token", "ftp://x/", "", "//", "http://u:p@127.0.0.1/t"]
)
def test_a_token_service_without_tls_elsewhere_gets_no_login(
    proxy: Proxy, repository: str, realm: str
) -> None:
    TokenGate(proxy, realm=realm or " ")
    with logged_in(proxy.host) as registry:
        found = registry.head(repository, "1")
    assert isinstance(found, Unknown)
    assert "token service" in found.reason
    count("X9", cases=1, **{"token services": 1})


def test_a_login_is_not_carried_to_another_host(
    proxy: Proxy, repository: str, shared_registry: Registry
) -> None:
    data = repository.encode()
    with proxied(shared_registry.host) as storage, logged_in(proxy.host) as registry:
        TokenGate(proxy)

        def elsewhere(asked: Asked, ask: Callable[[], Reply]) -> Reply:
            return Reply(status=307, headers={"location": f"http://{storage.host}{asked.path}"})

        def uploads(asked: Asked, ask: Callable[[], Reply]) -> Reply | None:
            if "authorization" not in asked.headers:
                return None
            path = "/v2/" + ask().headers["location"].partition("/v2/")[2]
            return Reply(status=202, headers={"location": f"http://{storage.host}{path}"})

        proxy.on("POST", "/uploads/", uploads)
        registry.put_blob(repository, blob(data), content(data))
        for method in ("GET", "HEAD"):
            proxy.on(method, "/blobs/", elsewhere)
        with registry.blob(repository, blob(data)) as chunks:
            assert b"".join(chunks) == data
        assert [asked.method for asked in storage.asked] == ["PUT", "GET"]
        assert not any("authorization" in asked.headers for asked in storage.asked)
    count("X9", cases=2, **{"tokens that stay": 2})


def test_a_password_works_over_tls_with_a_private_authority(
    login_registry: Registry, tmp_path: Path, repository: str
) -> None:
    hello = image("hello")
    with Registries(settings(login_registry, tmp_path)) as registries:
        hello.put(registries.at(login_registry.host), repository, "1")
    assert login_registry.ca is not None
    explicit = RegistrySettings(
        authorities={"*": login_registry.ca},
        logins={login_registry.host: Credentials(username=BASIC_LOGIN[0], password=BASIC_LOGIN[1])},
    )
    with Registries(explicit) as registries:
        found = registries.at(login_registry.host).manifest(repository, "1")
    assert found == Present(hello.manifest)


@pytest.mark.parametrize("login", [None, Credentials(username="envsync", password="canary-wrong")])
def test_a_wrong_password_is_not_allowed(
    login_registry: Registry, repository: str, login: Credentials | None
) -> None:
    assert login_registry.ca is not None
    chosen = RegistrySettings(
        authorities={login_registry.host: login_registry.ca},
        logins={login_registry.host: login} if login else {},
    )
    with Registries(chosen) as registries:
        registry = registries.at(login_registry.host)
        found = registry.head(repository, "1")
        with pytest.raises(NotAllowed, match="docker login"):
            registry.put_blob(repository, blob(b"x"), content(b"x"))
    assert isinstance(found, Unknown)
    assert found.why == "not allowed"
    words = "does not accept the login" if login else "wants a login"
    assert words in found.reason


def test_an_unknown_authority_is_explained(
    login_registry: Registry, tmp_path: Path, repository: str
) -> None:
    stranger = tmp_path / "other"
    stranger.mkdir()
    write_certificates(stranger)
    chosen = RegistrySettings(authorities={"*": stranger / "ca.crt"}, clock=fast_clock())
    with Registries(chosen) as registries:
        found = registries.at(login_registry.host).head(repository, "1")
    assert isinstance(found, Unknown)
    assert f"the certificate of {login_registry.host} is not trusted" in found.reason
    assert f"certs.d/{login_registry.host}/ca.crt" in found.reason


def test_a_plain_server_asked_over_tls_is_explained(
    shared_registry: Registry, login_registry: Registry, repository: str
) -> None:
    assert login_registry.ca is not None
    chosen = RegistrySettings(authorities={"*": login_registry.ca}, clock=fast_clock())
    with Registries(chosen) as registries:
        found = registries.at(shared_registry.host).head(repository, "1")
    assert isinstance(found, Unknown)
    assert "does not speak TLS" in found.reason
    assert "insecure" in found.reason


def test_a_certificate_file_that_is_none_is_an_error_of_the_user(
    shared_registry: Registry, tmp_path: Path, repository: str
) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    with Registries(RegistrySettings(authorities={"*": tmp_path / "ca.crt"})) as registries:
        registry = registries.at(shared_registry.host)
        with pytest.raises(InvalidInput, match=r"ca\.crt"):
            registry.head(repository, "1")


def test_a_name_with_a_good_address_too_is_reached_there(
    shared_registry: Registry, repository: str
) -> None:
    name = f"registry.example:{shared_registry.port}"
    chosen = RegistrySettings(
        insecure=frozenset({name}),
        resolve=lambda host, port: ["169.254.169.254", "127.0.0.1"],
    )
    with Registries(chosen) as registries:
        assert registries.at(name).head(repository, "1") == ABSENT


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "::1", "fd12::1", "8.8.8.8", "::ffff:10.0.0.1"]
)
def test_ordinary_addresses_are_not_refused(address: str) -> None:
    assert not is_refused(address)


# Reading logins.


def config(folder: Path, document: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def helper(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("registry", "key"),
    [
        ("ghcr.io", "ghcr.io"),
        ("ghcr.io", "https://ghcr.io"),
        ("ghcr.io", "https://ghcr.io/v2/"),
        ("host:5000", "host:5000"),
        ("docker.io", "https://index.docker.io/v1/"),
    ],
)
def test_logins_are_found_as_docker_writes_them(tmp_path: Path, registry: str, key: str) -> None:
    folder = config(tmp_path / "docker", {"auths": {key: {"auth": encoded("me:pa:ss")}}})
    expected = Credentials(username="me", password="pa:ss")
    assert DockerConfig(folder).credentials(registry) == expected
    assert DockerConfig(folder).credentials("other.io") is None


def test_an_identity_token_is_read(tmp_path: Path) -> None:
    auth = {"auth": encoded("00000000-0000-0000-0000-000000000000:"), "identitytoken": "abc"}
    folder = config(tmp_path / "docker", {"auths": {"x.azurecr.io": auth}})
    found = DockerConfig(folder).credentials("x.azurecr.io")
    assert found is not None
    assert found.identity_token == "abc"


def test_a_missing_configuration_has_no_logins(tmp_path: Path) -> None:
    assert DockerConfig(tmp_path / "nowhere").credentials("ghcr.io") is None
    assert DockerConfig(None).credentials("ghcr.io") is None


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_a_broken_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidInput, match=r"config\.json"):
        DockerConfig(tmp_path)


GIVES = """read host; echo '{"Username": "u", "Secret": "'"for $host"'"}'"""


def test_helpers_are_asked_for_their_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path / "bin", "one", GIVES, monkeypatch)
    helper(tmp_path / "bin", "all", GIVES.replace("for $host", "store"), monkeypatch)
    document = {"credHelpers": {"ghcr.io": "one"}, "credsStore": "all"}
    logins = DockerConfig(config(tmp_path / "docker", document))
    assert logins.credentials("ghcr.io") == Credentials(username="u", password="for ghcr.io")
    assert logins.credentials("quay.io") == Credentials(username="u", password="store")


def test_docker_hub_has_an_old_name_for_helpers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path / "bin", "one", GIVES, monkeypatch)
    logins = DockerConfig(config(tmp_path / "docker", {"credsStore": "one"}))
    found = logins.credentials("docker.io")
    assert found is not None
    assert found.password == "for https://index.docker.io/v1/"


def test_a_helper_may_give_an_identity_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = """echo '{"Username": "<token>", "Secret": "abc"}'"""
    helper(tmp_path / "bin", "one", script, monkeypatch)
    logins = DockerConfig(config(tmp_path / "docker", {"credsStore": "one"}))
    assert logins.credentials("x.azurecr.io") == Credentials(identity_token="abc")


def test_a_helper_without_a_login_leaves_the_file_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "echo credentials not found in native keychain; exit 1"
    helper(tmp_path / "bin", "one", script, monkeypatch)
    document = {"credsStore": "one", "auths": {"ghcr.io": {"auth": encoded("me:pw")}, "b.io": {}}}
    logins = DockerConfig(config(tmp_path / "docker", document))
    assert logins.credentials("ghcr.io") == Credentials(username="me", password="pw")
    assert logins.credentials("b.io") is None


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo canary-secret; echo canary-secret >&2; exit 3", "ended with code 3"),
        ("echo canary-secret", "not a login"),
        ("echo '{}'", "not a login"),
    ],
)
def test_a_helper_that_fails_is_named_and_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    helper(tmp_path / "bin", "one", script, monkeypatch)
    logins = DockerConfig(config(tmp_path / "docker", {"credsStore": "one"}))
    with pytest.raises(NotAllowed, match=words) as caught:
        logins.credentials("ghcr.io")
    assert "docker-credential-one get" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_helper_that_is_not_installed_is_named(tmp_path: Path) -> None:
    logins = DockerConfig(config(tmp_path / "docker", {"credsStore": "missing"}))
    with pytest.raises(NotAllowed, match="not installed"):
        logins.credentials("ghcr.io")


@pytest.mark.parametrize("name", ["../x", "a b", "-x", "a;b", "a/b"])
def test_a_helper_has_a_plain_name(tmp_path: Path, name: str) -> None:
    logins = DockerConfig(config(tmp_path / "docker", {"credsStore": name}))
    with pytest.raises(InvalidInput, match="credential helper"):
        logins.credentials("ghcr.io")


# Canaries.

CANARIES = ("canary-password", encoded("canary-user:canary-password"), "canary-token")


def echoing(asked: Asked, ask: Callable[[], Reply]) -> Reply:
    """A registry that says aloud what it was told in confidence."""
    secret = asked.headers.get("authorization", "")
    body = {"errors": [{"code": "DENIED", "message": f"{secret} canary-password is wrong"}]}
    return Reply(status=400, body=json.dumps(body).encode())


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
@pytest.mark.parametrize(
    "fault",
    [
        echoing,
        Reply(status=500),
        Reply(status=403),
        Reply(status=401),
        Reply(status=DROP),
        Reply(status=307, headers={"location": "http://127.0.0.1:1/x?signature=canary-password"}),
        Reply(status=202, headers={"location": "http://canary-password@127.0.0.1:1/x"}),
        Reply(status=200, body=b"canary-password"),
    ],
)
def test_secrets_are_in_no_error_no_value_and_no_log(
    proxy: Proxy,
    repository: str,
    caplog: pytest.LogCaptureFixture,
    scheme: str,
    fault: Reply | Callable[[Asked, Callable[[], Reply]], Reply],
) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    login = Credentials(username="canary-user", password="canary-password")
    with logged_in(proxy.host, login) as registry:
        for method in ("HEAD", "GET", "POST", "PUT"):
            proxy.on(method, "/v2/", fault)
        if scheme == "Bearer":
            TokenGate(proxy)
        else:
            basic = f"Basic {encoded('canary-user:canary-password')}"

            def gate(asked: Asked, ask: Callable[[], Reply]) -> Reply | None:
                if asked.headers.get("authorization") == basic:
                    return None
                return Reply(status=401, headers={"www-authenticate": 'Basic realm="x"'})

            proxy.rule(gate)
        readings = [
            registry.head(repository, "1"),
            registry.manifest(repository, "1"),
            registry.tags(repository),
        ]
        assert all(isinstance(reading, Unknown) for reading in readings)
        texts += [repr(reading) for reading in readings]
        for write in (
            lambda: registry.put_blob(repository, blob(b"x"), content(b"x")),
            lambda: registry.put_manifest(repository, "1", image("x").manifest),
            lambda: registry.has_blob(repository, digest_of(b"x")),
        ):
            try:
                write()
            except EnvsyncError as error:
                texts += [str(error), repr(error), repr(error.__cause__), repr(vars(error))]
        texts += [repr(login), repr(registry), repr(vars(registry))]
    texts += [record.getMessage() for record in caplog.records]
    assert any("Authorization".lower() in asked.headers for asked in proxy.asked)
    said = "\n".join(texts)
    assert not [canary for canary in CANARIES if canary in said]
    count("X8", places=1, **{"answers of a registry": 1})

"""R13: whatever a file, a registry or a tag says, it is read or refused, soon and in little memory.

``ENVSYNC_FUZZ_SECONDS`` is how long all targets together are fed in the fast tier.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.repository import _parse_tag_object, _records
from envsync.adapters.http.wire import Timeouts
from envsync.adapters.locks.conda_lock_file import parse_lock
from envsync.adapters.registry.docker_config import DockerConfig
from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.adapters.registry.registries import Registries, RegistrySettings
from envsync.adapters.solving.rattler_match import matches
from envsync.cli.commands.apply import _read
from envsync.errors import EnvsyncError
from envsync.model.dockerfile import needs_buildkit, uses
from envsync.model.document import Faults
from envsync.model.explicit_text import parse_explicit
from envsync.model.ignore_files import docker_rules, git_rules
from envsync.model.match_spec import match_spec_name, match_spec_problem
from envsync.model.record import Record
from envsync.model.reference import (
    parse_environment_argument,
    parse_environment_reference,
    parse_image_reference,
    parse_registry_location,
)
from envsync.model.requirement_line import read_requirement_line
from envsync.oci.codec import CODECS
from envsync.oci.config import parse_base_config
from envsync.oci.descriptor import INDEX, Descriptor, digest_of
from envsync.oci.run_config import parse_run_config
from envsync.operations.base_images import resolve_base
from envsync.operations.base_layers import read_base
from envsync.operations.lifecycles import load_lifecycles
from envsync.operations.load import load_environment, load_repository
from envsync.operations.locate import Place, locate
from envsync.operations.prior import read_prior
from envsync.operations.publish import whole_image
from envsync.planning.plan_document import plan_document
from envsync.planning.plan_markdown import plan_markdown
from envsync.planning.plan_reader import read_plan
from envsync.planning.plan_text import plan_text
from tests.fuzzing import Target, feed, little_memory
from tests.golden_cases import golden_cases
from tests.memory_tree import MemoryTree
from tests.parts.cache import ENVIRONMENT, Unavailable
from tests.parts.realdata import shared_data
from tests.registry.conftest import Waits
from tests.registry.images import image, index
from tests.registry.proxy import Proxy, Reply, proxied
from tests.reliability.counts import count
from tests.test_match_spec import GOOD as MATCH_SPECS
from tests.test_plan_output import SCHEMA, package, plan_of, states
from tests.test_spec_reader import FILES, FULL, PATH

FAST = float(ENVIRONMENT.get("ENVSYNC_FUZZ_SECONDS") or 60)
FULL_SECONDS = 3600.0
_SMALL = 20_000
"""Bytes of the largest real file that is mutated: what is long is slow, and no odder."""
DOCS = Path(__file__).resolve().parents[1] / "docs"


def each_of(*deeds: Callable[[], object]) -> None:
    """Do all of it, also when something is refused; then refuse as the first did."""
    refused = []
    for deed in deeds:
        try:
            deed()
        except EnvsyncError as error:
            refused.append(error)
    if refused:
        raise refused[0]


def real(pattern: str, limit: int = 40) -> list[bytes]:
    """Return real files, if this machine has them."""
    try:
        files = sorted(shared_data().glob(pattern))
    except Unavailable:
        return []
    small = [file for file in files if file.is_file() and file.stat().st_size < _SMALL]
    return [file.read_bytes() for file in small[:: max(1, len(small) // limit)]]


def cases(name: str) -> list[bytes]:
    """Return the inputs of a table of golden cases."""
    return [given.encode() for given, _ in golden_cases(name).values()]


def fenced(page: str) -> list[bytes]:
    """Return the YAML that a page of the documentation shows."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [found.encode() for found in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


def read_spec(data: bytes) -> object:
    return load_environment(MemoryTree({**FILES, PATH: data}), parse_document, "train")


def read_conda_file(data: bytes) -> object:
    spec = "image: busybox\nconda_file: conda.yaml\n"
    files: dict[str, bytes | str] = {
        PATH: spec,
        PATH.replace("environment.yaml", "conda.yaml"): data,
    }
    return load_environment(MemoryTree(files), parse_document, "train")


def read_settings(data: bytes) -> object:
    return load_repository(MemoryTree({"envsync.yaml": data}), parse_document)


def read_lifecycle(data: bytes) -> object:
    return load_lifecycles(MemoryTree({"lifecycle/a.yaml": data}), parse_document).of("a")


def read_locks(data: bytes) -> None:
    each_of(
        lambda: parse_lock(data, None, "locks/train"),
        lambda: parse_lock(None, data, "locks/train"),
        lambda: parse_lock(data, data, "locks/train"),
    )


def read_saved_plan(data: bytes) -> None:
    def said() -> None:
        plan = read_plan(data, SCHEMA, "plan.json")
        assert plan_markdown(plan)
        assert plan_text(plan)

    with TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        path.write_bytes(data)
        each_of(said, lambda: _read(path))


def read_match_spec(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    match_spec_problem(text)
    match_spec_name(text)
    matches(text, package("numpy", "1.26.4"))
    read_requirement_line(text)


def read_reference(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    each_of(
        lambda: parse_image_reference(text),
        lambda: parse_registry_location(text),
        lambda: parse_environment_reference(text),
        lambda: parse_environment_argument(text),
    )


def read_record(data: bytes) -> object:
    return _records([_parse_tag_object("refs/tags/env/train/1", True, data)])


def read_dockerfile(data: bytes) -> None:
    text, faults = data.decode("utf-8", "replace"), Faults()
    uses(text, {}, "Dockerfile", faults)
    needs_buildkit(text)
    for rules in (git_rules, docker_rules):
        rules(text, ".ignore", faults)("a/b/c.py")
    parse_explicit(text, "explicit.txt", faults)


def read_logins(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_bytes(data)
        DockerConfig(file=path).credentials("registry.test")


def read_config(data: bytes) -> None:
    each_of(
        lambda: parse_run_config(data, "registry.test/base:1"),
        lambda: parse_base_config(data, "linux-64", 1),
    )


GOOD = image("good")


def _layout(folder: Path, top: bytes, entry: Mapping[str, Any] | None = None) -> LayoutRegistry:
    blobs = folder / "a/blobs/sha256"
    blobs.mkdir(parents=True)
    for body in (top, GOOD.manifest.body, GOOD.config, GOOD.layer):
        (blobs / digest_of(body).removeprefix("sha256:")).write_bytes(body)
    named = entry or {"mediaType": "x", "digest": digest_of(top), "size": len(top)}
    named = {**named, "annotations": {"org.opencontainers.image.ref.name": "1"}}
    document = {"schemaVersion": 2, "manifests": [named]}
    (folder / "a/index.json").write_text(json.dumps(document))
    (folder / "a/oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return LayoutRegistry(folder)


def read_manifest(data: bytes) -> None:
    """Take it for a manifest or an index, and for all that images are read for."""
    digest = digest_of(data)
    with TemporaryDirectory() as folder:
        registry = _layout(Path(folder), data)
        _read_image(registry, digest)


def _read_image(registry: LayoutRegistry, digest: str) -> None:
    def read_all(descriptor: Descriptor) -> None:
        with registry.blob("a", descriptor) as chunks:
            for _ in chunks:
                pass

    def blobs() -> None:
        for blob in whole_image(registry, "a", "1").blobs:
            read_all(blob.descriptor)

    place = Place(registry=registry, repository="a", reference="1", remote=False)
    each_of(
        lambda: registry.head("a", "1"),
        lambda: registry.tags("a"),
        lambda: locate(place, "linux-64"),
        lambda: read_base(registry, "a", digest),
        lambda: resolve_base(
            "registry.test/a:1", ["linux-64"], open_registry=lambda _: registry, find_glibc=None
        ),
        blobs,
        lambda: read_prior(registry, [("a", digest)], CODECS["gzip"]),
        lambda: registry.put_manifest("a", "2", GOOD.manifest),
    )


def read_layout_index(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        registry = _layout(Path(folder), GOOD.manifest.body)
        (Path(folder) / "a/index.json").write_bytes(data)
        _read_image(registry, GOOD.manifest.digest)


RECORD = Record(
    name="train", version="1", definition="a" * 64, request="b" * 64, digest="sha256:" + "c" * 64,
    platforms=("linux-64",), lock_sha256="d" * 64, base_digest="", format=2,
)  # fmt: skip
TAG = (
    f"object {'e' * 40}\ntype commit\ntag env/train/1\n"
    f"tagger envsync <envsync@localhost> 1700000000 +0100\n\n{RECORD.message()}"
)
REFERENCES = (
    "busybox", "registry.test:5000/team/a_b:1.0@sha256:" + "0" * 64, "[::1]:5000/a", "train:3",
    "azureml:train@latest", "azureml://registries/R/environments/train/versions/3", "train@latest",
    "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest", "localhost/a--b/c__d", "h/n/s",
)  # fmt: skip
POLICY = b"policy:\n  channels: [conda-forge]\n  wheel_hosts: [files.test]\n"
LOGINS = b'{"auths": {"registry.test": {"auth": "dXNlcjpwYXNz", "identitytoken": "t"}}}'

TARGETS: Mapping[str, Callable[[], Target]] = {
    "specs": lambda: Target(
        seeds=[FULL.encode(), *cases("malformed_specs.txt"), *real("azureml/**/environment*.yml")],
        read=read_spec,
    ),
    "conda files": lambda: Target(
        seeds=[*cases("malformed_conda_files.txt"), *real("conda-envs/**/*.yml"),
               *real("malformed/env-yaml/**/*")],
        read=read_conda_file,
    ),
    "locks": lambda: Target(
        seeds=[*cases("refused_locks.txt"), *real("conda-locks/**/*.yml"), *_own_locks()],
        read=read_locks,
    ),
    "settings": lambda: Target(
        seeds=[POLICY, b"registry: h/n\nplatforms: [linux-64]\nremote: origin\n",
               *fenced("schemas.md"), *fenced("reconcile.md")],
        read=read_settings,
    ),
    "policies": lambda: Target(seeds=[POLICY, *fenced("policy.md")], read=read_settings),
    "lifecycles": lambda: Target(
        seeds=[b"archived: true\nversions:\n  '1': {archived: true, tags: {a: b}}\n",
               *fenced("lifecycle.md")],
        read=read_lifecycle,
    ),
    "saved plans": lambda: Target(
        seeds=[json.dumps(plan_document(plan_of(plan))).encode() for plan in states().values()],
        read=read_saved_plan,
    ),
    "match specs": lambda: Target(
        seeds=[*(text.encode() for text in MATCH_SPECS), b"./wheels/a-1.0-py3-none-any.whl",
               b"requests[socks]>=2; python_version < '3'", b"--index-url https://h/ --hash=x"],
        read=read_match_spec,
    ),
    "references": lambda: Target(seeds=[r.encode() for r in REFERENCES], read=read_reference),
    "records": lambda: Target(
        seeds=[TAG.encode(), TAG.partition("\n\n")[2].encode()], read=read_record
    ),
    "manifests": lambda: Target(
        seeds=[GOOD.manifest.body, index((GOOD, "amd64")).body,
               json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": 2}).encode(),
               json.dumps({"schemaVersion": 2, "layers": {"a": 1}, "config": []}).encode()],
        read=read_manifest,
    ),
    "layout indexes": lambda: Target(
        seeds=[json.dumps({"schemaVersion": 2, "manifests": [
            {**GOOD.manifest.descriptor.document(),
             "annotations": {"org.opencontainers.image.ref.name": "1"}}]}).encode()],
        read=read_layout_index,
    ),
    "image configs": lambda: Target(
        seeds=[GOOD.config, json.dumps({
            "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
            "config": {"Env": ["A=b"], "Cmd": ["sh"], "Entrypoint": None, "User": "0:0",
                       "WorkingDir": "/", "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]},
            "history": [{"created_by": "x", "empty_layer": True}]}).encode()],
        read=read_config,
    ),
    "dockerfiles": lambda: Target(
        seeds=[b"# syntax=docker/dockerfile:1\nARG A=b\nFROM --platform=$BUILDPLATFORM a:$A AS x\n",
               b"FROM a:$A${B:-c}${D:+e}\nRUN <<EOF\nx\nEOF\nCOPY --from=x /a /b\n",
               b"*.py\n!a/**/b[!c-d]\n/x\\ \n#\n",
               b"@EXPLICIT\nhttps://c.test/linux-64/a-1-0.conda#" + b"0" * 32],
        read=read_dockerfile,
    ),
    "logins": lambda: Target(
        seeds=[LOGINS, LOGINS.replace(b"YXNz", "YXN\u00e9".encode())], read=read_logins
    ),
}  # fmt: skip


def _own_locks() -> Iterator[bytes]:
    for path in sorted((DOCS.parent / "locks").glob("*/*")):
        if path.stat().st_size < _SMALL:
            yield path.read_bytes()


SHARES = len(TARGETS) + 1


def fuzzed(target: Target, seconds: float, first: int = 0) -> None:
    with little_memory():
        fed = feed(target, seconds, first)
    assert fed.inputs > len(target.seeds)
    slow = int(fed.worst > 1)
    count("R13", inputs=fed.inputs, refused=fed.refused, **{"targets with an input over 1 s": slow})


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_it_says_it_is_read_or_refused(name: str) -> None:
    fuzzed(TARGETS[name](), FAST / SHARES)


@pytest.mark.full
@pytest.mark.parametrize("name", TARGETS)
def test_whatever_it_says_it_is_read_or_refused_for_long(name: str) -> None:
    fuzzed(TARGETS[name](), FULL_SECONDS / SHARES, 1_000_000)


ZERO = "sha256:" + "0" * 64
LINES = (
    'WWW-Authenticate: Bearer realm="http://HOST/token",service="s",scope="a:b:pull"',
    'WWW-Authenticate: Basic realm="x"', 'Link: </v2/a/tags/list?n=1&last=x>; rel="next"',
    "Location: /v2/a/blobs/uploads/1?_state=x", "Location: http://HOST/v2/a/blobs/" + ZERO,
    "Location: //elsewhere.test/x", "Retry-After: 3", "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT",
    "Content-Range: bytes 0-9/10", "Range: 0-0", "Docker-Content-Digest: " + ZERO,
    "Docker-Content-Digest: " + GOOD.manifest.digest, "Content-Encoding: gzip",
    "Content-Type: application/vnd.oci.image.manifest.v1+json", "Transfer-Encoding: chunked",
    "OCI-Chunk-Min-Length: 1", "Docker-Distribution-Api-Version: registry/2.0",
)  # fmt: skip
STATUSES = (200, 201, 202, 206, 301, 307, 400, 401, 403, 404, 416, 429, 500, 503)


def answers() -> list[bytes]:
    """Return answers that a registry could give, as they go over the wire."""
    found = []
    bodies = (b"", GOOD.manifest.body, b'{"token": "t", "expires_in": 60}', b'{"tags": ["1"]}')
    for number, status in enumerate(STATUSES * 2):
        lines = [LINES[(number + step) % len(LINES)] for step in (0, 5, 11)]
        body = bodies[number % len(bodies)]
        head = "\r\n".join([f"HTTP/1.1 {status} X", *lines, f"Content-Length: {len(body)}"])
        found.append(head.encode() + b"\r\n\r\n" + body)
    return found


class Talk:
    """A registry that says what it is told to, and somebody who asks it for everything."""

    def __init__(self, proxy: Proxy, registries: Registries) -> None:
        self._said = b""
        self._registry = registries.at(proxy.host)
        self._host = proxy.host.encode()
        proxy.rule(lambda asked, ask: Reply(status=200, raw=self._said))
        self._proxy = proxy

    def listen(self, data: bytes) -> None:
        """Ask for one thing after another, and get the same answer each time."""
        self._said = data.replace(b"HOST", self._host) or b"\r\n"
        self._proxy.asked.clear()
        registry, ten = self._registry, Descriptor(media_type="x", digest=ZERO, size=10)
        asked = (
            lambda: registry.head("a", "1"),
            lambda: registry.manifest("a", GOOD.manifest.digest),
            lambda: registry.tags("a"),
            lambda: registry.blob_part("a", ten, 2, 3),
            lambda: self._blob(ten),
            lambda: registry.has_blob("a", ZERO),
            lambda: registry.mount_blob("a", ZERO, "b"),
            lambda: registry.put_manifest("a", "1", GOOD.manifest),
        )
        asked[sum(data) % len(asked)]()

    def _blob(self, descriptor: Descriptor) -> None:
        with self._registry.blob("a", descriptor) as chunks:
            for _ in chunks:
                pass


@pytest.fixture
def talk() -> Iterator[Talk]:
    def resolve(host: str, port: int) -> list[str]:
        if host != "127.0.0.1":
            raise OSError("there is no other host")
        return [host]

    timeouts = Timeouts(connect=1.0, read=1.0)
    with proxied("127.0.0.1:9") as proxy:
        chosen = RegistrySettings(clock=Waits().clock(), resolve=resolve, timeouts=timeouts)
        with Registries(chosen) as registries:
            yield Talk(proxy, registries)


def test_whatever_a_registry_answers_it_is_understood_or_refused(talk: Talk) -> None:
    fuzzed(Target(seeds=answers(), read=talk.listen), FAST / SHARES)


@pytest.mark.full
def test_whatever_a_registry_answers_it_is_understood_or_refused_for_long(talk: Talk) -> None:
    fuzzed(Target(seeds=answers(), read=talk.listen), FULL_SECONDS / SHARES, 1_000_000)

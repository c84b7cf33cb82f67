"""Somebody puts another base image in the place of the one that was locked (X14)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from envsync.adapters.registry.registries import Registries, RegistrySettings
from envsync.model.reading import Present
from envsync.oci.descriptor import digest_of
from tests.parts.baseimage import hollow_base
from tests.parts.registry import Registry
from tests.registry.proxy import Asked, Proxy, Reply, proxied
from tests.reliability.counts import count
from tests.team import Done, Team

IMAGE = "locks/train/image.yaml"


@pytest.fixture
def proxy(registry: Registry) -> Iterator[Proxy]:
    """The registry of the bases, which somebody else keeps."""
    with hollow_base(content="one") as image:
        image.push(registry)
    with hollow_base(content="two", name="other") as image:
        image.push(registry)
    with proxied(registry.host) as running:
        yield running


@pytest.fixture
def team(folder_team: Team, proxy: Proxy) -> Team:
    """A team with an environment on such a base, which is locked."""
    folder_team.ask("train", "tiny-00000", image=f"{proxy.host}/base/hollow:1")
    return folder_team


def locked(team: Team) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((team.root / IMAGE).read_text())
    return found


class Base:
    """What a registry has of a base image."""

    def __init__(self, host: str, name: str, reference: str) -> None:
        with Registries(RegistrySettings()) as registries:
            registry = registries.at(host)
            found = registry.manifest(f"base/{name}", reference)
            assert isinstance(found, Present)
            top = found.value.document()
            self.index = found.value.body
            self.digest = digest_of(self.index)
            amd64 = next(m for m in top["manifests"] if m["platform"]["architecture"] == "amd64")
            child = registry.manifest(f"base/{name}", amd64["digest"])
            assert isinstance(child, Present)
            self.manifest = child.value.body
            self.child: str = amd64["digest"]
            document = child.value.document()
            self.config: str = document["config"]["digest"]
            self.layers: list[str] = [layer["digest"] for layer in document["layers"]]


def apply(team: Team) -> Done:
    """Apply; it must end without anything made, published or recorded."""
    done = team.envsync("apply")
    assert done.code == 8, done.out + done.err
    assert team.versions("train") == []
    assert team.tags("train") == {}
    return done


def test_a_tag_that_moved_changes_nothing(team: Team, registry: Registry, proxy: Proxy) -> None:
    before = Base(proxy.host, "hollow", "1")
    with hollow_base(content="moved") as image:
        image.push(registry)
    assert Base(proxy.host, "hollow", "1").digest != before.digest
    assert team.envsync("apply").code == 0
    (record,) = team.records("train")
    with team.reader() as reader:
        manifest = reader.manifest(team.place("train"), record.digest)
        assert isinstance(manifest, Present)
        layers = [layer["digest"] for layer in manifest.value.document()["layers"]]
    assert layers[: len(before.layers)] == before.layers
    assert locked(team)["digest"] == before.digest
    count("X14", cases=1, **{"pinned digests that held": 1})


def other(proxy: Proxy) -> Base:
    return Base(proxy.host, "other", "1")


Swap = Callable[[Proxy, Base, Base], None]


def manifest_of_another(proxy: Proxy, base: Base, swapped: Base) -> None:
    proxy.on("GET", f"/manifests/{base.child}", _manifest(swapped.manifest, swapped.child))


def manifest_that_says_it_is_ours(proxy: Proxy, base: Base, swapped: Base) -> None:
    proxy.on("GET", f"/manifests/{base.child}", _manifest(swapped.manifest, base.child))


def manifest_with_another_layer(proxy: Proxy, base: Base, swapped: Base) -> None:
    body = base.manifest.replace(base.layers[0].encode(), swapped.layers[0].encode())
    assert body != base.manifest
    proxy.on("GET", f"/manifests/{base.child}", _manifest(body, base.child))


def manifest_with_a_blank_more(proxy: Proxy, base: Base, swapped: Base) -> None:
    proxy.on("GET", f"/manifests/{base.child}", _manifest(base.manifest + b" ", base.child))


def manifest_elsewhere(proxy: Proxy, base: Base, swapped: Base) -> None:
    place = f"/v2/base/other/manifests/{swapped.child}"
    proxy.on("GET", f"/manifests/{base.child}", Reply(status=307, headers={"location": place}))


def config_of_another(proxy: Proxy, base: Base, swapped: Base) -> None:
    _blob(proxy, base.config, swapped.config)


def config_that_runs_another_program(proxy: Proxy, base: Base, swapped: Base) -> None:
    def answer(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        reply = ask()
        document = json.loads(reply.body)
        document.setdefault("config", {})["Entrypoint"] = ["/evil"]
        return replace(reply.having(content_length=""), body=json.dumps(document).encode())

    proxy.on("GET", f"/blobs/{base.config}", answer)


def first_layer_of_another(proxy: Proxy, base: Base, swapped: Base) -> None:
    _blob(proxy, base.layers[0], swapped.layers[0])


def last_layer_of_another(proxy: Proxy, base: Base, swapped: Base) -> None:
    _blob(proxy, base.layers[-1], swapped.layers[-1])


def layers_in_another_order(proxy: Proxy, base: Base, swapped: Base) -> None:
    _blob(proxy, base.layers[0], base.layers[1])


def layer_with_another_byte(proxy: Proxy, base: Base, swapped: Base) -> None:
    _changed(proxy, base.layers[0], lambda body: body[:-1] + bytes([body[-1] ^ 1]))


def layer_with_more_bytes(proxy: Proxy, base: Base, swapped: Base) -> None:
    _changed(proxy, base.layers[0], lambda body: body + b"\0")


def layer_with_fewer_bytes(proxy: Proxy, base: Base, swapped: Base) -> None:
    _changed(proxy, base.layers[0], lambda body: body[:-1])


def empty_layer(proxy: Proxy, base: Base, swapped: Base) -> None:
    _changed(proxy, base.layers[0], lambda _: b"")


def page_in_place_of_a_layer(proxy: Proxy, base: Base, swapped: Base) -> None:
    _changed(proxy, base.layers[0], lambda _: b"<html>Please log in</html>")


def _manifest(body: bytes, digest: str) -> Reply:
    kind = str(json.loads(body)["mediaType"])
    headers = {"content-type": kind, "docker-content-digest": digest}
    return Reply(status=200, headers=headers, body=body)


def _blob(proxy: Proxy, asked_for: str, given: str) -> None:
    """Give one blob for another, by way of the storage that a registry leads to."""
    name = "hollow" if given == asked_for else "other"

    def answer(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        return Reply(status=307, headers={"location": f"/v2/base/{name}/blobs/{given}?x"})

    proxy.on("GET", f"/blobs/{asked_for}", answer)


def _changed(proxy: Proxy, digest: str, change: Callable[[bytes], bytes]) -> None:
    def answer(asked: Asked, ask: Callable[[], Reply]) -> Reply:
        reply = ask()
        return replace(reply.having(content_length=""), body=change(reply.body))

    proxy.on("GET", f"/blobs/{digest}", answer)


SWAPS: tuple[Swap, ...] = (
    manifest_of_another, manifest_that_says_it_is_ours, manifest_with_another_layer,
    manifest_with_a_blank_more, manifest_elsewhere, config_of_another,
    config_that_runs_another_program, first_layer_of_another, last_layer_of_another,
    layers_in_another_order, layer_with_another_byte, layer_with_more_bytes,
    layer_with_fewer_bytes, empty_layer, page_in_place_of_a_layer,
)  # fmt: skip


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: swap.__name__.replace("_", " "))
def test_other_bytes_for_a_pinned_digest_are_refused(team: Team, proxy: Proxy, swap: Swap) -> None:
    base = Base(proxy.host, "hollow", "1")
    swap(proxy, base, other(proxy))
    done = apply(team)
    assert f"{proxy.host}" in done.err
    assert "sha256:" in done.err
    proxy.forget()
    assert team.envsync("apply").code == 0
    assert team.versions("train") == ["1"]
    count("X14", cases=1, **{"swapped bytes refused": 1})


def test_other_bytes_are_refused_while_locking_too(folder_team: Team, proxy: Proxy) -> None:
    base, swapped = Base(proxy.host, "hollow", "1"), other(proxy)
    name = f"{proxy.host}/base/hollow:1"
    for swap in (manifest_of_another, manifest_that_says_it_is_ours, first_layer_of_another):
        proxy.forget()
        swap(proxy, base, swapped)
        folder_team.spec("train", "tiny-00000", image=name)
        done = folder_team.envsync("lock")
        assert done.code == 8, done.out + done.err
        assert not (folder_team.root / IMAGE).exists()
        count("X14", cases=1, **{"swapped bytes refused": 1})
    proxy.forget()
    folder_team.spec("train", "tiny-00000", image=f"{proxy.host}/base/hollow@{base.digest}")
    proxy.on("GET", f"/manifests/{base.digest}", _manifest(swapped.index, base.digest))
    assert folder_team.envsync("lock").code == 8
    count("X14", cases=1, **{"swapped bytes refused": 1})


@pytest.mark.parametrize(
    ("forge", "words"),
    [
        (lambda t, a, b: t.replace(a.child, b.child), "base_image_changed"),
        (lambda t, a, b: t.replace("base/hollow:1", "base/other:1"), "lock_unsatisfied"),
        (lambda t, a, b: t.replace(a.child, "sha256:" + "A" * 64), "has no digest"),
        (lambda t, a, b: t.replace(a.child, "md5:" + "0" * 32), "has no digest"),
        (lambda t, a, b: t.replace(a.child, "latest"), "has no digest"),
        (lambda t, a, b: t.replace(a.digest, "latest"), "not a hash"),
    ],
    ids=["a platform", "the name", "capitals", "md5", "a tag", "a tag for all"],
)
def test_another_digest_in_a_lock_is_told_or_refused(
    team: Team, proxy: Proxy, forge: Callable[[str, Base, Base], str], words: str
) -> None:
    assert team.envsync("apply").code == 0
    team.repository.git("branch", "base")
    path = team.root / IMAGE
    before = path.read_text()
    after = forge(before, Base(proxy.host, "hollow", "1"), other(proxy))
    assert after != before
    path.write_text(after)
    team.repository.commit("another base")
    done = team.envsync("plan", "--base", "base", "--format", "json")
    (found,) = done.json["environments"]
    flags = [flag["code"] for flag in found["flags"]]
    assert done.code == 6 or flags == ["base_image_changed"], done.out
    said = json.dumps(found)
    assert words in said
    assert done.code == 0 or "locks/train/" in said
    kind = "refused" if done.code else "flagged"
    count("X14", cases=1, **{f"forged digests {kind}": 1})


def test_another_index_in_a_lock_gives_no_new_platform_its_base(
    team: Team, proxy: Proxy, registry: Registry
) -> None:
    """What is locked of a platform stays; the index is asked again when another one is added."""
    path = team.root / IMAGE
    honest = path.read_text()
    digests = Base(proxy.host, "hollow", "1").digest, other(proxy).digest
    assert digests[0] in honest
    both = "envsync: {platforms: [linux-64, linux-aarch64]}"
    team.spec("train", "tiny-00000", image=f"{proxy.host}/base/hollow:1", text=both)
    with hollow_base(content="two") as image:  # the other image stands in the same repository
        image.push(registry, tag="2")
    path.write_text(honest.replace(*digests))
    done = team.envsync("lock")
    assert done.code == 6, done.out + done.err
    assert "The lock's base image is not that of its platforms" in done.out + done.err
    assert "envsync lock --upgrade" in done.out + done.err
    path.write_text(honest)
    assert team.envsync("lock").code == 0
    assert sorted(locked(team)["platforms"]) == ["linux-64", "linux-aarch64"]
    assert locked(team)["digest"] == digests[0]
    count("X14", cases=1, **{"forged digests refused": 1})


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        ("registries: [HOST]", True),
        ("registries: ['127.0.0.1:*']", True),
        ("registries: [registry.example]", False),
        ("registries: ['*.example']", False),
        ("base_images: ['HOST/base/hollow:1']", True),
        ("base_images: ['HOST/base/hollow*']", True),
        ("base_images: ['HOST/base/other:1']", False),
        ("base_images: ['HOST/base/hollow:2']", False),
        ("base_images: ['registry.example/base/hollow:1']", False),
    ],
)
def test_registries_and_images_that_the_policy_allows(
    team: Team, proxy: Proxy, policy: str, allowed: bool
) -> None:
    team.settings(f"policy:\n  {policy.replace('HOST', proxy.host)}\n")
    team.repository.commit("a policy")
    asked = len(proxy.asked)
    done = team.envsync("plan")
    assert done.code == (0 if allowed else 6), done.out
    if not allowed:
        assert f"policy.{policy.partition(':')[0]} allows" in done.out
        assert f"{proxy.host}" in done.out
        assert team.envsync("apply").code == 6
        assert team.versions("train") == []
        assert not [one for one in proxy.asked[asked:] if "/blobs/" in one.path]
    count("X14", cases=1, **{"judged by policy": 1})

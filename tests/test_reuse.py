"""What is not made twice: from caches, from the registry, on machines that share nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.model.lock import LockedPackage
from envsync.oci.codec import GZIP
from envsync.operations.carry_out import _compare
from envsync.operations.prior import Prior, read_prior
from envsync.ports.builder import BuiltImage
from tests.images import REPOSITORY, build_into, lock_of
from tests.parts.baseimage import BaseImage
from tests.parts.madeup import clobbers, linked, made, prefixed, text, with_scripts
from tests.parts.package import Package
from tests.parts.serving import FileServer, serve_folders
from tests.team import Team
from tests.test_apply import applied, uploads
from tests.test_build import STUB, packages_of


def prior_of(layouts: Path, image: BuiltImage) -> Prior:
    return read_prior(LayoutRegistry(layouts), [(REPOSITORY, image.top.digest)], GZIP)


def unchanged(folder: Path) -> list[LockedPackage]:
    """Packages of every kind, which will be gone when the second image is built."""
    *_, scripted = with_scripts()
    kinds: list[Package] = [STUB, linked(), prefixed(), *clobbers(), *with_scripts()]
    return packages_of(folder, *[one for one in kinds if one != scripted])


def changing(folder: Path, version: str) -> list[LockedPackage]:
    return packages_of(folder, made("change", text("share/change", version), version=version))


@pytest.mark.parametrize("layers", [95, 3, 1])
def test_an_empty_machine_needs_only_the_packages_that_changed(
    layers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envsync.operations.build.package_layers", lambda _: layers)
    same = unchanged(tmp_path)
    layouts = tmp_path / "a" / "layouts"
    before = lock_of({"linux-64": [*same, *changing(tmp_path, "1.0")]})
    first = build_into(layouts, before, cache=tmp_path / "one")
    after = lock_of({"linux-64": [*same, *changing(tmp_path, "2.0")]})
    expected = build_into(tmp_path / "b" / "layouts", after, cache=tmp_path / "two")

    archives = [Path(package.url.removeprefix("file://")) for package in same]
    for archive in archives:
        archive.unlink()
    found = build_into(layouts, after, cache=tmp_path / "three", prior=prior_of(layouts, first))
    assert found.top == expected.top


def test_what_a_prior_image_says_of_packages_is_what_the_packages_say(tmp_path: Path) -> None:
    packages = unchanged(tmp_path)
    layouts = tmp_path / "a" / "layouts"
    image = build_into(layouts, lock_of({"linux-64": packages}), cache=tmp_path / "one")
    build_into(
        layouts,
        lock_of({"linux-64": packages}),
        cache=tmp_path / "two",
        prior=prior_of(layouts, image),
    )
    one, two = (
        {file.name: file.read_bytes() for file in (tmp_path / name / "inventories").rglob("*/*")}
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) == len(packages)


def test_a_head_that_was_changed_in_the_registry_is_not_believed(tmp_path: Path) -> None:
    packages = unchanged(tmp_path)
    layouts = tmp_path / "a" / "layouts"
    image = build_into(layouts, lock_of({"linux-64": packages}), cache=tmp_path / "one")
    prior = prior_of(layouts, image)
    for blob in image.blobs:
        file = layouts / REPOSITORY / "blobs/sha256" / blob.descriptor.digest[7:]
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2 :] = bytes(len(raw) - len(raw) // 2)
        raw[200:210] = b"0123456789"
        file.write_bytes(raw)
    heads = [prior.head(segment) for found in prior.packages.values() for segment in found]
    assert heads
    assert not any(heads)


def test_layers_that_are_not_what_their_packages_give_are_a_conflict(tmp_path: Path) -> None:
    packages = unchanged(tmp_path)
    layouts = tmp_path / "a" / "layouts"
    image = build_into(layouts, lock_of({"linux-64": packages}), cache=tmp_path / "one")
    prior = prior_of(layouts, image)
    _compare(image, prior)
    key, layer = next(iter(prior.layers.items()))
    other = next(one for one in prior.layers.values() if one.key != key)
    from dataclasses import replace

    from envsync.errors import Conflict

    prior.layers[key] = replace(layer, descriptor=other.descriptor)
    with pytest.raises(Conflict, match="not what their packages give"):
        _compare(image, prior)


@pytest.fixture
def served(server_team: Team, tiny_packages: Path) -> Iterator[tuple[Team, FileServer]]:
    """A team whose packages come over HTTP."""
    with serve_folders({"tiny": tiny_packages}) as server:
        yield server_team, server


def ask(team: Team, server: FileServer, name: str, *packages: str, image: str = "scratch") -> None:
    listed = ", ".join(f"'{package}'" for package in packages)
    spec = [
        *(f"name: {name}", f"image: {image}", "conda_file:"),
        *(f"  channels: ['{server.url('tiny')}']", f"  dependencies: [{listed}]", ""),
    ]
    team.repository.write({f"environments/{name}/environment.yaml": "\n".join(spec)})
    assert team.envsync("lock", name).code == 0
    team.repository.commit(name)


def fetched(server: FileServer) -> list[str]:
    return sorted(
        request.path.rsplit("/", 1)[1].split("-0-")[0].rsplit("-", 2)[0]
        for request in server.requests(".tar.bz2")
        if request.status == 200
    )


def test_an_empty_runner_fetches_and_sends_one_package(served: tuple[Team, FileServer]) -> None:
    team, server = served
    team.settings("referrers: false\n")
    assert team.registry
    ask(team, server, "train", "tiny-00009")
    applied(team)
    assert len(fetched(server)) == 10
    ask(team, server, "train", "tiny-00009", "tiny-00010")
    shutil.rmtree(team.cache)
    server.forget()
    before = uploads(team)
    team.registry.forget()
    applied(team)
    assert fetched(server) == ["tiny-00010"]
    assert len([r for r in team.registry.requests("PUT", "/blobs/") if r.status == 201]) == 3
    assert before
    team.check("train")


def test_a_sibling_on_an_empty_runner_sends_only_what_is_its_own(
    served: tuple[Team, FileServer],
) -> None:
    team, server = served
    team.settings("referrers: false\n")
    assert team.registry
    ask(team, server, "train", "tiny-00009")
    applied(team)
    ask(team, server, "serve", "tiny-00008")
    shutil.rmtree(team.cache)
    server.forget()
    team.registry.forget()
    done = team.envsync("apply")
    assert done.code == 0, done.err
    assert fetched(server) == []
    # The environment's own layer and the config; the packages are mounted.
    assert len([r for r in team.registry.requests("PUT", "/blobs/") if r.status == 201]) == 2
    assert len([r for r in team.registry.requests("POST", "mount=") if r.status == 201]) == 9
    team.check("serve", "train")


def test_archives_that_conda_has_kept_are_not_fetched_again(
    served: tuple[Team, FileServer], tiny_packages: Path, tmp_path: Path
) -> None:
    team, server = served
    kept = tmp_path / "pkgs"
    kept.mkdir()
    for archive in (tiny_packages / "noarch").glob("tiny-0000*.tar.bz2"):
        shutil.copy(archive, kept)
    damaged = next(kept.glob("tiny-00002-*"))
    damaged.write_bytes(b"something else")
    team.variables["CONDA_PKGS_DIRS"] = f"/nowhere,{kept}"
    ask(team, server, "train", "tiny-00009")
    applied(team)
    assert fetched(server) == ["tiny-00002"]
    assert damaged.read_bytes() == b"something else"
    team.check("train")


def test_a_restored_registry_has_the_same_digests(team: Team) -> None:
    team.ask("train", "tiny-00009")
    first = applied(team)["train"]["digest"]
    team.wipe_registry()
    if team.registry:
        team.registry.forget()
    again = applied(team)["train"]
    assert (again["did"], again["digest"]) == ("republish", first)
    team.check("train")


def test_a_patched_base_moves_no_package(
    server_team: Team, busybox_base: BaseImage, debian_base: BaseImage
) -> None:
    team = server_team
    team.settings("referrers: false\n")
    assert team.registry
    image = busybox_base.push(team.registry, tag="moving")
    team.ask("train", "tiny-00009", image=image)
    applied(team)
    name = image.partition("/")[2].partition(":")[0]
    other = debian_base.push(team.registry, tag="moving")
    source = other.partition("/")[2].partition(":")[0]
    with team.reader() as reader:
        from envsync.model.reading import Present

        found = reader.manifest(source, "moving")
        assert isinstance(found, Present)
        for layer in found.value.document()["layers"]:
            assert reader.mount_blob(name, layer["digest"], source)
        assert reader.mount_blob(name, found.value.document()["config"]["digest"], source)
        reader.put_manifest(name, "moving", found.value)
    assert team.envsync("lock", "train", "--upgrade").code == 0
    team.repository.commit("patched base")
    team.registry.forget()
    applied(team)
    # The new config, and nothing of any package.
    assert len([r for r in team.registry.requests("PUT", "/blobs/") if r.status == 201]) == 1
    team.check("train")


def test_layers_can_be_compressed_with_zstd(team: Team) -> None:
    team.ask("train", "tiny-00004")
    gzipped = applied(team)["train"]["digest"]
    team.settings("compression: zstd\n")
    team.repository.commit("zstd")
    found = applied(team)["train"]
    assert found["version"] == "2"
    with team.reader() as reader:
        from envsync.model.reading import Present

        manifest = reader.manifest(team.place("train"), found["digest"])
        assert isinstance(manifest, Present)
        kinds = {layer["mediaType"] for layer in manifest.value.document()["layers"]}
    assert kinds == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    assert found["digest"] != gzipped
    team.check("train")
    assert team.envsync("history", "train").code == 0
    assert "compression" in team.envsync("diff", "train:1", "train:2").out


def test_a_compression_that_is_none_is_refused_by_place(folder_team: Team) -> None:
    folder_team.settings("compression: lzma\n")
    done = folder_team.envsync("validate")
    assert done.code == 6
    assert "envsync.yaml:1:14: 'lzma' is not a way to compress layers" in done.out


def test_layers_are_verified_when_asked(team: Team) -> None:
    team.ask("train", "tiny-00004")
    applied(team)
    team.ask("train", "tiny-00005")
    done = team.envsync("apply", "--verify-layers")
    assert done.code == 0, done.err
    team.check("train")
    assert not list((team.cache / "build").glob("build-*"))


class TestCache:
    def test_it_is_told_how_large_it_is(self, folder_team: Team) -> None:
        folder_team.ask("train", "tiny-00004")
        applied(folder_team)
        document = folder_team.envsync("cache", "info", "--format", "json").json
        assert document["parts"]["segments"]["files"] >= 10
        assert document["limit"] == 20_000_000_000
        assert document["bounded"] <= document["bytes"]
        assert "segments" in folder_team.envsync("cache").out

    def test_pruning_to_nothing_removes_everything_and_costs_nothing_but_work(
        self, folder_team: Team
    ) -> None:
        folder_team.ask("train", "tiny-00004")
        first = applied(folder_team)["train"]["digest"]
        done = folder_team.envsync("cache", "prune", "--limit", "0")
        assert done.code == 0
        assert done.out.startswith("Removed ")
        assert done.out.endswith("0 bytes left.\n")
        folder_team.wipe_registry()
        assert applied(folder_team)["train"]["digest"] == first

    def test_what_was_not_used_for_longest_goes_first(self, folder_team: Team) -> None:
        folder_team.ask("old", "tiny-00004")
        applied(folder_team)
        folder_team.ask("new", "tiny-00014")
        applied(folder_team)
        import os

        for file in (folder_team.cache / "segments").rglob("*"):
            if file.is_file() and not file.suffix:
                os.utime(file, (1, 1) if hash_of(file) % 2 else None)
        sizes = folder_team.envsync("cache", "info", "--format", "json").json["bounded"]
        folder_team.envsync("cache", "prune", "--limit", f"{sizes - 1}")
        left = [f for f in (folder_team.cache / "segments").rglob("*") if f.is_file()]
        assert left
        assert all(file.with_suffix(".json").exists() for file in left)

    @pytest.mark.parametrize("kind", ["segments", "inventories", "layers"])
    def test_damage_is_found_and_removed(self, kind: str, folder_team: Team) -> None:
        folder_team.ask("train", "tiny-00004")
        applied(folder_team)
        assert folder_team.envsync("cache", "verify").code == 0
        victim = next(
            f for f in sorted((folder_team.cache / kind).rglob("*")) if f.is_file()
            and (kind != "segments" or not f.suffix)
        )  # fmt: skip
        victim.write_bytes(victim.read_bytes()[:-1] + b"!")
        done = folder_team.envsync("cache", "verify", "--format", "json")
        assert done.code == 2
        assert any(victim.name in path for path in json.loads(done.out)["damaged"])
        assert not victim.exists()
        assert folder_team.envsync("cache", "verify").code == 0

    def test_what_is_no_size_is_refused(self, folder_team: Team) -> None:
        done = folder_team.envsync("cache", "prune", "--limit", "much")
        assert done.code == 6
        assert "'much' is not a size" in done.err

    def test_apply_keeps_within_the_limit(self, folder_team: Team) -> None:
        folder_team.variables["ENVSYNC_CACHE_SIZE"] = "1kB"
        folder_team.ask("train", "tiny-00004")
        applied(folder_team)
        assert folder_team.envsync("cache", "--format=json").json["bounded"] <= 1000


def hash_of(file: Path) -> int:
    return int(file.name[:8], 16)

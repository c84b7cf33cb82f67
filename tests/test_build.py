"""Built images: config, base, platforms, and that engines and tools written by others take them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from rattler import PrefixRecord

from envsync.adapters.building.build_folder import BuildFolder
from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.errors import InvalidInput, LockStale, PolicyRefused, Unavailable
from envsync.model.lock import Lock, LockedPackage
from envsync.oci.config import BaseConfig, environment, parse_base_config
from envsync.oci.descriptor import Descriptor, RawManifest
from envsync.oci.entry import CONSTANT_TIME, ROOT
from envsync.oci.image import adopted_layer
from envsync.oci.layer import KEY
from envsync.oci.overlay import Node, gunzip, members
from envsync.operations.build import build
from envsync.ports.builder import BuiltImage
from envsync.ports.progress import Silent
from tests import format_golden
from tests.images import (
    REPOSITORY,
    bench,
    build_into,
    definition_of,
    file_system,
    lock_of,
    locked,
    prefix_of,
    reader,
    walk,
)
from tests.parts.baseimage import BaseImage, hollow_base
from tests.parts.engine import Engine
from tests.parts.madeup import clobbers, linked, made, prefixed, text, with_scripts
from tests.parts.package import File, HardLink, Package, write_package
from tests.parts.process import tool
from tests.parts.registry import Registry
from tests.parts.serving import FileServer


def packages_of(folder: Path, *packages: Package) -> list[LockedPackage]:
    return [locked(write_package(package, folder / "channel")) for package in packages]


def base_lock(base: BaseImage, packages: dict[str, list[LockedPackage]]) -> Lock:
    """Return a lock on a base that is in a layout on disk."""
    registry = LayoutRegistry(base.layout.parent)
    top = registry.manifest(base.layout.name, "latest")
    document = top.value.document()  # type: ignore[union-attr]
    digests = {"linux-64": top.value.digest, "linux-aarch64": ""}  # type: ignore[union-attr]
    for entry in document.get("manifests", ()):
        name = {"amd64": "linux-64", "arm64": "linux-aarch64"}[entry["platform"]["architecture"]]
        digests[name] = entry["digest"]
    return lock_of(
        packages,
        image=f"localhost/{base.layout.name}",
        base={platform: digests[platform] for platform in packages},
    )


def base_reader(base: BaseImage) -> LayoutRegistry:
    return LayoutRegistry(base.layout.parent)


def config_of(manifest: RawManifest, layouts: Path) -> dict[str, Any]:
    descriptor = Descriptor.parse(manifest.document()["config"])
    document = json.loads(b"".join(reader(layouts)(descriptor)))
    assert isinstance(document, dict)
    return document


def variables(config: dict[str, Any]) -> dict[str, str]:
    return dict(item.split("=", 1) for item in config["config"]["Env"])


STUB = Package(name="python", version="3.11.7", build="0_cpython", released=date(2024, 1, 1))


def some_packages() -> list[Package]:
    return [STUB, prefixed(), linked(), *clobbers(), *list(with_scripts())[:2]]


@pytest.fixture
def built(tmp_path: Path) -> tuple[BuiltImage, Path]:
    """An image of made-up packages without a base, and the layouts it is in."""
    lock = lock_of({"linux-64": packages_of(tmp_path, *some_packages())})
    layouts = tmp_path / "layouts"
    return build_into(layouts, lock, cache=tmp_path / "cache"), layouts


def test_an_image_without_a_base(built: tuple[BuiltImage, Path]) -> None:
    image, layouts = built
    config = config_of(image.top, layouts)
    assert config["created"] == "1970-01-01T00:00:00Z"
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    assert len(config["rootfs"]["diff_ids"]) == len(config["history"]) == 8
    found = variables(config)
    assert found["PATH"].startswith("/opt/env/bin:/usr/local/sbin:")
    assert found["CONDA_PREFIX"] == "/opt/env"
    assert found["LANG"] == "C.UTF-8"
    assert found["ENV_VARS_PACKAGE"] == "set by env_vars.d"
    assert "LD_LIBRARY_PATH" not in found
    labels = config["config"]["Labels"]
    assert labels["io.envsync.definition-hash"] == image.definition.hash
    assert labels["io.envsync.format"] == "2"
    assert "org.opencontainers.image.base.digest" not in labels
    assert image.top.document()["annotations"] == labels
    # Without a base there is no shell that could run activation scripts.
    assert "Entrypoint" not in config["config"]


def test_each_layer_has_a_history_entry_that_names_its_packages(
    built: tuple[BuiltImage, Path],
) -> None:
    image, layouts = built
    comments = [entry["comment"] for entry in config_of(image.top, layouts)["history"]]
    assert comments[-1] == "environment"
    assert {comment.split("=")[0] for comment in comments[:-1]} == {
        package.name for package in some_packages()
    }


def test_records_of_packages_are_found_by_rattler_and_tell_nothing_of_this_machine(
    built: tuple[BuiltImage, Path], tmp_path: Path
) -> None:
    _, layouts = built
    subprocess.run(
        [tool("umoci"), "unpack", "--image", f"{layouts / REPOSITORY}:1", str(tmp_path / "b")],
        check=True,
        capture_output=True,
    )
    meta = tmp_path / "b" / "rootfs" / ROOT / "conda-meta"
    records = {path.name: path for path in meta.glob("*.json")}
    assert len(records) == len(some_packages())
    for path in records.values():
        raw = path.read_text(encoding="utf-8")
        assert str(tmp_path) not in raw
        assert "channel/" not in raw
        assert path.stat().st_mode & 0o777 == 0o644
        record = PrefixRecord.from_path(path)
        assert f"{record.name.normalized}-{record.version}-{record.build}.json" == path.name
        assert record.url.startswith(f"pkg:conda/{record.name.normalized}@")
        assert len(record.paths_data.paths) == len(record.files)
    assert (meta / "history").read_text().splitlines()[0] == "==> 1980-01-01 00:00:00 <=="
    assert (meta / "history").stat().st_mtime == CONSTANT_TIME


def test_hard_links_of_a_package_stay_one_file(built: tuple[BuiltImage, Path]) -> None:
    image, layouts = built
    hard = {
        member.path: member.hard_link
        for layer in image.top.document()["layers"]
        for member in members(gunzip(reader(layouts)(Descriptor.parse(layer))))
        if member.hard_link
    }
    assert hard == {"opt/env/share/linked/two": "opt/env/share/linked/one"}


def test_skopeo_reads_it(built: tuple[BuiltImage, Path]) -> None:
    image, layouts = built
    command = [tool("skopeo"), "inspect", f"oci:{layouts / REPOSITORY}:1"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found["Digest"] == image.top.digest
    assert found["Architecture"] == "amd64"
    assert len(found["Layers"]) == len(image.top.document()["layers"])


def test_the_image_of_format_2(tmp_path: Path) -> None:
    # bzip2 archives have the same bytes with every version of every library.
    packages = [replace(package, archive=".tar.bz2") for package in some_packages()]
    lock = lock_of({"linux-64": packages_of(tmp_path, *packages)})
    image = build_into(tmp_path / "layouts", lock, cache=tmp_path / "cache")
    layers = image.top.document()["layers"]
    format_golden.check("image of made-up packages", image.top.digest)
    format_golden.check("its layers", {la["annotations"][KEY]: la["digest"] for la in layers})


class TestBase:
    def test_settings_of_the_base_stay(self, tmp_path: Path) -> None:
        with hollow_base(layers=3) as base:
            lock = base_lock(base, {"linux-64": packages_of(tmp_path, STUB)})
            layouts = tmp_path / "layouts"
            image = build_into(layouts, lock, cache=tmp_path / "cache", base=base_reader(base))
            config = config_of(image.top, layouts)
            assert config["created"] == "2024-01-01T00:00:00Z"
            assert config["config"]["Cmd"] == ["/bin/sh"]
            assert config["history"][0]["created_by"] == "made by hand"
            assert len(config["history"]) == 5
            digest = lock.image.platforms["linux-64"].digest
            assert config["config"]["Labels"]["org.opencontainers.image.base.digest"] == digest
            shared = [blob for blob in image.blobs if blob.repository]
            assert len(shared) == 3
            assert {blob.registry for blob in shared} == {base_reader(base).name}
            tree = file_system(image.top, layouts)
            assert tree["etc/hollow-2"].kind == "file"
            assert tree["opt/env/conda-meta/history"].kind == "file"

    def test_a_new_base_changes_no_layer_of_packages(self, tmp_path: Path) -> None:
        packages = packages_of(tmp_path, *some_packages())
        found = []
        for content in ("before", "after"):
            with hollow_base(content=content) as base:
                lock = base_lock(base, {"linux-64": packages})
                image = build_into(
                    tmp_path / content / "layouts",
                    lock,
                    cache=tmp_path / "cache",
                    base=base_reader(base),
                )
                found.append(image.top.document()["layers"])
        before, after = found
        assert before[2:] == after[2:]
        assert before[:2] != after[:2]

    def test_a_docker_base_has_ocis_types_and_the_same_bytes(
        self, registry: Registry, tmp_path: Path
    ) -> None:
        with hollow_base() as base:
            reference = base.push(registry, docker_format=True)
            copy = tmp_path / "docker"
            command = [tool("skopeo"), "inspect", "--raw", "--tls-verify=false"]
            command += [f"docker://{reference}"]
            raw = subprocess.run(command, check=True, capture_output=True).stdout
            listed = json.loads(raw)["manifests"][0]
            command[-1] = f"docker://{reference.rpartition(':')[0]}@{listed['digest']}"
            manifest = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        layers = [Descriptor.parse(layer) for layer in manifest["layers"]]
        adopted = [adopted_layer(layer) for layer in layers]
        assert {layer.media_type for layer in layers} == {
            "application/vnd.docker.image.rootfs.diff.tar.gzip"
        }
        assert {layer.media_type for layer in adopted} == {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        }
        assert [layer.digest for layer in adopted] == [layer.digest for layer in layers]
        assert not copy.exists()

    @pytest.mark.parametrize(
        "media_type",
        [
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/octet-stream",
            "",
        ],
    )
    def test_layers_that_may_not_be_copied_are_refused(self, media_type: str) -> None:
        layer = Descriptor(media_type=media_type, digest="sha256:" + "0" * 64, size=1)
        with pytest.raises(InvalidInput, match="base image"):
            adopted_layer(layer)

    def test_too_many_layers_are_refused_before_anything_is_linked(self, tmp_path: Path) -> None:
        with hollow_base(layers=124) as base:
            lock = base_lock(base, {"linux-64": packages_of(tmp_path, STUB)})
            with pytest.raises(InvalidInput, match="124 layers"):
                build_into(
                    tmp_path / "layouts", lock, cache=tmp_path / "cache", base=base_reader(base)
                )
            assert not (tmp_path / "cache").exists()

    def test_a_base_that_is_gone_says_what_to_do(self, tmp_path: Path) -> None:
        with hollow_base() as base:
            lock = base_lock(base, {"linux-64": packages_of(tmp_path, STUB)})
            lock = lock_of(
                lock.packages, image=lock.image.image, base={"linux-64": "sha256:" + "1" * 64}
            )
            with pytest.raises(InvalidInput) as refused:
                build_into(
                    tmp_path / "layouts", lock, cache=tmp_path / "cache", base=base_reader(base)
                )
        assert "envsync lock" in refused.value.hint

    def test_a_base_for_another_platform_is_refused(self) -> None:
        config = json.dumps(
            {"os": "linux", "architecture": "arm64", "rootfs": {"diff_ids": []}}
        ).encode()
        with pytest.raises(InvalidInput) as refused:
            parse_base_config(config, "linux-64", 0)
        assert "linux/arm64" in refused.value.detail

    @pytest.mark.parametrize(
        "change",
        [
            {"config": {"Env": [1]}},
            {"config": {"Env": 1}},
            {"config": {"Labels": ["a"]}},
            {"config": {"Entrypoint": [None]}},
            {"config": "text"},
            {"config": {"Healthcheck": {"Interval": 0.5}}},
            {"history": ["text"]},
            {"rootfs": None},
            {"rootfs": {"diff_ids": ["md5:0"]}},
        ],
    )
    def test_an_odd_config_is_refused_in_words(self, change: dict[str, Any]) -> None:
        document = {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"diff_ids": ["sha256:" + "2" * 64]},
            **change,
        }
        with pytest.raises(InvalidInput, match="base image's config"):
            parse_base_config(json.dumps(document).encode(), "linux-64", 1)

    def test_a_base_without_history_gets_one(self) -> None:
        config = json.dumps(
            {
                "os": "linux",
                "architecture": "amd64",
                "rootfs": {"diff_ids": ["sha256:" + "2" * 64]},
            }
        ).encode()
        found = parse_base_config(config, "linux-64", 1)
        assert len(found.history) == 1
        assert found.created == BaseConfig().created


def test_variables_keep_the_bases_order_and_the_specs_win() -> None:
    found = environment(["B=1", "PATH=/x", "A=2", "LANG=de_DE"], {"A": "3", "NEW": "=a=b"})
    assert found == [
        *("B=1", "PATH=/opt/env/bin:/x", "A=3", "LANG=de_DE"),
        *("CONDA_PREFIX=/opt/env", "CONDA_DEFAULT_ENV=/opt/env", "NEW==a=b"),
    ]


def test_user_and_variables_of_the_spec_stand_in_the_config(tmp_path: Path) -> None:
    lock = lock_of({"linux-64": packages_of(tmp_path, *some_packages())})
    image = build_into(
        tmp_path / "layouts",
        lock,
        cache=tmp_path / "cache",
        user="1000",
        environment_variables={"ENV_VARS_LEVEL": "9"},
    )
    config = config_of(image.top, tmp_path / "layouts")
    assert config["config"]["User"] == "1000"
    assert variables(config)["ENV_VARS_LEVEL"] == "9"


class TestPlatforms:
    def packages(self, folder: Path) -> dict[str, list[LockedPackage]]:
        shared = made("shared", text("share/shared.txt", "the same everywhere\n"))
        found = {}
        for platform in ("linux-64", "linux-aarch64"):
            own = replace(
                made("own", text("share/own.txt", platform)), subdir=platform, noarch=None
            )
            archives = [write_package(package, folder / "channel") for package in (shared, own)]
            found[platform] = [locked(archive, platform) for archive in archives]
        return found

    def test_an_index_has_a_sorted_image_for_each(self, tmp_path: Path) -> None:
        layouts = tmp_path / "layouts"
        image = build_into(layouts, lock_of(self.packages(tmp_path)), cache=tmp_path / "cache")
        listed = image.top.document()["manifests"]
        assert [one["platform"]["architecture"] for one in listed] == ["amd64", "arm64"]
        assert [one["digest"] for one in listed] == [child.digest for child in image.children]
        assert (
            image.top.document()["annotations"]["io.envsync.definition-hash"]
            == image.definition.hash
        )
        for child, platform in zip(image.children, ("linux-64", "linux-aarch64"), strict=True):
            tree = prefix_of(file_system(child, layouts))
            assert tree["share/own.txt"].sha256 == hashlib.sha256(platform.encode()).hexdigest()

    def test_noarch_packages_are_one_blob(self, tmp_path: Path) -> None:
        image = build_into(
            tmp_path / "layouts", lock_of(self.packages(tmp_path)), cache=tmp_path / "cache"
        )
        one, two = (
            {layer["digest"] for layer in child.document()["layers"]} for child in image.children
        )
        assert len(one & two) == 1
        assert len({blob.descriptor.digest for blob in image.blobs}) == len(image.blobs)

    def test_adding_a_platform_leaves_the_others_image(self, tmp_path: Path) -> None:
        packages = self.packages(tmp_path)
        cache = tmp_path / "cache"
        both = build_into(tmp_path / "a" / "layouts", lock_of(packages), cache=cache)
        alone = build_into(
            tmp_path / "b" / "layouts",
            lock_of({"linux-aarch64": packages["linux-aarch64"]}),
            cache=cache,
        )
        assert both.children[1] == alone.top

    def test_skopeo_and_umoci_take_both(self, tmp_path: Path) -> None:
        layouts = tmp_path / "layouts"
        image = build_into(layouts, lock_of(self.packages(tmp_path)), cache=tmp_path / "cache")
        source = f"oci:{layouts / REPOSITORY}:1"
        for architecture, child in zip(("amd64", "arm64"), image.children, strict=True):
            copy = tmp_path / architecture
            options = ["--insecure-policy", f"--override-arch={architecture}"]
            command = [tool("skopeo"), *options, "copy", "--quiet", source, f"oci:{copy}:1"]
            subprocess.run(command, check=True, capture_output=True)
            bundle = tmp_path / f"bundle-{architecture}"
            command = [tool("umoci"), "unpack", "--image", f"{copy}:1", str(bundle)]
            subprocess.run(command, check=True, capture_output=True)
            assert walk(bundle / "rootfs" / ROOT) == prefix_of(file_system(child, layouts))

    def test_python_for_another_processor_is_linked_without_running_it(
        self, two_platform_channel: Path, tmp_path: Path, package_cache: Path
    ) -> None:
        folder = two_platform_channel / "linux-aarch64"
        python = [locked(path, "linux-aarch64") for path in sorted(folder.glob("python-3*"))]
        click = [
            locked(path, "linux-aarch64")
            for path in sorted((two_platform_channel / "noarch").glob("flask-*"))[:1]
        ]
        layouts = tmp_path / "layouts"
        image = build_into(
            layouts, lock_of({"linux-aarch64": [*python, *click]}), cache=package_cache
        )
        tree = prefix_of(file_system(image.top, layouts))
        assert "bin/flask" in tree
        assert "lib/python3.11/site-packages/flask/__init__.py" in tree


def layered(
    packages: Sequence[LockedPackage],
    count: int,
    folder: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Node]:
    """Return the file system of *packages* in at most *count* layers."""
    monkeypatch.setattr("envsync.operations.build.package_layers", lambda _: count)
    layouts = folder / str(count) / "layouts"
    image = build_into(layouts, lock_of({"linux-64": packages}), cache=cache)
    assert len(image.top.document()["layers"]) <= count + 1
    return file_system(image.top, layouts)


def test_any_number_of_layers_gives_the_same_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = packages_of(tmp_path, *some_packages())
    found = [
        layered(packages, k, tmp_path / "b", tmp_path / "cache", monkeypatch)
        for k in (1, 2, 3, 5, 50)
    ]
    assert all(tree == found[0] for tree in found)
    assert len(found[0]) > 20


def test_the_order_of_a_lock_changes_nothing(tmp_path: Path) -> None:
    packages = packages_of(tmp_path, *some_packages())
    images = [
        build_into(
            tmp_path / str(number) / "layouts",
            lock_of({"linux-64": order}),
            cache=tmp_path / "cache",
        )
        for number, order in enumerate((packages, packages[::-1]))
    ]
    assert images[0].top == images[1].top


def test_one_changed_package_is_one_changed_layer_and_the_top(tmp_path: Path) -> None:
    stay = [made(f"stay-{n}", text(f"share/{n}", "x" * n)) for n in range(5)]
    images = []
    for version in ("1.0", "2.0"):
        change = made("change", text("share/change", version), version=version)
        lock = lock_of({"linux-64": packages_of(tmp_path, *stay, change)})
        images.append(build_into(tmp_path / version / "layouts", lock, cache=tmp_path / "cache"))
    one, two = ({layer["digest"] for layer in image.top.document()["layers"]} for image in images)
    assert len(one) == len(two) == 7
    assert len(two - one) == 2


def test_scripts_of_packages_are_refused_by_name_and_never_run(tmp_path: Path) -> None:
    lock = lock_of({"linux-64": packages_of(tmp_path, *with_scripts())})
    with pytest.raises(PolicyRefused) as refused:
        build_into(tmp_path / "layouts", lock, cache=tmp_path / "cache")
    assert "post-linked 1.0: bin/.post-linked-post-link.sh" in refused.value.detail
    layouts = tmp_path / "layouts"
    image = build_into(layouts, lock, cache=tmp_path / "cache", allow=["post-linked"])
    assert "share/post-linked.txt" not in prefix_of(file_system(image.top, layouts))


def test_a_lock_of_something_else_is_refused(tmp_path: Path) -> None:
    packages = packages_of(tmp_path, STUB, linked())
    definition = definition_of(lock_of({"linux-64": packages}))
    other = lock_of({"linux-64": packages[:1]})
    with (
        pytest.raises(LockStale),
        BuildFolder(tmp_path / "b") as workspace,
        bench(tmp_path / "c") as tools,
    ):
        build(definition, other, tools, None, workspace, Silent())


def test_changed_bytes_are_told_with_the_packages_name(tmp_path: Path) -> None:
    (package,) = packages_of(tmp_path, linked())
    lock = lock_of({"linux-64": [replace(package, sha256="0" * 64)]})
    with pytest.raises(InvalidInput, match=r"linked 1\.0 is not what the lock says"):
        build_into(tmp_path / "layouts", lock, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/noarch/linked-1.0-0.conda", "file:///no/noarch/linked-1.0-0.conda"]
)
def test_a_package_that_cannot_be_had_is_unavailable(url: str, tmp_path: Path) -> None:
    (package,) = packages_of(tmp_path, linked())
    lock = lock_of({"linux-64": [replace(package, url=url)]})
    with pytest.raises(Unavailable, match=r"linked 1\.0 cannot be fetched"):
        build_into(tmp_path / "layouts", lock, cache=tmp_path / "cache")


@pytest.mark.parametrize("kind", ["segments", "inventories", "layers"])
def test_a_damaged_cache_changes_nothing(kind: str, tmp_path: Path) -> None:
    packages = packages_of(tmp_path, STUB, linked(), prefixed())
    cache, lock = tmp_path / "cache", lock_of({"linux-64": packages})
    first = build_into(tmp_path / "a" / "layouts", lock, cache=cache)
    victims = [file for file in (cache / kind).rglob("*") if file.is_file()]
    assert victims
    for file in victims:
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 1
        file.write_bytes(raw)
    again = build_into(tmp_path / "b" / "layouts", lock, cache=cache)
    assert again.top == first.top


def test_a_damaged_archive_is_noticed(tmp_path: Path) -> None:
    packages = packages_of(tmp_path, linked())
    archive = next((tmp_path / "channel").rglob("linked-*"))
    with archive.open("r+b") as file:
        file.seek(archive.stat().st_size // 2)
        file.write(b"damaged")
    with pytest.raises(InvalidInput, match=r"linked 1\.0 is not what the lock says"):
        build_into(tmp_path / "layouts", lock_of({"linux-64": packages}), cache=tmp_path / "cache")


def test_packages_come_over_http_too(
    channel_server: FileServer, channel: Path, tmp_path: Path
) -> None:
    archive = next((channel / "noarch").glob("generic-data-2.0-*"))
    package = replace(locked(archive), url=f"{channel_server.url('main')}/noarch/{archive.name}")
    local = build_into(
        tmp_path / "a" / "layouts", lock_of({"linux-64": [locked(archive)]}), cache=tmp_path / "c1"
    )
    remote = build_into(
        tmp_path / "b" / "layouts", lock_of({"linux-64": [package]}), cache=tmp_path / "c2"
    )
    assert local.top == remote.top


def test_a_prefix_in_a_file_that_rattler_cannot_see_is_noticed(tmp_path: Path) -> None:
    # A placeholder in a text file is replaced; the image must have none left.
    packages = packages_of(tmp_path, STUB, prefixed())
    layouts = tmp_path / "layouts"
    image = build_into(layouts, lock_of({"linux-64": packages}), cache=tmp_path / "cache")
    forbidden = (b"/placeholder_", str(tmp_path).encode())
    for layer in image.top.document()["layers"]:
        data = gunzip(reader(layouts)(Descriptor.parse(layer)))
        for member in members(data, forbidden):
            if not member.path.startswith("opt/env/conda-meta/"):
                assert member.leftovers == ()


def test_two_names_for_one_file_keep_their_number_of_bytes_small(tmp_path: Path) -> None:
    data = hashlib.shake_128(b"noise").digest(200_000)
    package = replace(
        made("big", File(path="share/a", data=data), HardLink(path="share/b", source="share/a")),
        subdir="linux-64",
        noarch=None,
    )
    image = build_into(
        tmp_path / "layouts",
        lock_of({"linux-64": packages_of(tmp_path, package)}),
        cache=tmp_path / "cache",
    )
    assert image.top.document()["layers"][0]["size"] < 210_000


# -- in an engine ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(
    channel: Path,
    debian_base: BaseImage,
    engine: Engine,
    shared_registry: Registry,
    package_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The reference of a pulled image with python, numpy, pandas, scikit-learn and activation."""
    from tests.test_fidelity import newest

    wanted = {"activated", "env-vars", "prefixed"}
    science = {"numpy", "pandas", "scikit-learn", "scipy", "joblib", "threadpoolctl", "pytz"}
    science |= {"python-dateutil", "tzdata", "six", "python_abi"}
    libraries = {path.name.rsplit("-", 2)[0] for path in (channel / "linux-64").glob("*.conda")}
    libraries = {name for name in libraries if name.startswith("lib")} | {
        *("python", "openssl", "bzip2", "ncurses", "readline")
    }
    found = [p for p in newest(channel) if p.name in wanted | science | libraries]
    archive = next((channel / "linux-64").glob("numpy-1.26*"))
    found = [p if p.name != "numpy" else locked(archive) for p in found]
    folder = tmp_path_factory.mktemp("running")
    lock = base_lock(debian_base, {"linux-64": found})
    build_into(folder / "layouts", lock, cache=package_cache, base=base_reader(debian_base))
    reference = f"{shared_registry.host}/built/{uuid.uuid4().hex[:8]}:1"
    command = [tool("skopeo"), "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
    command += [f"oci:{folder / 'layouts' / REPOSITORY}:1", f"docker://{reference}"]
    subprocess.run(command, check=True, capture_output=True)
    engine.docker("pull", "--quiet", reference)
    return reference


def run(engine: Engine, image: str, *command: str) -> str:
    return engine.docker("run", "--rm", "--network=none", image, *command).strip()


def test_an_engine_runs_python_with_its_packages(engine: Engine, running: str) -> None:
    script = "import numpy, pandas, sklearn; print(pandas.DataFrame(numpy.eye(3)).sum().sum())"
    assert run(engine, running, "python", "-c", script) == "3.0"


def test_activation_scripts_ran(engine: Engine, running: str) -> None:
    script = "import os; print(os.environ['ACTIVATED_HOME'], os.environ['ENV_VARS_LEVEL'])"
    assert run(engine, running, "python", "-c", script) == "/opt/env/share/activated 3"


def test_shell_commands_and_their_quoting_arrive_as_they_are(engine: Engine, running: str) -> None:
    assert run(engine, running, "/bin/sh", "-c", 'echo "$0|$1|$2"', "a b", "*", "c'd\"e") == (
        "a b|*|c'd\"e"
    )


def test_the_program_is_process_one_and_its_exit_code_is_the_containers(
    engine: Engine, running: str
) -> None:
    assert run(engine, running, "python", "-c", "import os; print(os.getpid())") == "1"
    with pytest.raises(RuntimeError, match="ended with 7"):
        run(engine, running, "python", "-c", "raise SystemExit(7)")


def test_programs_with_the_prefix_in_them_run(engine: Engine, running: str) -> None:
    assert run(engine, running, "prefixed-sh") == "found by its prefix"
    assert run(engine, running, "prefixed-py") == "/opt/env/share/prefixed"


def test_the_bases_command_stays(engine: Engine, running: str) -> None:
    (found,) = json.loads(engine.docker("image", "inspect", running))
    assert found["Config"]["Cmd"] == ["/bin/bash"]
    assert found["Config"]["Entrypoint"] == ["/opt/env/.envsync/entrypoint"]

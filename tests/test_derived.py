"""Environments as bases of others: of this repository, and of registries that the settings name."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import Any

import pytest
import yaml

from envsync.model.reading import Present
from envsync.oci.descriptor import Descriptor
from tests.parts.baseimage import BaseImage
from tests.parts.engine import Engine
from tests.registry.images import image
from tests.team import Team


def lock_of(team: Team, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((team.root / f"locks/{name}/image.yaml").read_text())
    return found


def document(team: Team, name: str, digest: str) -> dict[str, Any]:
    with team.reader() as reader:
        found = reader.manifest(team.place(name), digest)
    assert isinstance(found, Present)
    parsed: dict[str, Any] = found.value.document()
    return parsed


def blob(team: Team, name: str, described: dict[str, Any]) -> bytes:
    with (
        team.reader() as reader,
        reader.blob(team.place(name), Descriptor.parse(described)) as chunks,
    ):
        return b"".join(chunks)


def files(team: Team, name: str, digest: str) -> set[str]:
    """Return the files that a container of the image has, as the image specification says it."""
    found = set[str]()
    for layer in document(team, name, digest)["layers"]:
        data = gzip.decompress(blob(team, name, layer))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            names = [m.name for m in archive if not m.isdir()]
        for path in names:
            folder, _, last = path.rpartition("/")
            if last == ".wh..wh..opq":
                found = {one for one in found if not one.startswith(f"{folder}/")}
        found |= {path for path in names if ".wh." not in path}
    return found


def config(team: Team, name: str, digest: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(blob(team, name, document(team, name, digest)["config"]))[
        "config"
    ]
    return parsed


def packages(paths: set[str]) -> set[str]:
    """Return the conda packages of an image."""
    meta = "opt/env/conda-meta/"
    return {path.removeprefix(meta)[:10] for path in paths if path.endswith(".json")}


def locked(team: Team, name: str) -> set[str]:
    """Return the conda packages that an environment is locked to."""
    text = (team.root / f"locks/{name}/conda-lock.yml").read_text()
    return {package["name"] for package in yaml.safe_load(text)["package"]}


def made(team: Team, name: str) -> str:
    done = team.envsync("apply", name)
    assert done.code == 0, done.err
    assert team.envsync("plan", name, "--detailed-exitcode").code == 0
    team.check(name)
    return team.records(name)[-1].digest


def test_an_environment_is_built_on_a_recorded_version_of_another(team: Team) -> None:
    team.ask("base", "tiny-00007", text="envsync:\n  environment_variables: {STAGE: base}\n")
    base = made(team, "base")
    team.ask("train", "tiny-00002", image="azureml:base:1")
    digest = made(team, "train")
    lock = lock_of(team, "train")
    assert (lock["image"], lock["digest"]) == ("azureml:base:1", base)
    assert team.records("train")[-1].base_digest == base
    assert packages(files(team, "base", base)) == locked(team, "base")
    assert packages(files(team, "train", digest)) == locked(team, "train"), "not a mix of both"
    assert not locked(team, "base") <= locked(team, "train")
    variables = config(team, "train", digest)["Env"]
    assert "STAGE=base" in variables
    (path,) = (item for item in variables if item.startswith("PATH="))
    assert path.count("/opt/env/bin") == 1


def test_a_chain_of_environments_is_built_one_on_another(folder_team: Team) -> None:
    team, below = folder_team, "scratch"
    for number, name in enumerate(("one", "two", "three"), start=1):
        team.ask(name, f"tiny-0000{9 - number}", image=below)
        digest = made(team, name)
        assert packages(files(team, name, digest)) == locked(team, name)
        below = f"azureml:{name}@latest"
    layers = [len(document(team, n, team.records(n)[-1].digest)["layers"]) for n in ("one", "two")]
    assert layers[0] < layers[1]
    again = team.records("three")[-1].digest
    team.wipe_registry()
    assert team.envsync("apply", "one").code == 0
    assert team.envsync("apply", "two").code == 0
    assert team.envsync("apply", "three").code == 0
    assert team.tags("three")["1"] == again


def test_latest_is_what_it_was_when_it_was_locked_until_an_upgrade(folder_team: Team) -> None:
    team = folder_team
    team.ask("base", "tiny-00001")
    first = made(team, "base")
    team.ask("train", "tiny-00005", image="azureml:base@latest")
    assert lock_of(team, "train")["digest"] == first
    made(team, "train")
    team.ask("base", "tiny-00002")
    second = made(team, "base")
    assert team.envsync("lock", "--check").code == 0
    assert team.envsync("lock", "train").code == 0
    assert lock_of(team, "train")["digest"] == first
    assert team.envsync("plan", "train", "--detailed-exitcode").code == 0
    assert team.envsync("archive", "base:2").code == 0
    assert team.envsync("lock", "--upgrade", "--", "train").code == 0
    assert lock_of(team, "train")["digest"] == first, "an archived version is not latest"
    assert team.envsync("restore", "base:2").code == 0
    assert team.envsync("lock", "--upgrade", "--", "train").code == 0
    assert lock_of(team, "train")["digest"] == second
    team.repository.commit("newer base")
    made(team, "train")
    assert team.versions("train") == ["1", "2"]


def test_an_archived_version_can_still_be_built_on(folder_team: Team) -> None:
    folder_team.ask("base", "tiny-00001")
    made(folder_team, "base")
    assert folder_team.envsync("archive", "base").code == 0
    folder_team.ask("train", "tiny-00002", image="azureml:base:1")
    made(folder_team, "train")


def test_an_environment_that_is_only_an_image_is_built_on_where_it_is(
    server_team: Team, busybox_base: BaseImage
) -> None:
    team = server_team
    assert team.registry is not None
    reference = busybox_base.push(team.registry)
    team.ask("approved", image=reference)
    digest = made(team, "approved")
    team.ask("train", "tiny-00002", image="azureml:approved:1")
    place = reference.rpartition(":")[0]
    assert lock_of(team, "train")["source"] == f"{place}@{digest}"
    found = files(team, "train", made(team, "train"))
    assert "bin/busybox" in found
    assert packages(found) == locked(team, "train")


def test_an_environment_alone_can_be_the_image_of_another(server_team: Team) -> None:
    team = server_team
    team.ask("base", "tiny-00001")
    digest = made(team, "base")
    team.ask("alias", image="azureml:base:1")
    assert made(team, "alias") == digest
    assert team.registry is not None
    shown = team.envsync("show", "alias", "--format", "json").json
    assert shown["image"] == f"{team.registry.host}/team/envs/base:1@{digest}"


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("azureml:nobody:1", "There is no environment 'nobody'"),
        ("azureml:bsae:1", "Did you mean: base?"),
        ("azureml:base:7", "base has no version 7"),
        ("azureml:fresh:1", "fresh has no version yet"),
        ("azureml://registries/elsewhere/environments/x/versions/1", "elsewhere: host/namespace"),
    ],
)
def test_a_base_that_is_not_there_is_refused_when_it_is_locked(
    folder_team: Team, base: str, words: str
) -> None:
    folder_team.ask("base", "tiny-00001")
    made(folder_team, "base")
    folder_team.spec("fresh", "tiny-00003")
    folder_team.spec("train", "tiny-00002", image=base)
    done = folder_team.envsync("lock", "train")
    assert (done.code, words in done.err + done.out) == (6, True), done.err + done.out
    assert not (folder_team.root / "locks/train").exists()


# ---- curated environments: of a registry that the settings name ----


@pytest.fixture
def curated(server_team: Team) -> Team:
    """A team that uses environments of a namespace `curated` of its registry."""
    registry = server_team.registry
    assert registry is not None
    server_team.settings(f"registries:\n  azureml: {registry.host}/curated\n")
    server_team.repository.commit("curated environments")
    with server_team.reader() as reader:
        image("sklearn").put(reader, "curated/sklearn-1.5", "3", "latest")
        image("acpt").put(reader, "curated/azureml-acpt", "1")
    return server_team


@pytest.mark.parametrize(
    ("name", "place", "text"),
    [
        ("sklearn-1.5/versions/3", "sklearn-1.5:3", "sklearn"),
        ("sklearn-1.5/labels/latest", "sklearn-1.5:latest", "sklearn"),
        ("AzureML-acpt/versions/1", "azureml-acpt:1", "acpt"),
    ],
)
@pytest.mark.parametrize("word", ["environment", "environments"])
def test_a_curated_environment_is_built_on_where_the_settings_say_it_stands(
    curated: Team, name: str, place: str, text: str, word: str
) -> None:
    assert curated.registry is not None
    reference = f"azureml://registries/azureml/{word}/{name}"
    curated.ask("train", "tiny-00002", image=reference)
    lock = lock_of(curated, "train")
    assert lock["image"] == reference
    assert lock["source"] == f"{curated.registry.host}/curated/{place}"
    assert lock["digest"] == image(text).manifest.digest
    found = files(curated, "train", made(curated, "train"))
    assert "hello" in found
    assert packages(found) == locked(curated, "train")


def test_a_curated_environment_that_moved_is_taken_in_by_an_upgrade_only(curated: Team) -> None:
    reference = "azureml://registries/azureml/environments/sklearn-1.5/labels/latest"
    curated.ask("train", "tiny-00002", image=reference)
    made(curated, "train")
    with curated.reader() as reader:
        image("newer").put(reader, "curated/sklearn-1.5", "4", "latest")
    assert curated.envsync("lock", "--check").code == 0
    assert curated.envsync("plan", "--detailed-exitcode").code == 0
    assert curated.envsync("lock", "--upgrade").code == 0
    assert lock_of(curated, "train")["digest"] == image("newer").manifest.digest


def test_a_curated_environment_that_is_not_there_is_told_with_where_it_was_looked_for(
    curated: Team,
) -> None:
    reference = "azureml://registries/azureml/environments/sklearn-1.5/versions/9"
    curated.spec("train", "tiny-00002", image=reference)
    done = curated.envsync("lock", "train")
    assert done.code == 6
    assert "curated/sklearn-1.5:9" in done.out + done.err


def test_a_curated_name_can_be_used_and_not_defined(curated: Team) -> None:
    curated.spec("AzureML-mine", "tiny-00001")
    done = curated.envsync("validate")
    assert (done.code, "reserved for Azure ML" in done.out) == (6, True)


def test_a_container_of_a_derived_environment_has_that_environment_only(
    server_team: Team, engine: Engine, busybox_base: BaseImage
) -> None:
    team = server_team
    assert team.registry is not None
    team.ask("base", "tiny-00007", image=busybox_base.push(team.registry))
    made(team, "base")
    team.ask("train", "tiny-00002", image="azureml:base:1")
    made(team, "train")
    where = f"{team.registry.host}/team/envs/train:1"
    listed = engine.docker("run", "--rm", where, "ls", "/opt/env/conda-meta").split()
    assert {name[:10] for name in listed if name.endswith(".json")} == locked(team, "train")

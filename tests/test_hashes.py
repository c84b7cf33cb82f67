"""Request hash and definition hash: what moves them, what does not, and their golden values.

Every field of every value that could be hashed is named below as moving the hash or not. A field
that is added to one of the values fails a test here until somebody decides.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envsync.adapters.files.strict_yaml import parse_document
from envsync.model.config import Config
from envsync.model.definition import (
    BuildDefinition,
    Definition,
    PackageIdentity,
    PlatformDefinition,
    definition_of,
)
from envsync.model.lock import BasePlatform, ImageLock, Lock, LockedPackage
from envsync.model.policy import Policy
from envsync.model.reconcile import Reconcile
from envsync.model.request import request_hash
from envsync.model.spec import (
    BuildContext,
    CondaFile,
    InferenceConfig,
    Route,
    Settings,
    Spec,
)
from envsync.operations.load import load_environment
from tests.memory_tree import MemoryTree

SPEC = Spec(
    name="train",
    path="environments/train/environment.yaml",
    image="docker.io/library/debian:12-slim",
    conda=CondaFile(
        channels=("conda-forge", "bioconda"),
        dependencies=("python=3.11", "numpy>=1,<2"),
        pip=("flask==3.0", "requests"),
        pip_constraints=("urllib3<3", "idna<4"),
        wheels={"./wheels/a-1-py3-none-any.whl": "ab" * 32},
        variables={"MODE": "fast"},
        path="environments/train/conda.yaml",
    ),
    settings=Settings(virtual_packages={"__cuda": "12.4"}),
)
CONFIG = Config()
CONDA = SPEC.conda or CondaFile()
ROUTE = Route(port=5001, path="/")


def package(name: str, **changes: str) -> LockedPackage:
    return dataclasses.replace(
        LockedPackage(
            manager="conda",
            name=name,
            version="1.0",
            build="py_0",
            platform="linux-64",
            url=f"https://conda.anaconda.org/conda-forge/noarch/{name}-1.0-py_0.conda",
            sha256="0a" * 32,
            md5="0b" * 16,
            depends={"python": ">=3.8"},
        ),
        **changes,  # type: ignore[arg-type]
    )


LOCK = Lock(
    image=ImageLock(
        request="1" * 64,
        image="docker.io/library/debian:12-slim",
        digest=f"sha256:{'2' * 64}",
        platforms={"linux-64": BasePlatform(digest=f"sha256:{'3' * 64}", glibc="2.36")},
        sizes={"a-1.0-py_0.conda": 1000},
    ),
    packages={"linux-64": (package("a"), package("b"))},
    channels=("conda-forge",),
    sha256="4" * 64,
)


def definition_hash(spec: Spec = SPEC, lock: Lock = LOCK) -> str:
    return definition_of(spec, lock).hash


def with_conda(**changes: Any) -> Spec:
    return dataclasses.replace(SPEC, conda=dataclasses.replace(CONDA, **changes))


def with_settings(**changes: Any) -> Spec:
    return dataclasses.replace(SPEC, settings=dataclasses.replace(SPEC.settings, **changes))


# ---- golden values: they change only together with the format numbers ----


def test_the_request_hash_of_a_known_spec_is_this() -> None:
    assert request_hash(SPEC, CONFIG) == (
        "6d6cabcd463ccb90e0d1dbc3bcac0a3b26cf9ed04d2527f5e28facfd1c725660"
    )


def test_the_request_hash_of_an_image_is_this() -> None:
    spec = Spec(name="x", path="p", image="ubuntu:24.04")
    assert request_hash(spec, CONFIG) == (
        "e6166166fcbedf308efc5fe3672a52800b692b180a95061c3b6a336e1655f873"
    )


def test_the_definition_hash_of_a_known_lock_is_this() -> None:
    assert definition_hash() == ("f249b2e6b67841a7f7e390fa83a5e11377a7ad86824137186f758188644fc624")


def test_the_definition_hash_of_an_image_is_that_of_its_digest() -> None:
    spec = Spec(name="x", path="p", image="ubuntu:24.04")
    assert definition_of(spec, LOCK).document() == {
        "kind": "image",
        "format": 2,
        "platforms": {},
        "environment_variables": {},
        "user": "",
        "image_digest": f"sha256:{'2' * 64}",
    }
    assert definition_hash(spec) == (
        "f8a262b5d1251618e0eda0236f295db9de52471e790f9441e1deddad8b9069dc"
    )


# ---- the request hash, field by field ----

SPEC_FIELDS: dict[str, tuple[Any, bool]] = {
    "name": ("other", False),
    "path": ("environments/other/environment.yaml", False),
    "version": ("7", False),
    "description": ("Other words", False),
    "tags": ({"a": "b"}, False),
    "image": ("docker.io/library/debian:13-slim", True),
    "conda": (dataclasses.replace(CONDA, dependencies=("python=3.12",)), True),
    "build": (BuildContext(path="docker"), True),
    "os_type": ("windows", True),
    "inference_config": (
        InferenceConfig(liveness_route=ROUTE, readiness_route=ROUTE, scoring_route=ROUTE),
        False,
    ),
    "settings": (Settings(), True),
}
CONDA_FIELDS: dict[str, tuple[Any, bool]] = {
    "channels": (("bioconda", "conda-forge"), True),
    "nodefaults": (True, True),
    "dependencies": (("numpy>=1,<2", "python=3.11"), True),
    "pip": (("requests", "flask==3.0"), True),
    "pip_constraints": (("idna<4", "urllib3<3"), True),
    "wheels": ({"./wheels/a-1-py3-none-any.whl": "cd" * 32}, True),
    "variables": ({"MODE": "slow"}, False),
    "path": ("shared/conda.yaml", False),
}
SETTINGS_FIELDS: dict[str, tuple[Any, bool]] = {
    "platforms": (("linux-64", "linux-aarch64"), False),
    "virtual_packages": ({"__cuda": "11.8"}, True),
    "environment_variables": ({"MODE": "slow"}, False),
    "user": ("app", False),
    # Only where there is a Dockerfile; tests/test_build_context.py.
    "build_arguments": ({"A": "b"}, False),
    "build_secrets": (("TOKEN",), False),
    "build_timeout": (60, False),
    "setup": ("echo ready", False),
    # Only where the image is somebody else's; the test below.
    "interpreter_path": ("/usr/bin/python3", False),
}
CONFIG_FIELDS: dict[str, tuple[Any, bool]] = {
    "registry": ("ghcr.io/team", False),
    "platforms": (("linux-aarch64",), False),
    # Only where the conda file names none; the test below.
    "channels": (("other",), False),
    "remote": ("upstream", False),
    "copy_images": (True, False),
    "allow_link_scripts": (("x",), False),
    "registries": ({"azureml": "localhost:5000/curated"}, False),
    "compression": ("zstd", False),
    "referrers": (False, False),
    "policy": (Policy(own_registry="ghcr.io/team"), False),
    "reconcile": (Reconcile(branch="release"), False),
}


@pytest.mark.parametrize(
    ("value", "decided"),
    [
        (Spec, SPEC_FIELDS),
        (CondaFile, CONDA_FIELDS),
        (Settings, SETTINGS_FIELDS),
        (Config, CONFIG_FIELDS),
    ],
)
def test_every_field_is_decided_to_move_the_request_hash_or_not(
    value: type, decided: dict[str, tuple[Any, bool]]
) -> None:
    assert {field.name for field in dataclasses.fields(value)} == set(decided)


@pytest.mark.parametrize("field", SPEC_FIELDS)
def test_the_request_hash_is_moved_by_what_decides_the_solve(field: str) -> None:
    changed, moves = SPEC_FIELDS[field]
    spec = dataclasses.replace(SPEC, **{field: changed})
    assert getattr(spec, field) != getattr(SPEC, field)
    assert (request_hash(spec, CONFIG) != request_hash(SPEC, CONFIG)) == moves


@pytest.mark.parametrize("field", CONDA_FIELDS)
def test_the_request_hash_is_moved_by_the_conda_file_and_its_order(field: str) -> None:
    changed, moves = CONDA_FIELDS[field]
    assert changed != getattr(CONDA, field)
    spec = with_conda(**{field: changed})
    assert (request_hash(spec, CONFIG) != request_hash(SPEC, CONFIG)) == moves


@pytest.mark.parametrize("field", SETTINGS_FIELDS)
def test_the_request_hash_is_moved_by_virtual_packages_alone(field: str) -> None:
    changed, moves = SETTINGS_FIELDS[field]
    assert changed != getattr(SPEC.settings, field)
    spec = with_settings(**{field: changed})
    assert (request_hash(spec, CONFIG) != request_hash(SPEC, CONFIG)) == moves


@pytest.mark.parametrize("field", CONFIG_FIELDS)
def test_the_request_hash_is_not_moved_by_settings_of_the_repository(field: str) -> None:
    changed, moves = CONFIG_FIELDS[field]
    assert changed != getattr(CONFIG, field)
    config = dataclasses.replace(CONFIG, **{field: changed})
    assert (request_hash(SPEC, config) != request_hash(SPEC, CONFIG)) == moves


def test_default_channels_move_the_request_hash_of_a_conda_file_that_names_none() -> None:
    bare = with_conda(channels=())
    other = dataclasses.replace(CONFIG, channels=("other",))
    assert request_hash(bare, CONFIG) != request_hash(bare, other)
    written = with_conda(channels=CONFIG.channels)
    assert request_hash(bare, CONFIG) == request_hash(written, CONFIG)


# ---- the request hash, from text ----

TEXT = """\
name: train
version: 1
description: One
tags: {a: b}
image: debian:12-slim
conda_file:
  channels: [conda-forge, bioconda]
  dependencies:
    - python=3.11
    - numpy >=1, <2
    - pip:
        - flask == 3.0
        - requests
"""


def hash_of(text: str, name: str = "train") -> str:
    tree = MemoryTree({f"environments/{name}/environment.yaml": text})
    return request_hash(load_environment(tree, parse_document, name), CONFIG)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("name: train\n", ""),
        ("version: 1\n", "version: 2.0\n"),
        ("description: One\n", ""),
        ("tags: {a: b}\n", "tags:\n  a: c\n  d: e\n"),
        ("image: debian:12-slim\n", "# why\nimage:   'debian:12-slim'  # because\n"),
        ("[conda-forge, bioconda]", '\n    - "conda-forge"\n    - bioconda'),
        ("numpy >=1, <2", "numpy>=1,<2"),
        ("numpy >=1, <2", "'  numpy   >= 1 ,<  2 '"),
        ("flask == 3.0", "flask==3.0  # pinned"),
        ("conda_file:\n", "conda_file:\n  name: anything\n  prefix: /home/me/x\n"),
        ("conda_file:\n", "conda_file:\n  variables: {A: b}\n"),
        ("image:", "envsync: {platforms: [linux-aarch64], user: app}\nimage:"),
        ("image:", "os_type: Linux\ndatastore: x\nproperties: {a: b}\nimage:"),
        ("\n", "\r\n"),
    ],
)
def test_wording_does_not_move_the_request_hash(before: str, after: str) -> None:
    assert before in TEXT
    assert hash_of(TEXT.replace(before, after)) == hash_of(TEXT)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("debian:12-slim", "debian:12"),
        ("debian:12-slim", "docker.io/library/debian:12-slim"),
        ("[conda-forge, bioconda]", "[bioconda, conda-forge]"),
        ("[conda-forge, bioconda]", "[conda-forge]"),
        ("[conda-forge, bioconda]", "[conda-forge, bioconda, nodefaults]"),
        ("python=3.11", "python=3.12"),
        ("python=3.11", "python==3.11"),
        ("python=3.11", "python 3.11"),
        ("python=3.11", "python=3.10"),
        ("    - python=3.11\n    - numpy >=1, <2\n", "    - numpy >=1, <2\n    - python=3.11\n"),
        ("    - numpy >=1, <2\n", ""),
        ("flask == 3.0", "flask == 3.1"),
        ("- flask == 3.0\n        - requests\n", "- requests\n        - flask == 3.0\n"),
        ("image:", "envsync: {virtual_packages: {__cuda: 12}}\nimage:"),
        ("image:", "os_type: windows\nimage:"),
    ],
)  # fmt: skip
def test_what_is_asked_for_moves_the_request_hash(before: str, after: str) -> None:
    assert before in TEXT
    assert hash_of(TEXT.replace(before, after)) != hash_of(TEXT)


def test_two_names_with_the_same_content_share_a_request_hash() -> None:
    assert hash_of(TEXT.replace("name: train\n", ""), "other") == hash_of(TEXT)


def test_a_conda_file_may_move_into_a_file_of_its_own() -> None:
    head, _, inline = TEXT.partition("conda_file:\n")
    tree = MemoryTree(
        {
            "environments/train/environment.yaml": f"{head}conda_file: conda.yaml\n",
            "environments/train/conda.yaml": inline.replace("\n  ", "\n").removeprefix("  "),
        }
    )
    spec = load_environment(tree, parse_document, "train")
    assert request_hash(spec, CONFIG) == hash_of(TEXT)


def test_requirements_may_move_into_a_file_and_their_content_counts() -> None:
    def moved(requirements: str) -> str:
        text = TEXT.replace("        - flask == 3.0\n        - requests\n", "        - -r r.txt\n")
        tree = MemoryTree(
            {
                "environments/train/environment.yaml": text,
                "environments/train/r.txt": requirements,
            }
        )
        return request_hash(load_environment(tree, parse_document, "train"), CONFIG)

    assert moved("# a comment\nflask == 3.0\nrequests\n") == hash_of(TEXT)
    assert moved("flask == 3.1\nrequests\n") != hash_of(TEXT)


def test_another_wheel_at_the_same_path_moves_the_request_hash() -> None:
    def with_wheel(content: bytes) -> str:
        tree = MemoryTree(
            {
                "environments/train/environment.yaml": "image: scratch\nconda_file:\n"
                "  dependencies: [{pip: [./a-1-py3-none-any.whl]}]\n",
                "environments/train/a-1-py3-none-any.whl": content,
            }
        )
        return request_hash(load_environment(tree, parse_document, "train"), CONFIG)

    assert with_wheel(b"PK one") != with_wheel(b"PK two")


# ---- the definition hash, field by field ----

PACKAGE_FIELDS: dict[str, tuple[Any, bool]] = {
    "manager": ("pip", True),
    "name": ("z", True),
    "version": ("1.1", True),
    "platform": ("linux-aarch64", False),
    "url": ("https://mirror.example/conda-forge/noarch/a-1.0-py_0.conda", False),
    "sha256": ("0c" * 32, True),
    "md5": ("", False),
    "build": ("py_1", True),
    "depends": ({}, False),
}
IDENTITY_FIELDS: dict[str, Any] = {
    "manager": "pip",
    "name": "z",
    "version": "2",
    "build": "z",
    "subdir": "linux-64",
    "sha256": "1d" * 32,
}
IMAGE_FIELDS: dict[str, tuple[Any, bool]] = {
    "request": ("9" * 64, False),
    "image": ("mirror.example/debian:12-slim", False),
    "digest": (f"sha256:{'8' * 64}", False),
    "platforms": ({"linux-64": BasePlatform(digest=f"sha256:{'7' * 64}")}, True),
    "sizes": ({}, False),
    "licenses": ({"a-1-0.conda": "MIT"}, False),
    "released": ({"a-1-0.conda": "2025-03-31"}, False),
    "chosen": ("2025-03-31", False),
    "conda_lock": ("6" * 64, False),
    "virtual_packages": ({"__glibc": "2.17"}, False),
    # Only where there is a Dockerfile; tests/test_build_context.py.
    "source": ("localhost:5000/curated/base:1", False),
    "bases": ({"linux-64": {"debian:12": f"sha256:{'9' * 64}"}}, False),
}
LOCK_FIELDS: dict[str, tuple[Any, bool]] = {
    "image": (dataclasses.replace(LOCK.image, platforms={}), True),
    "packages": ({"linux-64": (package("a"),)}, True),
    "channels": (("other",), False),
    "sha256": ("5" * 64, False),
    "conda_lock": ("6" * 64, False),
}
DEFINED_BY_SPEC: dict[str, tuple[Any, bool]] = {
    **{name: (changed, False) for name, (changed, _) in SPEC_FIELDS.items()},
    "conda": (dataclasses.replace(CONDA, variables={}), True),
    "build": (BuildContext(path="docker"), False),
    "inference_config": (SPEC_FIELDS["inference_config"][0], True),
    "settings": (Settings(user="app"), True),
}
DEFINED_BY_CONDA = {
    **{name: (changed, False) for name, (changed, _) in CONDA_FIELDS.items()},
    "variables": ({"MODE": "slow"}, True),
}
DEFINED_BY_SETTINGS = {
    **{name: (changed, False) for name, (changed, _) in SETTINGS_FIELDS.items()},
    "environment_variables": ({"MODE": "slow"}, True),
    "user": ("app", True),
    "setup": ("echo ready", True),
}


@pytest.mark.parametrize(
    ("value", "decided"),
    [
        (LockedPackage, PACKAGE_FIELDS),
        (ImageLock, IMAGE_FIELDS),
        (Lock, LOCK_FIELDS),
        (BasePlatform, {"digest": (), "glibc": ()}),
        (PackageIdentity, IDENTITY_FIELDS),
    ],
)
def test_every_field_is_decided_to_move_the_definition_hash_or_not(
    value: type, decided: dict[str, Any]
) -> None:
    assert {field.name for field in dataclasses.fields(value)} == set(decided)


@pytest.mark.parametrize("field", PACKAGE_FIELDS)
def test_the_definition_hash_is_moved_by_what_a_package_is(field: str) -> None:
    changed, moves = PACKAGE_FIELDS[field]
    other = dataclasses.replace(package("a"), **{field: changed})
    assert other != package("a")
    lock = dataclasses.replace(LOCK, packages={"linux-64": (other, package("b"))})
    assert (definition_hash(lock=lock) != definition_hash()) == moves


@pytest.mark.parametrize("field", IMAGE_FIELDS)
def test_the_definition_hash_is_moved_by_what_the_base_image_is(field: str) -> None:
    changed, moves = IMAGE_FIELDS[field]
    image = dataclasses.replace(LOCK.image, **{field: changed})
    assert image != LOCK.image
    assert (
        definition_hash(lock=dataclasses.replace(LOCK, image=image)) != definition_hash()
    ) == moves


@pytest.mark.parametrize(("field", "moves"), [("digest", True), ("glibc", False)])
def test_the_definition_hash_is_moved_by_the_digest_of_the_base(field: str, moves: bool) -> None:
    base = dataclasses.replace(LOCK.image.platforms["linux-64"], **{field: "other"})
    image = dataclasses.replace(LOCK.image, platforms={"linux-64": base})
    lock = dataclasses.replace(LOCK, image=image)
    assert (definition_hash(lock=lock) != definition_hash()) == moves


@pytest.mark.parametrize("field", LOCK_FIELDS)
def test_the_definition_hash_is_moved_by_base_and_packages_of_the_lock(field: str) -> None:
    changed, moves = LOCK_FIELDS[field]
    lock = dataclasses.replace(LOCK, **{field: changed})
    assert lock != LOCK
    assert (definition_hash(lock=lock) != definition_hash()) == moves


@pytest.mark.parametrize("field", sorted(set(DEFINED_BY_SPEC) - {"build"}))
def test_the_definition_hash_is_moved_by_variables_and_user_of_a_spec(field: str) -> None:
    changed, moves = DEFINED_BY_SPEC[field]
    spec = dataclasses.replace(SPEC, **{field: changed})
    assert spec != SPEC
    assert (definition_hash(spec) != definition_hash()) == moves


@pytest.mark.parametrize("field", DEFINED_BY_CONDA)
def test_the_wording_of_a_conda_file_does_not_move_the_definition_hash(field: str) -> None:
    changed, moves = DEFINED_BY_CONDA[field]
    assert (definition_hash(with_conda(**{field: changed})) != definition_hash()) == moves


@pytest.mark.parametrize("field", DEFINED_BY_SETTINGS)
def test_the_definition_hash_is_moved_by_what_settings_put_into_the_image(field: str) -> None:
    changed, moves = DEFINED_BY_SETTINGS[field]
    assert (definition_hash(with_settings(**{field: changed})) != definition_hash()) == moves


DEFINITION = Definition(
    kind="conda",
    platforms=(
        PlatformDefinition(
            platform="linux-64", base_digest="b", packages=(PackageIdentity.of(package("a")),)
        ),
    ),
)
DEFINITION_FIELDS: dict[str, Any] = {
    "kind": "image",
    "format": 3,
    "platforms": (),
    "environment_variables": {"A": "b"},
    "user": "app",
    "image_digest": "x",
    "build": BuildDefinition(files=(), dockerfile_path="Dockerfile", dockerfile_sha256="a"),
    "inference_config": SPEC_FIELDS["inference_config"][0],
    "setup": "echo ready",
    "interpreter_path": "/usr/bin/python3",
    "compression": "zstd",
}
PLATFORM_FIELDS: dict[str, Any] = {"platform": "linux-aarch64", "base_digest": "c", "packages": ()}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Definition)])
def test_every_field_of_a_definition_moves_its_hash(field: str) -> None:
    other = dataclasses.replace(DEFINITION, **{field: DEFINITION_FIELDS[field]})
    assert other.hash != DEFINITION.hash


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(PlatformDefinition)])
def test_every_field_of_a_platform_moves_the_hash(field: str) -> None:
    platform = dataclasses.replace(DEFINITION.platforms[0], **{field: PLATFORM_FIELDS[field]})
    assert dataclasses.replace(DEFINITION, platforms=(platform,)).hash != DEFINITION.hash


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(PackageIdentity)])
def test_every_field_of_a_package_identity_moves_the_hash(field: str) -> None:
    identity = PackageIdentity.of(package("a"))
    other = dataclasses.replace(identity, **{field: IDENTITY_FIELDS[field]})
    platform = dataclasses.replace(DEFINITION.platforms[0], packages=(other,))
    assert dataclasses.replace(DEFINITION, platforms=(platform,)).hash != DEFINITION.hash


def test_platforms_that_no_image_can_be_made_for_do_not_count() -> None:
    packages = {**LOCK.packages, "osx-arm64": (package("c", platform="osx-arm64"),)}
    lock = dataclasses.replace(LOCK, packages=packages)
    assert definition_hash(lock=lock) == definition_hash()


@given(st.randoms(use_true_random=False), st.integers(2, 8))
def test_order_of_what_has_no_order_moves_no_definition_hash(
    chance: random.Random, count: int
) -> None:
    packages = [package(f"p{i}") for i in range(count)]
    variables = [(f"V{i}", str(i)) for i in range(count)]
    sizes = [(f"p{i}", i) for i in range(count)]

    def shuffled(items: list[Any]) -> list[Any]:
        return chance.sample(items, len(items))

    def hashed() -> str:
        lock = dataclasses.replace(
            LOCK,
            image=dataclasses.replace(LOCK.image, sizes=dict(shuffled(sizes))),
            packages={"linux-64": tuple(shuffled(packages))},
        )
        return definition_hash(with_conda(variables=dict(shuffled(variables))), lock)

    assert hashed() == hashed()


# ---- variables of the conda file decide no solve, but they are in the image ----


def test_variables_of_a_conda_file_are_in_the_definition_and_not_in_the_request() -> None:
    without = with_conda(variables={})
    assert request_hash(without, CONFIG) == request_hash(SPEC, CONFIG)
    assert definition_of(SPEC, LOCK).environment_variables == {"MODE": "fast"}
    assert definition_hash(without) != definition_hash()


def test_a_variable_means_the_same_in_the_conda_file_and_in_the_settings() -> None:
    spec = dataclasses.replace(
        with_conda(variables={}),
        settings=dataclasses.replace(SPEC.settings, environment_variables={"MODE": "fast"}),
    )
    assert definition_hash(spec) == definition_hash()


def test_settings_win_over_variables_of_the_conda_file() -> None:
    spec = with_settings(environment_variables={"MODE": "slow", "NEW": "1"})
    assert definition_of(spec, LOCK).environment_variables == {"MODE": "slow", "NEW": "1"}


@pytest.mark.parametrize("spec", [Spec(name="x", path="p", image="ubuntu:24.04")])
def test_the_interpreter_belongs_to_an_image_that_brings_its_own(spec: Spec) -> None:
    settings = Settings(interpreter_path="/usr/bin/python3")
    found = definition_of(dataclasses.replace(spec, settings=settings), LOCK)
    assert found.interpreter_path == "/usr/bin/python3"
    assert found.hash != definition_of(spec, LOCK).hash
    assert definition_of(with_settings(interpreter_path="/x"), LOCK).interpreter_path == ""


@pytest.mark.parametrize("field", ["inference_config", "setup", "interpreter_path"])
def test_what_a_definition_lacks_is_not_in_its_document(field: str) -> None:
    document = definition_of(SPEC, LOCK).document()
    assert isinstance(document, dict)
    assert field not in document

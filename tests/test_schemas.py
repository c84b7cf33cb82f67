"""The JSON Schemas say what the readers read: the same keys, and nothing refused that loads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envsync
from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.errors import InvalidInput
from envsync.model import (
    conda_file_reader,
    config_reader,
    policy_reader,
    settings_reader,
    spec_reader,
)
from envsync.model.config_reader import read_config
from envsync.model.document import Faults, Node, Scalar
from envsync.model.document import Mapping as MapNode
from envsync.model.spec_reader import read_spec
from envsync.operations.load import load_environment, load_spec
from tests.golden_cases import golden_cases
from tests.memory_tree import MemoryTree
from tests.test_load import Completed, is_environment
from tests.test_spec_reader import FILES, FULL, PATH

PACKAGE = Path(envsync.__file__).parent


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PACKAGE / "schemas" / f"{name}.schema.json").read_text())
    return found


ENVIRONMENT, CONFIG = schema("environment"), schema("envsync")
POLICY = CONFIG["properties"]["policy"]
VALIDATORS = {
    name: jsonschema.Draft7Validator(document)
    for name, document in (("environment", ENVIRONMENT), ("envsync", CONFIG))
}


def seen_by_editors(node: Node) -> Any:
    """Return a document as YAML 1.2's core schema resolves it, which is what editors use."""
    if isinstance(node, MapNode):
        return {key.text: seen_by_editors(value) for key, value in node.entries}
    if not isinstance(node, Scalar):
        return [seen_by_editors(item) for item in node.items]
    text = node.text
    if node.is_null:
        return None
    if node.style != "plain":
        return text
    if text in {"true", "True", "TRUE", "false", "False", "FALSE"}:
        return text.lower() == "true"
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return int(text)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        return float(text)
    return text


def root_of(text: str | bytes) -> Node:
    data = text.encode() if isinstance(text, str) else text
    root = parse_document(data, PATH, Faults())
    assert root is not None
    return root


def faults_of_schema(name: str, root: Node) -> list[str]:
    errors = VALIDATORS[name].iter_errors(seen_by_editors(root))
    return [f"{error.json_path}: {error.message}" for error in errors]


def loads(text: str) -> bool:
    try:
        load_environment(MemoryTree({**FILES, PATH: text}), parse_document, "train")
    except InvalidInput:
        return False
    return True


# The schemas themselves


@pytest.mark.parametrize("name", VALIDATORS)
def test_the_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft7Validator.check_schema(schema(name))


@pytest.mark.parametrize("name", VALIDATORS)
def test_every_key_is_described(name: str) -> None:
    for path, part in properties(schema(name)):
        for key, value in part["properties"].items():
            if isinstance(value, dict) and path.startswith(("", "definitions")):
                where = f"{path}.{key}"
                plain = value.keys() == {"$ref"} or path.endswith("route")
                assert value.get("description") or plain, f"{where} has no description"


def properties(part: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the parts of a schema that list keys; conditions only look at some."""
    if isinstance(part, dict):
        if "properties" in part and "additionalProperties" in part:
            yield path, part
        for key, value in part.items():
            yield from properties(value, f"{path}.{key}")


def test_no_reference_of_a_schema_has_neighbours_that_draft_7_ignores() -> None:
    def references(part: Any) -> Iterator[dict[str, Any]]:
        if isinstance(part, dict):
            if "$ref" in part and isinstance(part["$ref"], str):
                yield part
            for value in part.values():
                yield from references(value)
        elif isinstance(part, list):
            for value in part:
                yield from references(value)

    for document in (ENVIRONMENT, CONFIG):
        for part in references(document):
            assert part.keys() <= {"$ref", "description"}, part


@pytest.mark.parametrize(
    ("where", "in_schema", "in_reader"),
    [
        ("environment.yaml", ENVIRONMENT, spec_reader.KEYS),
        (
            "'envsync:' of environment.yaml",
            ENVIRONMENT["definitions"]["settings"],
            settings_reader.SETTINGS_KEYS,
        ),
        ("conda files", ENVIRONMENT["definitions"]["conda_file"], conda_file_reader.KEYS),
        (
            "'inference_config:'",
            ENVIRONMENT["properties"]["inference_config"],
            settings_reader.ROUTES,
        ),
        ("'build:'", ENVIRONMENT["properties"]["build"], spec_reader.BUILD_KEYS),
        ("envsync.yaml", CONFIG, config_reader.KEYS),
        ("'policy:'", POLICY, policy_reader.POLICY_KEYS),
        ("'packages:'", POLICY["properties"]["packages"], policy_reader.PACKAGE_KEYS),
        ("'licenses:'", POLICY["properties"]["licenses"], policy_reader.LICENSE_KEYS),
        ("'changes:'", POLICY["properties"]["changes"]["items"], policy_reader.CHANGE_KEYS),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_schema_and_reader_know_the_same_keys(
    where: str, in_schema: Mapping[str, Any], in_reader: tuple[str, ...]
) -> None:
    described, read = set(in_schema["properties"]), set(in_reader)
    missing, surplus = sorted(read - described), sorted(described - read)
    assert not missing, (
        f"{', '.join(missing)}: the reader knows it as a key of {where}, and the schema in "
        "envsync/schemas does not; describe it there"
    )
    assert not surplus, f"{', '.join(surplus)}: the schema has it in {where}, no reader reads it"


def test_the_platforms_of_both_schemas_are_those_of_the_model() -> None:
    from envsync.model.names import IMAGE_PLATFORMS, PLATFORMS

    for part in (ENVIRONMENT["definitions"]["platforms"], CONFIG["properties"]["platforms"]):
        assert part["items"]["enum"] == list(PLATFORMS)
        assert part["anyOf"][1]["contains"]["enum"] == list(IMAGE_PLATFORMS)


# Accepted by the loader: valid by the schema


def test_every_environment_of_the_public_examples_is_valid(shared_data: Path) -> None:
    tree, checked = Completed(WorkTree(shared_data)), 0
    for file in sorted((shared_data / "azureml").rglob("*.y*ml")):
        root = parse_document(file.read_bytes(), file.name, Faults())
        if root is None or not is_environment(root):
            continue
        try:
            load_spec(tree, parse_document, file.relative_to(shared_data).as_posix(), name=None)
        except InvalidInput:
            continue
        assert faults_of_schema("environment", root) == [], file
        checked += 1
    assert checked >= 16


@pytest.mark.parametrize(
    "text",
    [
        FULL,
        "image: busybox\n",
        "name:\nimage: busybox\nconda_file:\nbuild:\ntags:\nenvsync:\ninference_config:\n",
        "image: scratch\nconda_file: conda.yaml\n",
        "image: scratch\nconda_file: file:conda.yaml\n",
        "image: scratch\nconda_file: {dependencies: [yes, 'numpy', {pip: [a, 3.10]}]}\n",
        "build: {path: docker}\n",
        "build: {path: ., dockerfile_path: docker/Dockerfile}\n",
        "build: {path: 'git@github.com:team/repo.git'}\n",
        "build: {path: 'https://github.com/team/repo.git#main:docker'}\n",
        "build: {path: docker}\nenvsync: {platforms: [linux-64]}\n",
        "version: 010\nimage: 1\nos_type: WINDOWS\n",
        'version: "1.0"\nimage: a\nos_type: linux\nproperties: {a: [1]}\n',
    ],
)
def test_a_spec_that_loads_is_valid(text: str) -> None:
    assert loads(text)
    assert faults_of_schema("environment", root_of(text)) == []


def test_every_sample_of_this_repository_is_valid() -> None:
    top = PACKAGE.parent
    specs = sorted(top.glob("environments/*/environment.yaml"))
    assert specs
    for file in specs:
        assert faults_of_schema("environment", root_of(file.read_bytes())) == [], file
    assert faults_of_schema("envsync", root_of((top / "envsync.yaml").read_bytes())) == []


ROUTE = "{port: '80', path: /}"
scalars = st.sampled_from(
    ["1", "3.10", "true", "~", "''", "x", "linux", "scratch", "conda.yaml", "'1'", "-1", "1.lock"]
)
lists = st.sampled_from(
    ["[]", "[a]", "[linux-64]", "[osx-64]", "[linux-64, linux-64]", "[{pip: [a]}]", "[[a]]", "['']"]
)
maps = st.sampled_from(
    [
        "{}",
        "{a: b}",
        "{path: docker}",
        "{path: docker, dockerfile_path: }",
        "{path: /docker}",
        "{dockerfile_path: Dockerfile}",
        "{dependencies: [python=3.11]}",
        "{dependencies: [python=3.11, {pip: [a]}], channels: [a]}",
        "{dependencies: [], channels: [a]}",
        "{dependencies: [{numpy: 1}]}",
        "{platforms: [linux-64]}",
        "{platforms: []}",
        "{user: app}",
        "{user: 3}",
        "{user: A B}",
        "{environment_variables: {A: 1}}",
        "{environment_variables: {1A: 1}}",
        "{virtual_packages: {__cuda: 12.4}}",
        "{virtual_packages: {cuda: 12.4}}",
        "{virtual_packages: {__cuda: }}",
        "{scoring_route: {port: 1, path: /}}",
        f"{{liveness_route: {ROUTE}, readiness_route: {ROUTE}, scoring_route: {ROUTE}}}",
        f"{{liveness_route: {ROUTE}, readiness_route: {ROUTE}, scoring_route: {{port: 70000}}}}",
    ]
)
keys = st.sampled_from([*spec_reader.KEYS, "dependencies", "channels", "zzz"])
fitting = {
    "image": ["busybox", "scratch", "~", "1"],
    "build": ["{path: docker}", "~"],
    "conda_file": ["conda.yaml", "{dependencies: [python=3.11]}", "~"],
    "envsync": [
        "{}",
        "{platforms: [linux-64]}",
        "{user: app}",
        "{environment_variables: }",
        "{build_timeout: 60}",
        "{build_arguments: {A: b}}",
        "{setup: echo a}",
        "{interpreter_path: /usr/bin/python3}",
    ],
    "os_type": ["linux", "Windows"],
    "version": ["1", "1.0"],
    "name": ["train"],
    "tags": ["{a: 1}"],
}
documents = st.one_of(
    st.dictionaries(keys, scalars | lists | maps, max_size=5),
    st.fixed_dictionaries(
        {}, optional={key: st.sampled_from(values) for key, values in fitting.items()}
    ),
)


@settings(max_examples=600)
@given(documents)
def test_what_the_schema_refuses_the_loader_refuses(document: dict[str, str]) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in document.items()) or "{}\n"
    wrong = faults_of_schema("environment", root_of(text))
    assert not (wrong and loads(text)), f"{text}\n{wrong}"


@settings(max_examples=400)
@given(
    st.fixed_dictionaries(
        {}, optional={key: st.sampled_from(values) for key, values in fitting.items()}
    )
)
def test_of_well_formed_values_schema_and_loader_say_the_same(document: dict[str, str]) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in document.items()) or "{}\n"
    wrong = faults_of_schema("environment", root_of(text))
    assert (not wrong) == loads(text), f"{text}\n{wrong}"


# Refused by both


def test_the_schema_refuses_the_structure_of_malformed_specs() -> None:
    """What is about kinds, keys and names; not about files, paths, packages or YAML itself."""
    structural = re.compile(
        r"must be (?:text|a map|a list|true|a whole)|is not a (?:key|name$|version$|user|platform)"
        r"|is not an os_type|Both 'image'|Neither 'image'|'conda_file' (?:needs|cannot)"
        r"|has no '(?:path|port|liveness|readiness|scoring)|not an environment file"
        r"|no effect here|is not a virtual package|are reserved|lists no dependencies"
    )
    refused, missed = 0, []
    for title, (text, expected) in golden_cases("malformed_specs.txt").items():
        faults = Faults()
        root = parse_document(text.encode(), PATH, faults)
        if root is None or faults or not structural.search(expected):
            continue
        refused += 1
        # Numbers are text to the loader, so their form is the loader's to judge.
        if not faults_of_schema("environment", root):
            missed.append(title)
    assert not missed
    assert refused >= 40


# Settings


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("", True),
        ("registry: ghcr.io/team/envs\n", True),
        ("registry:\nplatforms:\nchannels: []\n", True),
        ("platforms: [linux-64, osx-arm64]\n", True),
        ("platforms: [osx-arm64]\n", False),
        ("platforms: [linux]\n", False),
        ("platforms: linux-64\n", False),
        ("channels: [a, a]\n", False),
        ("channels: {a: b}\n", False),
        ("copy_images: True\n", True),
        ("copy_images: 'true'\n", True),
        ("copy_images: 1\n", False),
        ("remote: team/origin\n", True),
        ("remote: '-x'\n", False),
        ("remote: [a]\n", False),
        ("allow_link_scripts: [a, b-c.d]\n", True),
        ("allow_link_scripts: [a b]\n", False),
        ("zzz: 1\n", False),
        ("- a\n", False),
        ("policy:\n", True),
        ("policy: []\n", False),
        ("policy: {zzz: 1}\n", False),
        ("policy: {channels: [conda-forge, 'https://a.test/*']}\n", True),
        ("policy: {channels: []}\n", False),
        ("policy: {channels: ['a b']}\n", False),
        ("policy: {channels: conda-forge}\n", False),
        ("policy: {wheel_urls: ['https://wheels.example.com/*', '*']}\n", True),
        ("policy: {wheel_urls: [index.example]}\n", False),
        ("policy: {wheel_urls: ['https://index.example']}\n", False),
        ("policy: {registries: [docker.io, 'localhost:5000']}\n", True),
        ("policy: {registries: [docker.io/library]}\n", False),
        ("policy: {base_images: ['docker.io/library/debian:12*']}\n", True),
        ("policy: {base_images: [debian]}\n", False),
        ("policy: {packages: {forbidden: [openssl <3.0.14], required: [a]}}\n", True),
        ("policy: {packages: {forbiden: [a]}}\n", False),
        ("policy: {packages: [a]}\n", False),
        ("policy: {licenses: {allowed: [MIT], unknown: warn, of: {a: MIT}}}\n", True),
        ("policy: {licenses: {unknown: maybe}}\n", False),
        ("policy: {licenses: {allowed: []}}\n", False),
        ("policy: {max_lock_age: 90, cooldown: '7'}\n", True),
        ("policy: {max_lock_age: 0}\n", False),
        ("policy: {cooldown: 1.5}\n", False),
        ("policy: {cooldown: a week}\n", False),
        ("policy: {wheels_only: true}\n", True),
        ("policy: {wheels_only: 1}\n", False),
        ("policy: {teams: {ops: [a@b.test]}, changes: [{environments: [a], by: [ops]}]}\n", True),
        ("policy: {teams: {ops: [a]}}\n", False),
        ("policy: {changes: [{environments: [a]}]}\n", False),
        ("policy: {changes: [{environments: [], by: ['@']}]}\n", False),
        ("policy: {changes: [{environments: [a], by: ['@'], signed: 1}]}\n", False),
        ("policy: {changes: {a: b}}\n", False),
    ],
)
def test_settings_are_valid_by_the_schema_when_they_can_be_read(text: str, valid: bool) -> None:
    faults, root = Faults(), root_of(text)
    read_config(root, faults)
    assert (not faults, not faults_of_schema("envsync", root)) == (valid, valid)


def test_a_spec_inline_in_a_job_is_read_by_the_same_rules() -> None:
    faults, root = Faults(), root_of("image: busybox\n")
    read_spec(root, faults, path="job.yaml", name=None)
    assert not faults
    assert faults_of_schema("environment", root) == []


# The command


@pytest.mark.parametrize(
    ("document", "file"),
    [
        ("environment", "schemas/environment.schema.json"),
        ("config", "schemas/envsync.schema.json"),
        ("plan", "planning/plan.schema.json"),
    ],
)
def test_the_command_prints_a_schema(document: str, file: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "envsync", "schema", document], capture_output=True, check=True
    )
    assert done.stdout == (PACKAGE / file).read_bytes()


def test_the_documentation_names_every_schema() -> None:
    page = (PACKAGE.parent / "docs" / "schemas.md").read_text()
    for document in ("environment", "config", "plan"):
        assert f"`envsync schema {document}`" in page

"""What a spec says of serving and of preparing nodes, and where that stands in the image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from envsync.model.reading import Present
from envsync.model.spec import InferenceConfig, Route
from envsync.oci.config import BaseConfig, Settings, render_config
from envsync.oci.descriptor import Descriptor
from tests.parts.baseimage import BaseImage
from tests.parts.engine import Engine
from tests.team import Team
from tests.test_run import Runner

SERVICE = """\
inference_config:
  liveness_route: {port: 5001, path: /healthz}
  readiness_route: {port: 5001, path: /ready}
  scoring_route: {port: 5002, path: /score?v=1}
"""
ROUTES = InferenceConfig(
    liveness_route=Route(port=5001, path="/healthz"),
    readiness_route=Route(port=5001, path="/ready"),
    scoring_route=Route(port=5002, path="/score?v=1"),
)


def _config(team: Team, name: str) -> Mapping[str, Any]:
    place = team.place(name)
    with team.reader() as reader:
        top = reader.manifest(place, team.records(name)[-1].digest)
        assert isinstance(top, Present)
        with reader.blob(place, Descriptor.parse(top.value.document()["config"])) as chunks:
            found: Mapping[str, Any] = json.loads(b"".join(chunks))["config"]
    return found


def test_routes_are_ports_and_labels_of_the_image(folder_team: Team) -> None:
    folder_team.ask("web", "tiny-00000", text=SERVICE)
    assert folder_team.envsync("apply").code == 0
    config = _config(folder_team, "web")
    assert config["ExposedPorts"] == {"5001/tcp": {}, "5002/tcp": {}}
    assert config["Labels"]["io.envsync.liveness"] == "5001/healthz"
    assert config["Labels"]["io.envsync.readiness"] == "5001/ready"
    assert config["Labels"]["io.envsync.scoring"] == "5002/score?v=1"
    # Without a Python nothing in the image can be sure to ask.
    assert "Healthcheck" not in config


def test_another_route_is_another_version_and_the_plan_says_why(folder_team: Team) -> None:
    folder_team.ask("web", "tiny-00000", text=SERVICE)
    assert folder_team.envsync("apply").code == 0
    folder_team.ask("web", "tiny-00000", text=SERVICE.replace("/ready", "/other"))
    assert "the routes of the web service differ" in folder_team.envsync("plan").out
    assert folder_team.envsync("apply").code == 0
    assert folder_team.versions("web") == ["1", "2"]


def _rendered(base: Mapping[str, Any] | None = None, **changes: Any) -> Mapping[str, Any]:
    settings = Settings(
        platform="linux-64",
        definition_hash="0" * 64,
        base_digest="",
        variables={},
        user="",
        entry_point="",
        **changes,
    )
    found: Mapping[str, Any] = json.loads(render_config(BaseConfig(settings=base), settings, []))[
        "config"
    ]
    return found


def test_a_python_asks_whether_the_service_lives() -> None:
    check = _rendered(inference_config=ROUTES, python=True)["Healthcheck"]
    assert check["Test"][:2] == ["CMD", "/opt/env/bin/python"]
    assert check["Test"][-1] == "http://127.0.0.1:5001/healthz"


def test_ports_of_the_base_stay() -> None:
    config = _rendered({"ExposedPorts": {"80/tcp": {}}}, inference_config=ROUTES)
    assert set(config["ExposedPorts"]) == {"80/tcp", "5001/tcp", "5002/tcp"}


def test_without_routes_nothing_is_added() -> None:
    assert set(_rendered()) == {"Env", "Labels"}


def test_an_engine_reads_ports_and_health_check(
    server_team: Team, busybox_base: BaseImage, engine: Engine
) -> None:
    assert server_team.registry is not None
    base = busybox_base.push(server_team.registry)
    server_team.ask("web", "tiny-00000", image=base, text=SERVICE)
    assert server_team.envsync("apply").code == 0
    image = server_team.envsync("show", "web:1", "--format", "json").json["image"]
    engine.docker("pull", "--quiet", image)
    try:
        found = json.loads(engine.docker("image", "inspect", image))[0]["Config"]
    finally:
        engine.docker("image", "rm", image)
    assert set(found["ExposedPorts"]) == {"5001/tcp", "5002/tcp"}


SETUP = """\
envsync:
  setup: |
    echo prepared >> prepared.txt
"""


@pytest.fixture
def prepared(server_team: Team, busybox_base: BaseImage) -> Team:
    """A team whose environment `tool` prepares its nodes."""
    assert server_team.registry is not None
    base = busybox_base.push(server_team.registry)
    server_team.ask("tool", "tiny-00000", image=base, text=SETUP)
    done = server_team.envsync("apply")
    assert done.code == 0, done.err
    return server_team


def test_the_image_has_its_setup_script_and_runs_it_once_for_a_run(prepared: Team) -> None:
    runner = Runner(team=prepared, way="root")
    for run in ("1", "1", "2"):
        code, out, err = runner.run("tool", "--run-id", run, "--", "cat", "prepared.txt")
        assert code == 0, err
    assert out == "prepared\n" * 2
    digest = prepared.records("tool")[0].digest
    assert runner.run(digest, "--run-id", "3", "--", "true")[0] == 0
    assert (prepared.root / "prepared.txt").read_text() == "prepared\n" * 3


def test_setup_of_the_image_runs_in_an_engine_too(prepared: Team, engine: Engine) -> None:
    runner = Runner(team=prepared, way="docker", host=engine.host)
    code, out, err = runner.run("tool", "--", "cat", "prepared.txt")
    assert (code, out) == (0, "prepared\n"), err


def test_setup_of_the_image_comes_before_that_of_the_command_line(prepared: Team) -> None:
    script = prepared.root / "more.sh"
    script.write_text("cat prepared.txt && echo more >> prepared.txt\n")
    runner = Runner(team=prepared, way="root")
    code, out, err = runner.run("tool", "--setup", str(script), "--", "cat", "prepared.txt")
    assert (code, out) == (0, "prepared\nprepared\nmore\n"), err


def test_another_setup_is_another_version(prepared: Team) -> None:
    assert prepared.registry is not None
    text = SETUP.replace("prepared >>", "otherwise >>")
    base = prepared.repository.git("grep", "-h", "^image:").partition(" ")[2].splitlines()[0]
    prepared.ask("tool", "tiny-00000", image=base, text=text)
    assert "the setup script differs" in prepared.envsync("plan").out


@pytest.mark.parametrize("way", ["docker", "root"])
def test_an_image_that_brings_its_own_python_is_run_with_it(
    server_team: Team, busybox_base: BaseImage, way: str, request: pytest.FixtureRequest
) -> None:
    """The image has no Python; that its path is what is executed can be seen all the same."""
    assert server_team.registry is not None
    base = busybox_base.push(server_team.registry)
    text = "envsync: {interpreter_path: /bin/echo}"
    server_team.ask("own", image=base, text=text)
    assert server_team.envsync("apply").code == 0
    host = request.getfixturevalue("engine").host if way == "docker" else ""
    runner = Runner(team=server_team, way=way, host=host)
    assert runner.run("own", "--", "python", "-c", "x")[:2] == (0, "-c x\n")
    code, out, err = runner.run("own", "--", "sh", "-c", "echo $PATH")
    assert code == 0, err
    assert "/bin" in out.strip().split(":")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("setup: prepare.sh", "Write 'setup: sh prepare.sh'"),
        ("setup: ./a/prepare.py", "is the script itself"),
        ("setup: [a]", "must be text"),
        ("interpreter_path: /usr/bin/python", "python is that of 'conda_file'"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_told(folder_team: Team, text: str, words: str) -> None:
    folder_team.spec("x", "tiny-00000", text=f"envsync:\n  {text}\n")
    done = folder_team.envsync("validate")
    assert done.code == 6
    assert words in done.out + done.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("setup: echo x", "'setup' has no effect here"),
        ("interpreter_path: python3", "Write it from the root"),
        ("interpreter_path: /usr/../python", "is not the path of a program"),
    ],
)
def test_a_setting_that_an_image_cannot_have_is_told(
    folder_team: Team, text: str, words: str
) -> None:
    folder_team.spec("x", image="busybox", text=f"envsync:\n  {text}\n")
    done = folder_team.envsync("validate")
    assert done.code == 6
    assert words in done.out + done.err

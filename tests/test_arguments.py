"""Text from outside that looks like an option, a command or a variable stays text (X13).

What would run writes a canary; nothing may. Where a text is refused, that is told by its name.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import envsync
from envsync.adapters.registry.docker_config import DockerConfig
from envsync.errors import EnvsyncError
from tests.reliability.counts import count
from tests.team import Team

COMMANDS = (
    "--upload-pack=touch {canary}", "--exec=touch {canary}", "--output={canary}", "-o{canary}",
    "ext::sh -c touch% {canary}", "-oProxyCommand=touch {canary}", "--config=core.pager={canary}",
    "ssh://-oProxyCommand=touch%20{canary}/x", "; touch {canary}", "$(touch {canary})",
    "`touch {canary}`", "| touch {canary}", "&& touch {canary}", "x\ntouch {canary}",
    "--privileged", "-v/:/host", "--", "-", "file:///dev/null;touch {canary}", "!touch {canary}",
)  # fmt: skip
"""What git, ssh, docker and shells would make something of."""


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that nothing may make."""
    place = tmp_path / "canary"
    yield place
    assert not place.exists()


def filled(text: str, canary: Path) -> str:
    return text.replace("{canary}", str(canary))


def quoted(text: str) -> str:
    """Return a text as a YAML scalar."""
    return json.dumps(text)


def ran(team: Team, *words: str) -> str:
    """Run a command that has to refuse, and return what it says."""
    done = team.envsync(*words)
    assert done.code not in {0, 1}, (words, done)
    return done.out + done.err


@pytest.mark.parametrize("text", COMMANDS)
def test_a_revision_is_no_option(text: str, folder_team: Team, canary: Path) -> None:
    folder_team.ask("app", "tiny-00001")
    before = folder_team.state()
    for words in (["plan", f"--base={filled(text, canary)}"],
                  ["plan", f"--policy-from={filled(text, canary)}"],
                  ["diff", "--", filled(text, canary), "HEAD"],
                  ["diff", "--", "app", filled(text, canary)]):  # fmt: skip
        ran(folder_team, *words)
        assert not canary.exists()
    assert folder_team.state() == before
    count("X13", arguments=4, never_run=4)


@pytest.mark.parametrize("text", COMMANDS)
def test_a_name_is_no_option(text: str, folder_team: Team, canary: Path) -> None:
    folder_team.ask("app", "tiny-00001")
    before = folder_team.state()
    for command in ("lock", "plan", "apply", "show", "history", "archive", "logs", "verify", "run"):
        ran(folder_team, command, "--", filled(text, canary) or "x")
    ran(folder_team, "new", "--image", "scratch", "--", filled(text, canary))
    assert folder_team.state() == before
    count("X13", arguments=10, never_run=10)


SETTINGS = (
    "registry: {text}\n", "remote: {text}\n", "reconcile: {{branch: {text}}}\n",
    "platforms: [{text}]\n", "allow_link_scripts: [{text}]\n", "compression: {text}\n",
    "registries: {{azureml: {text}}}\n",
)  # fmt: skip


@pytest.mark.parametrize("text", COMMANDS)
def test_a_setting_is_no_option(text: str, folder_team: Team, canary: Path) -> None:
    hostile = quoted(filled(text, canary))
    yaml = "".join(setting.format(text=hostile) for setting in SETTINGS)
    folder_team.repository.write({"envsync.yaml": yaml})
    folder_team.repository.commit("settings")
    for words in (["plan"], ["apply"], ["reconcile", "--once"]):
        assert "envsync.yaml" in ran(folder_team, *words)
    said = ran(folder_team, "validate")
    for line in range(1, len(SETTINGS) + 1):
        assert f"envsync.yaml:{line}:" in said
    count("X13", arguments=len(SETTINGS), refused=len(SETTINGS))


SPECS = (
    "image: {text}\n",
    "image: scratch\nconda_file: {{dependencies: [{text}]}}\n",
    "image: scratch\nconda_file: {{dependencies: [python, {{pip: [{text}]}}]}}\n",
    "image: scratch\nconda_file: {{channels: [{text}], dependencies: [tiny-00001]}}\n",
    "image: scratch\nconda_file: {{dependencies: [tiny-00001]}}\nenvsync: {{user: {text}}}\n",
    "image: scratch\nconda_file: conda.yaml\nenvsync: {{platforms: [{text}]}}\n",
    "image: scratch\nconda_file: conda.yaml\nenvsync: {{virtual_packages: {{__x: {text}}}}}\n",
    "image: debian\nenvsync: {{interpreter_path: {text}}}\n",
    "build: {{path: {text}}}\n",
    "build: {{path: docker, dockerfile_path: {text}}}\n",
    "build: {{path: docker}}\nenvsync: {{build_secrets: [{text}]}}\n",
    "name: {text}\nimage: scratch\n",
    "version: {text}\nimage: debian\n",
)


@pytest.mark.parametrize("text", COMMANDS)
def test_a_value_of_a_spec_is_no_option(text: str, folder_team: Team, canary: Path) -> None:
    folder_team.variables["UV_OFFLINE"] = "1"
    folder_team.variables["DOCKER_HOST"] = f"unix://{folder_team.root}/no-engine.sock"
    folder_team.settings(f"channels: ['{folder_team.channel.as_uri()}']\n")
    for number, spec in enumerate(SPECS):
        folder = f"environments/app{number}"
        folder_team.repository.write(
            {
                f"{folder}/environment.yaml": spec.format(text=quoted(filled(text, canary))),
                f"{folder}/conda.yaml": "dependencies: [tiny-00001]\n",
                f"{folder}/docker/Dockerfile": f"FROM {filled(text, canary)}\n",
            }
        )
    folder_team.repository.commit("specs")
    for words in (["validate"], ["lock"], ["plan"], ["apply"]):
        ran(folder_team, *words)
    assert not [ref for ref in folder_team.repository.refs() if ref.startswith("refs/tags/")]
    count("X13", arguments=len(SPECS), never_run=len(SPECS))


@pytest.mark.parametrize("name", ["-x", "--help", "--upload-pack=x", "a;b", "$(a)", "a b", "a\nb"])
def test_a_folder_that_is_called_like_an_option_is_refused(
    name: str, folder_team: Team, canary: Path
) -> None:
    folder_team.repository.write(
        {f"environments/{name}/environment.yaml": "image: scratch\nconda_file: {}\n"}
    )
    folder_team.repository.commit("a folder")
    for words in (["validate"], ["lock"], ["plan"], ["apply"]):
        assert folder_team.envsync(*words).code != 1
    assert "has no name that an environment can have" in folder_team.envsync("validate").out
    count("X13", arguments=1, refused=1)


URLS = (
    "ext::sh -c touch% {canary}", "--upload-pack=touch {canary}", "-oProxyCommand=touch {canary}:x",
    "ssh://-oProxyCommand=touch%20{canary}/x", "file://;touch {canary}",
    "git@-oProxyCommand=touch {canary}:x",
)  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_the_address_of_a_remote_is_no_command(url: str, folder_team: Team, canary: Path) -> None:
    folder_team.ask("app", "tiny-00001")
    folder_team.repository.git("config", "remote.origin.url", filled(url, canary))
    folder_team.repository.git(
        "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"
    )
    folder_team.variables["GIT_SSH_COMMAND"] = "false"
    for words in (
        ["plan"],
        ["apply"],
        ["reconcile", "--once"],
        ["reconcile", "--once", "--branch=x"],
    ):
        assert folder_team.envsync(*words).code not in {0, 1}
    count("X13", arguments=1, never_run=1)


TAGS = ("env/--upload-pack=x/1", "env/app/--exec=x", "env/-x/1", "env/app/1;x", "env/app/$(x)",
        "env/app/-1", "env/app/+1")  # fmt: skip


def test_a_tag_is_no_option(server_team: Team, canary: Path) -> None:
    server_team.ask("app", "tiny-00001")
    server_team.repository.git("push", "--quiet", "origin", "main")
    head = server_team.repository.head()
    for tag in TAGS:
        made = server_team.repository.git(
            "mktag", stdin=f"object {head}\ntype commit\ntag {tag}\n"
            f"tagger a <a@example.com> 1700000000 +0000\n\ntouch {canary}\n",
        )  # fmt: skip
        server_team.repository.git("push", "--quiet", "origin", f"{made}:refs/tags/{tag}")
    done = server_team.envsync("apply")
    assert done.code == 0, done.err
    assert server_team.envsync("verify").code != 1
    server_team.repository.git("fetch", "--quiet", "--tags", "origin")
    assert server_team.envsync("list").code == 0
    count("X13", arguments=len(TAGS), never_run=len(TAGS))


@pytest.mark.parametrize(
    "text", ["../../x", "x; touch {canary}", "-x", "$(touch {canary})", "a/b", ""]
)
def test_a_credential_helper_is_a_program_of_the_path(
    text: str, tmp_path: Path, canary: Path
) -> None:
    folder = tmp_path / "docker"
    folder.mkdir()
    helper = filled(text, canary)
    config = {"credHelpers": {"registry.example": helper}, "auths": {}}
    (folder / "config.json").write_text(json.dumps(config))
    try:
        assert DockerConfig(folder).credentials("registry.example") is None
    except EnvsyncError as refused:
        assert "helper" in str(refused)  # noqa: PT017
    count("X13", arguments=1, never_run=1)


def test_no_module_starts_a_shell() -> None:
    """Programs get their arguments as a list: nothing reads them but the program."""
    root = Path(envsync.__file__).parent
    started = 0
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in {"os.system", "os.popen", "subprocess.getoutput"}, path
            assert not any(word.arg == "shell" for word in node.keywords), path
            if name in {"subprocess.run", "subprocess.Popen", "os.execv", "os.execvpe"}:
                assert not isinstance(node.args[0], ast.Constant | ast.JoinedStr), path
                started += 1
    assert started >= 5
    count("X13", **{"places that start a program": started})

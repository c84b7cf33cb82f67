"""Build contexts, from a commit's files to an image that a real engine built."""

from __future__ import annotations

import json
import subprocess
import uuid
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from envsync.model.reading import Present
from envsync.oci.descriptor import Descriptor
from tests.parts.baseimage import BaseImage, hollow_base
from tests.parts.engine import Engine
from tests.parts.registry import Registry
from tests.reliability.counts import count
from tests.team import Team

CONTEXT = "environments/app/docker"


def write(team: Team, dockerfile: str, files: dict[str, str] | None = None, text: str = "") -> None:
    """Write the environment `app` with a Dockerfile and the files of its context."""
    spec = f"name: app\nbuild:\n  path: docker\n{text}"
    written = {f"{CONTEXT}/{path}": content for path, content in (files or {}).items()}
    team.repository.write(
        {
            "environments/app/environment.yaml": spec,
            f"{CONTEXT}/Dockerfile": dockerfile,
            **written,
        }
    )


def ask(team: Team, dockerfile: str, files: dict[str, str] | None = None, text: str = "") -> str:
    """Write, lock and commit the environment; return the commit."""
    write(team, dockerfile, files, text)
    done = team.envsync("lock", "app")
    assert done.code == 0, done.err
    return team.repository.commit("app")


@pytest.fixture
def base(busybox_base: BaseImage, registry: Registry) -> str:
    """A base image in a registry."""
    return busybox_base.push(registry)


@pytest.fixture
def builders(team: Team, engine: Engine) -> Team:
    """A team with an engine."""
    team.variables["DOCKER_HOST"] = engine.host
    return team


@pytest.fixture
def laptop(folder_team: Team, engine: Engine) -> Team:
    """One machine with an engine."""
    folder_team.variables["DOCKER_HOST"] = engine.host
    return folder_team


def plan_of(team: Team, name: str = "app") -> dict[str, object]:
    done = team.envsync("plan", "--format", "json")
    assert done.code in (0, 5, 6, 8), done.err
    found: dict[str, object] = next(e for e in done.json["environments"] if e["name"] == name)
    return found


def reasons_of(team: Team) -> dict[str, str]:
    reasons = plan_of(team)["reasons"]
    assert isinstance(reasons, list)
    return {reason["code"]: reason["text"] for reason in reasons}


def config_of(team: Team, tag: str) -> dict[str, object]:
    place = team.place("app")
    with team.reader() as reader:
        manifest = reader.manifest(place, tag)
        assert isinstance(manifest, Present)
        descriptor = Descriptor.parse(manifest.value.document()["config"])
        with reader.blob(place, descriptor) as chunks:
            found: dict[str, object] = json.loads(b"".join(chunks))
    return found


# ---- built, published, recorded ----


def test_a_dockerfile_becomes_a_version_and_applying_again_does_nothing(
    builders: Team, base: str
) -> None:
    ask(builders, f"FROM {base}\nCOPY a.txt /a.txt\nRUN echo two > /b.txt\n", {"a.txt": "one\n"})
    done = builders.envsync("apply")
    assert done.code == 0, done.err
    assert builders.versions("app") == ["1"]
    builders.check("app")
    (record,) = builders.records("app")
    assert builders.tags("app")["1"] == builders.tags("app")["latest"] == record.digest
    config = config_of(builders, "1")
    assert config["config"]["Labels"]["io.envsync.definition-hash"] == record.definition  # type: ignore[index]
    tags = builders.tags("app")
    again = builders.envsync("apply")
    assert (again.code, again.out) == (0, "Nothing to do: 1 in sync.\n")
    assert builders.tags("app") == tags
    assert builders.versions("app") == ["1"]


def test_what_was_published_can_be_pulled_and_run(
    server_team: Team, engine: Engine, base: str
) -> None:
    server_team.variables["DOCKER_HOST"] = engine.host
    ask(
        server_team,
        f"FROM {base} AS first\nRUN echo made > /made\n"
        "FROM first\nCOPY --from=first /made /again\nCOPY run.sh link /\n",
        {"run.sh": "#!/bin/sh\ncat /made /again\n"},
    )
    subprocess.run(["chmod", "+x", str(server_team.root / CONTEXT / "run.sh")], check=True)
    (server_team.root / CONTEXT / "link").symlink_to("run.sh")
    server_team.repository.commit("executable")
    assert server_team.envsync("apply").code == 0
    server_team.check("app")
    assert server_team.registry is not None
    image = f"{server_team.registry.host}/{server_team.place('app')}:1"
    assert engine.docker("run", "--rm", image, "/run.sh") == "made\nmade\n"
    assert engine.docker("run", "--rm", image, "/link") == "made\nmade\n"


def test_layers_of_the_base_are_not_compressed_again(builders: Team, base: str) -> None:
    ask(builders, f"FROM {base}\nRUN echo x > /x\n")
    assert builders.envsync("apply").code == 0
    with builders.reader() as reader:
        manifest = reader.manifest(builders.place("app"), "1")
        assert isinstance(manifest, Present)
        layers = [layer["digest"] for layer in manifest.value.document()["layers"]]
    skopeo = ["skopeo", "inspect", "--tls-verify=false", f"docker://{base}"]
    below = json.loads(subprocess.run(skopeo, check=True, capture_output=True).stdout)["Layers"]
    assert layers[: len(below)] == below
    assert len(layers) == len(below) + 1


def test_only_what_is_committed_is_built(laptop: Team, base: str) -> None:
    ask(laptop, f"FROM {base}\nCOPY . /all/\nRUN ls -a /all > /list\n", {"kept": "committed"})
    laptop.repository.write({f"{CONTEXT}/kept": "changed", f"{CONTEXT}/new": "not committed"})
    assert laptop.envsync("apply").code == 0
    layers = contents(laptop, "1")
    assert layers["all/kept"] == b"committed"
    assert "all/new" not in layers


def contents(team: Team, tag: str) -> dict[str, bytes]:
    """Return the regular files of all layers, later ones over earlier ones."""
    import io
    import tarfile

    found: dict[str, bytes] = {}
    place = team.place("app")
    with team.reader() as reader:
        manifest = reader.manifest(place, tag)
        assert isinstance(manifest, Present)
        for layer in manifest.value.document()["layers"]:
            with reader.blob(place, Descriptor.parse(layer)) as chunks:
                data = b"".join(chunks)
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for member in archive:
                    if member.isfile():
                        file = archive.extractfile(member)
                        assert file is not None
                        found[member.name] = file.read()
    return found


def test_two_environments_with_one_definition_are_built_once(laptop: Team, base: str) -> None:
    ask(laptop, f"FROM {base}\nRUN date > /when 2>&1; cat /proc/uptime > /when\n")
    laptop.repository.write(
        {"environments/twin/environment.yaml": "name: twin\nbuild:\n  path: ../app/docker\n"}
    )
    assert laptop.envsync("lock").code == 0
    laptop.repository.commit("twin")
    assert laptop.envsync("apply").code == 0
    assert laptop.records("app")[0].digest == laptop.records("twin")[0].digest
    laptop.check("app", "twin")


# ---- what is locked is what is built ----


def test_every_image_that_a_dockerfile_names_is_locked(laptop: Team, base: str) -> None:
    ask(
        laptop,
        f"ARG BASE={base}\nFROM $BASE AS a\nRUN true\nFROM a\nCOPY --from={base} /bin/sh /sh\n",
    )
    text = (laptop.root / "locks/app/image.yaml").read_text()
    assert text.count("sha256:") == 1
    assert base in text
    assert laptop.envsync("lock", "--check").code == 0


def test_a_moved_tag_changes_nothing_until_it_is_upgraded(laptop: Team, registry: Registry) -> None:
    with hollow_base(content="one") as first:
        base = first.push(registry)
    ask(laptop, f"FROM {base}\nCOPY x /x\n", {"x": "x"})
    assert laptop.envsync("apply").code == 0
    with hollow_base(content="two") as second:
        assert second.push(registry) == base
    assert laptop.envsync("lock", "--check").code == 0
    assert laptop.envsync("lock").code == 0
    assert plan_of(laptop)["state"] == "in_sync"
    assert laptop.envsync("lock", "app", "--upgrade").code == 0
    laptop.repository.commit("upgrade")
    reasons = reasons_of(laptop)
    assert "base_image_changed" in reasons
    assert f"FROM {base} sha256:" in reasons["base_image_changed"]
    assert laptop.envsync("apply").code == 0
    assert contents(laptop, "1")["etc/hollow-0"] == b"amd64 0 one\n"
    assert contents(laptop, "2")["etc/hollow-0"] == b"amd64 0 two\n"


def test_a_dockerfile_that_names_another_image_must_be_locked_again(
    laptop: Team, base: str, registry: Registry, busybox_base: BaseImage
) -> None:
    ask(laptop, f"FROM {base}\n")
    other = busybox_base.push(registry, tag="2")
    write(laptop, f"FROM {other}\n")
    laptop.repository.commit("another base")
    done = laptop.envsync("lock", "--check")
    assert done.code == 2
    assert f"{other} has no digest, {CONTEXT}/Dockerfile asks it" in done.out
    assert f"{base} is locked, {CONTEXT}/Dockerfile does not ask it any more" in done.out
    assert plan_of(laptop)["state"] == "invalid"


# ---- the plan ----


def test_the_plan_says_which_files_of_the_context_changed(laptop: Team, base: str) -> None:
    ask(laptop, f"FROM {base}\nCOPY . /c/\n", {"a": "1", "b": "1", "c": "1"})
    assert laptop.envsync("apply").code == 0
    (laptop.root / CONTEXT / "a").unlink()
    ask(
        laptop,
        f"FROM {base}\nCOPY . /c/\nRUN true\n",
        {"b": "2", "d": "1"},
        "envsync:\n  build_arguments: {LEVEL: high}\n",
    )
    reasons = reasons_of(laptop)
    assert reasons["context_changed"] == (
        "files of the context: 1 added, 2 changed, 1 removed (Dockerfile, a, b, d)"
    )
    assert reasons["dockerfile_changed"] == "Dockerfile differs"
    assert reasons["build_arguments_changed"] == "build arguments differ: LEVEL"
    assert "files of the context" in laptop.envsync("plan").out


def test_arguments_reach_the_build(laptop: Team, base: str) -> None:
    ask(
        laptop,
        "ARG BASE\nFROM $BASE\nARG LEVEL=low\nRUN echo $LEVEL > /level\n",
        text=f"envsync:\n  build_arguments: {{LEVEL: '3.10', BASE: '{base}'}}\n",
    )
    assert laptop.envsync("apply").code == 0
    assert contents(laptop, "1")["level"] == b"3.10\n"


# ---- failures ----


def test_a_failing_step_is_named_with_its_line_and_its_log_is_kept(laptop: Team, base: str) -> None:
    laptop.ask("good", "tiny-00001")
    ask(laptop, f"# a comment\nFROM {base}\n\nRUN echo first\nRUN echo why-it-fails; \\\n  false\n")
    done = laptop.envsync("apply")
    assert done.code == 6
    assert "the Dockerfile of app does not build" in done.err
    assert f"{CONTEXT}/Dockerfile:5:1: step 3 of 3 failed: RUN echo why-it-fails;" in done.err
    assert "    why-it-fails" in done.err
    assert "    envsync logs app" in done.err
    assert laptop.versions("good") == ["1"]
    assert laptop.versions("app") == []
    log = laptop.envsync("logs", "app")
    assert log.code == 0
    assert "first\n" in log.out
    assert "returned a non-zero code: 1\n" in log.out


def test_the_log_of_a_version_can_be_read_later(laptop: Team, base: str) -> None:
    ask(laptop, f"FROM {base}\nRUN echo of-version-one\n")
    assert laptop.envsync("apply").code == 0
    # The engine outlives the test, and prints nothing for a step that it has done before.
    second = f"of-version-two-{uuid.uuid4().hex}"
    ask(laptop, f"FROM {base}\nRUN echo {second}\n")
    assert "of-version-one" in laptop.envsync("logs", "app").out
    assert laptop.envsync("apply").code == 0
    assert "of-version-one" in laptop.envsync("logs", "app:1").out
    assert second in laptop.envsync("logs", "app").out
    document = laptop.envsync("logs", "app:2", "--format", "json").json
    assert document["version"] == "2"
    assert second in document["lines"]


def test_without_a_log_there_is_a_sentence(laptop: Team) -> None:
    laptop.ask("conda", "tiny-00001")
    assert laptop.envsync("apply").code == 0
    done = laptop.envsync("logs", "conda:1")
    assert done.code == 6
    assert "there is no build log of conda:1 on this machine" in done.err


def test_a_build_that_takes_too_long_is_stopped(laptop: Team, base: str) -> None:
    text = "envsync:\n  build_timeout: 2\n"
    ask(laptop, f"FROM {base}\nRUN echo begun; sleep 600\n", text=text)
    done = laptop.envsync("apply")
    assert done.code == 8
    assert "the build took longer than 2 seconds, and was stopped" in done.err
    assert "begun" in laptop.envsync("logs", "app").out


def test_without_an_engine_everything_else_goes_on(folder_team: Team, base: str) -> None:
    folder_team.variables["DOCKER_HOST"] = f"unix://{folder_team.cache}/no-engine.sock"
    folder_team.ask("good", "tiny-00001")
    ask(folder_team, f"FROM {base}\nRUN true\n")
    assert plan_of(folder_team)["state"] == "create"
    done = folder_team.envsync("apply")
    assert done.code == 8
    assert "building from a Dockerfile needs a Docker engine" in done.err
    assert "export DOCKER_HOST=" in done.err
    assert folder_team.versions("good") == ["1"]
    alone = folder_team.envsync("apply", "app")
    assert alone.code == 8


def test_a_registry_that_lost_the_image_cannot_get_another_one_for_the_version(
    builders: Team, base: str, engine: Engine, registry: Registry, busybox_base: BaseImage
) -> None:
    # No other test has this step, so that no cache of the engine has it.
    ask(builders, f"FROM {base}\nRUN cat /proc/sys/kernel/random/uuid > /id-{uuid4()}\n")
    assert builders.envsync("apply").code == 0
    (record,) = builders.records("app")
    builders.wipe_registry()
    busybox_base.push(registry)
    forget_build(engine, record.definition)
    done = builders.envsync("apply")
    assert done.code == 5, done.err
    assert "version 1 of app cannot be made again" in done.err
    assert record.digest in done.err
    assert builders.tags("app") == {}
    assert builders.records("app") == (record,)


def forget_build(engine: Engine, definition: str) -> None:
    """Take one build out of the engine's cache, as a new machine has none."""
    label = f"label=io.envsync.definition-hash={definition}"
    for image in engine.docker("images", "--quiet", "--filter", label).split():
        engine.docker("rmi", image)


def test_a_lost_content_tag_comes_back_without_building(builders: Team, base: str) -> None:
    ask(builders, f"FROM {base}\nRUN cat /proc/sys/kernel/random/uuid > /id\n")
    assert builders.envsync("apply").code == 0
    (record,) = builders.records("app")
    tag = f"def-{record.definition}"
    builders.delete_tag("app", tag)
    builders.variables["DOCKER_HOST"] = "unix:///nowhere.sock"
    done = builders.envsync("apply")
    assert done.code == 0, done.err
    assert builders.tags("app")[tag] == record.digest


def test_what_was_published_and_not_recorded_is_adopted_without_building(
    builders: Team, base: str
) -> None:
    ask(builders, f"FROM {base}\nRUN cat /proc/sys/kernel/random/uuid > /id\n")
    assert builders.envsync("apply").code == 0
    (record,) = builders.records("app")
    builders.arbiter.git("tag", "--delete", "env/app/1")
    if builders.remote:
        builders.repository.git("tag", "--delete", "env/app/1")
    builders.delete_tag("app", "1")
    builders.variables["DOCKER_HOST"] = "unix:///nowhere.sock"
    done = builders.envsync("apply")
    assert done.code == 0, done.err
    assert replace(builders.records("app")[0], created=0) == replace(record, created=0)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "envsync:\n  platforms: [linux-64, linux-aarch64]\n",
            "A build context makes an image for one platform",
        ),
        ("os_type: windows\n", "Windows images cannot be built"),
    ],
)
def test_what_no_engine_is_asked_to_build_is_refused_in_words(
    folder_team: Team, base: str, text: str, words: str
) -> None:
    write(folder_team, "FROM scratch\nCOPY Dockerfile /\n", text=text)
    folder_team.envsync("lock")
    folder_team.repository.commit("app")
    plan = plan_of(folder_team)
    assert plan["state"] == "invalid"
    assert words in json.dumps(plan)


def test_a_context_at_a_url_is_refused_in_words(folder_team: Team) -> None:
    folder_team.repository.write(
        {"environments/app/environment.yaml": "build:\n  path: https://example.org/x.git\n"}
    )
    folder_team.repository.commit("url")
    plan = plan_of(folder_team)
    assert plan["state"] == "invalid"
    assert "The build context is not in this repository" in json.dumps(plan)


def test_another_platform_needs_another_engine(laptop: Team, base: str) -> None:
    ask(laptop, f"FROM {base}\n", text="envsync:\n  platforms: [linux-aarch64]\n")
    done = laptop.envsync("apply")
    assert done.code == 8
    assert "app is for linux-aarch64, and the engine here builds for linux-64" in done.err


CANARY = "canary-of-a-secret"
SECRET_STEP = "RUN --mount=type=secret,id=TOKEN "
SECRETS = "envsync:\n  build_secrets: [TOKEN]\n"


def places_with_canary(team: Team, *more: Path) -> list[str]:
    places = [team.root, team.cache, team.arbiter.path, *more]
    found = subprocess.run(["grep", "-rl", CANARY, *map(str, places)], capture_output=True)
    return found.stdout.decode().splitlines()


@pytest.fixture
def keepers(builders: Team) -> Team:
    """A team whose machine has a secret; the engine of the tests has no network."""
    builders.variables |= {"TOKEN": CANARY, "ENVSYNC_BUILD_NETWORK": "none"}
    return builders


def test_a_secret_reaches_the_step_that_asks_and_nothing_else(
    keepers: Team, base: str, engine: Engine
) -> None:
    # A step of its own: what the engine's cache has is not run, and says nothing.
    step = f"{SECRET_STEP} cat /run/secrets/TOKEN; test -s /run/secrets/TOKEN && echo yes > /got"
    step += f"; : {uuid4()}"
    ask(keepers, f"FROM {base}\n{step}\nRUN test ! -e /run/secrets/TOKEN\n", text=SECRETS)
    done = keepers.envsync("apply")
    assert done.code == 0, done.err
    keepers.check("app")
    files = contents(keepers, "1")
    assert files["got"] == b"yes\n"
    assert not any(CANARY.encode() in data for data in files.values())
    log = keepers.envsync("logs", "app")
    assert "***" in log.out
    said = done.out + done.err + log.out + json.dumps(config_of(keepers, "1"))
    assert CANARY not in said
    more = [keepers.registry.data] if keepers.registry else []
    assert places_with_canary(keepers, *more) == []
    count("X8", places=1, **{"canaries found": 0})
    again = keepers.envsync("apply")
    assert (again.code, again.out) == (0, "Nothing to do: 1 in sync.\n")


def test_another_value_of_a_secret_is_no_other_definition(keepers: Team, base: str) -> None:
    ask(keepers, f"FROM {base}\n{SECRET_STEP} true\n", text=SECRETS)
    before = plan_of(keepers)["after"]
    keepers.variables["TOKEN"] = "another-value"
    assert plan_of(keepers)["after"] == before


def test_a_secret_that_a_step_writes_into_a_file_is_never_published(
    keepers: Team, base: str
) -> None:
    ask(keepers, f"FROM {base}\n{SECRET_STEP} cp /run/secrets/TOKEN /kept\n", text=SECRETS)
    done = keepers.envsync("apply")
    assert done.code == 6
    assert "the build secret TOKEN stands in a layer" in done.err
    assert keepers.tags("app") == {}
    more = [keepers.registry.data] if keepers.registry else []
    assert places_with_canary(keepers, *more) == []


def test_a_failing_step_with_a_secret_is_named_and_says_nothing_of_it(
    keepers: Team, base: str
) -> None:
    step = f"{SECRET_STEP} \\\n  cat /run/secrets/TOKEN; echo; echo why; false"
    ask(keepers, f"FROM {base}\n\n{step}\n", text=SECRETS)
    done = keepers.envsync("apply")
    assert done.code == 6
    assert f"{CONTEXT}/Dockerfile:3:1: step 2 of 2 failed: RUN --mount=type=secret" in done.err
    assert "    ***" in done.err
    assert "    why" in done.err
    assert CANARY not in done.err + keepers.envsync("logs", "app").out


def test_a_secret_that_is_not_set_is_asked_for_by_name(laptop: Team, base: str) -> None:
    ask(laptop, f"FROM {base}\n{SECRET_STEP} true\n", text=SECRETS)
    done = laptop.envsync("apply")
    assert done.code == 6
    assert "a build secret is not set on this machine" in done.err
    assert "export TOKEN=" in done.err


def test_instructions_that_only_buildkit_has_are_built(laptop: Team, base: str) -> None:
    laptop.variables["ENVSYNC_BUILD_NETWORK"] = "none"
    ask(laptop, f"FROM {base}\nRUN --mount=type=cache,target=/cache echo made > /made\n")
    done = laptop.envsync("apply")
    assert done.code == 0, done.err
    assert contents(laptop, "1")["made"] == b"made\n"


def test_a_context_file_that_git_does_not_hold_itself_is_named(folder_team: Team) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    write(folder_team, "FROM scratch\nCOPY . /\n", {"model.bin": pointer})
    for name, target in {
        "out": "../../../envsync.yaml",
        "absolute": "/etc/passwd",
        "inner/up": "..",
        "inner/through": "up/../environment.yaml",
        "fine": "inner/up/Dockerfile",
    }.items():
        link = folder_team.root / CONTEXT / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(target)
    assert folder_team.envsync("lock", "app").code == 0
    folder_team.repository.commit("links")
    inner = Path(f"{CONTEXT}/module")
    head = folder_team.repository.git("rev-parse", "HEAD").strip()
    folder_team.repository.git("update-index", "--add", "--cacheinfo", f"160000,{head},{inner}")
    folder_team.repository.git("commit", "--quiet", "-m", "submodule")
    text = str(reasons_of(folder_team)["spec_invalid"])
    assert f"{CONTEXT}/model.bin: A pointer of Git LFS" in text
    assert f"{CONTEXT}/out: A link out of the context, to '../../../envsync.yaml'" in text
    assert f"{CONTEXT}/absolute: A link out of the context, to '/etc/passwd'" in text
    assert f"{CONTEXT}/inner/through: A link out of the context" in text
    assert f"{CONTEXT}/module: A submodule" in text
    assert f"{CONTEXT}/fine" not in text
    count("X4", payloads=5, refused=5)
    ignored = "model.bin\nout\nabsolute\ninner/through\nmodule\n"
    write(folder_team, "FROM scratch\nCOPY . /\n", {".dockerignore": ignored})
    folder_team.repository.git("add", f"{CONTEXT}/.dockerignore")
    folder_team.repository.git("commit", "--quiet", "-m", "ignored")
    assert plan_of(folder_team)["state"] == "create"


def test_the_whole_repository_can_be_a_context(laptop: Team, base: str) -> None:
    laptop.repository.write(
        {
            "environments/app/environment.yaml": "build:\n  path: ../..\n"
            "  dockerfile_path: docker/Dockerfile\n",
            "docker/Dockerfile": f"FROM {base}\nCOPY src /src\n",
            "src/main.py": "print(1)\n",
            ".dockerignore": "locks\n.git*\n",
        }
    )
    assert laptop.envsync("lock", "app").code == 0
    laptop.repository.commit("app")
    assert laptop.envsync("apply").code == 0
    laptop.check("app")
    assert contents(laptop, "1")["src/main.py"] == b"print(1)\n"
    laptop.repository.write({"src/main.py": "print(2)\n"})
    laptop.repository.commit("main")
    assert reasons_of(laptop)["context_changed"] == "files of the context: 1 changed (src/main.py)"


def test_the_dockerfile_is_shown_as_it_is_built(laptop: Team, base: str) -> None:
    ask(laptop, f"FROM {base}\nRUN true\n")
    assert laptop.envsync("apply").code == 0
    repository = base.rpartition(":")[0]
    shown = laptop.envsync("show", "app:1", "--dockerfile").out
    assert shown.startswith(f"FROM {repository}@sha256:")
    assert shown.endswith("\nRUN true\n")


def test_a_build_that_takes_too_long_is_stopped_by_buildkit_too(laptop: Team, base: str) -> None:
    laptop.variables["ENVSYNC_BUILD_NETWORK"] = "none"
    step = "RUN --mount=type=tmpfs,target=/t echo begun; sleep 600"
    ask(laptop, f"FROM {base}\n{step}\n", text="envsync:\n  build_timeout: 4\n")
    done = laptop.envsync("apply")
    assert done.code == 8
    assert "the build took longer than 4 seconds, and was stopped" in done.err


def test_two_that_build_at_once_agree_on_one_image(
    server_team: Team, engine: Engine, base: str, tmp_path: Path
) -> None:
    server_team.variables["DOCKER_HOST"] = engine.host
    ask(server_team, f"FROM {base}\nRUN cat /proc/sys/kernel/random/uuid > /id-{uuid4()}\n")
    server_team.repository.git("push", "--quiet", "origin", "main")
    assert server_team.remote is not None
    other = replace(
        server_team,
        repository=server_team.remote.clone(tmp_path / "other"),
        cache=tmp_path / "other-cache",
    )
    running = [one.start("apply") for one in (server_team, other)]
    ended = [(*process.communicate(timeout=120), process.returncode) for process in running]
    assert {code for _, _, code in ended} <= {0, 5}, ended
    assert server_team.versions("app") == ["1"]
    for one in (server_team, other):
        again = one.envsync("apply")
        assert again.code == 0, again.err
    server_team.check("app")
    (record,) = server_team.records("app")
    assert server_team.tags("app")[f"def-{record.definition}"] == record.digest

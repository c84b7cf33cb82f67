"""``envsync run``: with a real engine and without one; streams, signals, mounts, setup."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from envsync.model.job import folder_in_container
from envsync.oci.descriptor import INDEX
from tests.parts.baseimage import BaseImage
from tests.parts.cache import Unavailable
from tests.parts.engine import Engine
from tests.parts.process import is_running, tool
from tests.parts.registry import Registry, run_registry
from tests.reliability.scenes import Stage
from tests.team import Team

ENGINES = ("docker", "root", "user")
"""A container engine; none, as root; none, and none of root's capabilities."""
_WITHOUT = ("setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all")
"""Root without capabilities, but for the one that mapping root itself into a namespace needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Starts ``envsync run`` in a team's repository, by one of the ways to run."""

    team: Team
    way: str
    host: str = ""

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        found = {**self.team.environment(), **variables}
        if self.host:
            found["DOCKER_HOST"] = self.host
        return found

    def start(
        self,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
        terminal: int = -1,
    ) -> subprocess.Popen[bytes]:
        """Start it in the top folder of the team's repository, or in *folder*."""
        engine = "docker" if self.way == "docker" else "none"
        command = [
            *(_WITHOUT if self.way == "user" else ()),
            sys.executable,
            "-m",
            "envsync",
            "run",
            "--engine",
            engine,
            *arguments,
        ]
        return subprocess.Popen(
            command,
            cwd=folder or self.team.root,
            env=self.environment(variables or {}),
            stdin=stdin if terminal < 0 else terminal,
            stdout=subprocess.PIPE if terminal < 0 else terminal,
            stderr=subprocess.PIPE if terminal < 0 else terminal,
            start_new_session=True,
            # The terminal of the new session, so that its keys become signals.
            preexec_fn=None if terminal < 0 else lambda: _control(terminal),
        )

    def run(
        self,
        *arguments: str,
        given: bytes | None = None,
        folder: Path | None = None,
        **variables: str,
    ) -> tuple[int, str, str]:
        """Run it to its end and return its code and both streams."""
        stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
        process = self.start(*arguments, stdin=stdin, folder=folder, variables=variables)
        out, err = process.communicate(given, timeout=120)
        return process.returncode, out.decode(), err.decode()


@pytest.fixture(scope="session")
def shell_stage(tmp_path_factory: pytest.TempPathFactory, tiny_packages: Path) -> Iterator[Stage]:
    """Where the team of `shell` is set up once, and copied for each test."""
    with run_registry() as registry:
        folder = tmp_path_factory.mktemp("shell")
        yield Stage(folder=folder, channel=tiny_packages, registry=registry)


@pytest.fixture
def shell(
    shell_stage: Stage, busybox_base: BaseImage, tmp_path: Path, git_variables: dict[str, str]
) -> Team:
    """A team whose environment `shell` is an image with a shell, as it is."""

    def ask(team: Team) -> None:
        assert team.registry is not None
        team.ask("shell", image=busybox_base.push(team.registry))
        done = team.envsync("apply")
        assert done.code == 0, done.err

    return shell_stage.team("shell", tmp_path / "team", git_variables, ask)


@pytest.fixture(params=ENGINES)
def runner(request: pytest.FixtureRequest, shell: Team) -> Runner:
    """Each way to run in turn."""
    return _runner(request.param, request, shell)


@pytest.fixture(params=["root", "user"])
def unpacker(request: pytest.FixtureRequest, shell: Team) -> Runner:
    """Each way to run without an engine."""
    return _runner(request.param, request, shell)


def _runner(way: str, request: pytest.FixtureRequest, team: Team) -> Runner:
    if way == "docker":
        engine: Engine = request.getfixturevalue("engine")
        return Runner(team=team, way=way, host=engine.host)
    if os.geteuid() != 0:
        raise Unavailable("entering images as root needs root")
    if way == "user":
        command = [*_WITHOUT, tool("unshare"), "-r", "-m", "true"]
        if (probe := subprocess.run(command, capture_output=True)).returncode:
            raise Unavailable(f"no user namespaces here: {probe.stderr.decode()}")
    return Runner(team=team, way=way)


def _control(terminal: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def test_the_output_and_the_exit_code_are_the_commands(runner: Runner) -> None:
    script = "echo out; echo err >&2; exit 7"
    code, out, err = runner.run("shell", "--", "sh", "-c", script)
    assert (code, out) == (7, "out\n"), err
    assert err.endswith("err\n")


def test_what_is_given_to_the_command_arrives_whole(runner: Runner) -> None:
    given = bytes(range(256)) * 4096
    process = runner.start("shell", "--", "cat", stdin=subprocess.PIPE)
    out, err = process.communicate(given, timeout=120)
    assert process.returncode == 0, err
    assert out == given


@pytest.mark.parametrize("reference", ["shell", "shell@latest", "shell:1", "azureml:shell:1"])
def test_a_version_is_called_by_its_references(
    shell: Team, reference: str, request: pytest.FixtureRequest
) -> None:
    runner = _runner("root", request, shell)
    assert runner.run(reference, "--", "echo", "hello")[:2] == (0, "hello\n")


def test_a_digest_is_a_reference_too_and_an_unknown_one_is_refused(unpacker: Runner) -> None:
    digest = unpacker.team.records("shell")[0].digest
    assert unpacker.run(digest, "--", "echo", "hello")[:2] == (0, "hello\n")
    code, _, err = unpacker.run(f"sha256:{'0' * 64}", "--", "echo")
    assert code == 6
    assert "nothing here is sha256:000" in err


def test_the_working_folder_is_there_and_can_be_written(runner: Runner) -> None:
    (runner.team.root / "data.txt").write_text("from here")
    script = "cat data.txt && pwd && echo back > result.txt"
    code, out, err = runner.run("shell", "--", "sh", "-c", script)
    assert code == 0, err
    assert out == f"from here{runner.team.root}\n"
    assert (runner.team.root / "result.txt").read_text() == "back\n"


def test_variables_reach_the_command(runner: Runner) -> None:
    code, out, err = runner.run(
        "shell", "-e", "A=1 and 2", "-e", "HANDED", "-e", "MISSING", "--", "env", HANDED="over"
    )
    assert code == 0, err
    lines = out.splitlines()
    assert "A=1 and 2" in lines
    assert "HANDED=over" in lines
    assert not any(line.startswith("MISSING") for line in lines)
    assert not any(line.startswith("ENVSYNC_CACHE_DIR") for line in lines)


def test_more_can_be_mounted_also_so_that_it_cannot_be_written(runner: Runner) -> None:
    data = runner.team.root.parent / "data"
    data.mkdir(mode=0o777)
    data.chmod(0o777)
    (data / "file").write_text("data")
    script = "cat /mnt/data/file; echo no > /mnt/data/file; cat /mnt/data/file"
    code, out, err = runner.run(
        "shell", "--volume", f"{data}:/mnt/data:ro", "--", "sh", "-c", script
    )
    assert (code, out) == (0, "datadata"), err
    assert "Read-only" in err


def test_a_program_that_is_not_there_is_127(runner: Runner) -> None:
    code, out, err = runner.run("shell", "--", "no-such-program")
    assert (code, out) == (127, "")
    assert "no-such-program" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_command(runner: Runner, number: signal.Signals) -> None:
    script = f"trap 'echo told; exit 3' {number.value}; echo ready; while :; do sleep 0.05; done"
    process = runner.start("shell", "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n", process.communicate()[1]
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (3, b"told\n"), err


def test_a_command_that_handles_no_signals_ends_by_one(runner: Runner) -> None:
    process = runner.start("shell", "--", "sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    process.communicate(timeout=30)
    # A shell says 143 of a process that this signal ended; Python says -15.
    assert process.returncode in {143, -15}


def test_a_terminal_is_the_commands_and_its_keys_reach_it(runner: Runner) -> None:
    script = "trap 'echo interrupted; exit 4' 2; test -t 0 && test -t 1 && echo ready; "
    ours, theirs = pty.openpty()
    process = runner.start(
        "shell", "--", "sh", "-c", f"{script} while :; do sleep 0.05; done", terminal=theirs
    )
    os.close(theirs)
    try:
        seen = _read_until(ours, b"ready")
        os.write(ours, b"\x03")  # Ctrl-C
        seen += _read_until(ours, b"interrupted")
        assert process.wait(30) == 4, seen
    finally:
        os.close(ours)


def _read_until(terminal: int, words: bytes) -> bytes:
    seen = b""
    end = time.monotonic() + 60
    while words not in seen:
        assert time.monotonic() < end, seen
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 1000)
    return seen


def test_the_options_of_the_command_are_its_own(shell: Team) -> None:
    runner = Runner(team=shell, way="root")
    code, out, err = runner.run("shell", "--", "echo", "--format", "json", "-e", "--engine=x")
    assert (code, out) == (0, "--format json -e --engine=x\n"), err
    code, _, err = runner.run("nothing", "--", "echo", "--format", "json")
    assert code == 6
    assert err.startswith("error: ")


def test_the_engine_keeps_no_container(shell: Team, engine: Engine) -> None:
    runner = Runner(team=shell, way="docker", host=engine.host)
    assert runner.run("shell", "--", "false")[0] == 1
    digest = shell.records("shell")[0].digest
    assert shell.registry is not None
    listed = engine.docker("ps", "--all", "--format", "{{.Image}} {{.Labels}}")
    assert shell.registry.host not in listed
    assert digest not in listed


def test_a_user_can_be_chosen(runner: Runner) -> None:
    code, out, err = runner.run("shell", "--user", "1234:99", "--", "sh", "-c", "id -u; id -g")
    assert (code, out) == (0, "1234\n99\n"), err


def test_what_a_command_writes_into_the_image_is_gone_with_it(runner: Runner) -> None:
    script = "test ! -e /bin/new && echo x > /bin/new && test -e /bin/new"
    for _ in range(2):
        code, _, err = runner.run("shell", "--", "sh", "-c", script)
        assert code == 0, err


def test_an_image_that_is_here_is_not_fetched_again(runner: Runner) -> None:
    registry = runner.team.registry
    assert registry is not None
    assert runner.run("shell", "--", "true")[0] == 0
    registry.forget()
    assert runner.run("shell", "--", "true")[0] == 0
    layers = [r for r in registry.requests("GET", "/blobs/") if r.response_bytes > 10_000]
    assert layers == []


def test_without_a_command_the_image_runs_its_own(runner: Runner) -> None:
    code, out, err = runner.run("shell", given=b"echo from the shell\n")
    assert (code, out) == (0, "from the shell\n"), err


@pytest.mark.parametrize("way", ["docker", "root"])
def test_the_working_folder_stands_at_work_where_its_own_path_would_hide_the_image(
    shell: Team, way: str, request: pytest.FixtureRequest
) -> None:
    runner = _runner(way, request, shell)
    folder = Path(tempfile.mkdtemp(dir="/usr/local", prefix="envsync-test-"))
    try:
        subprocess.run(["cp", "-a", f"{shell.root}/.", str(folder)], check=True)
        code, out, err = runner.run("shell", "--", "sh", "-c", "pwd; ls", folder=folder)
    finally:
        shutil.rmtree(folder)
    assert code == 0, err
    assert out.splitlines()[0] == "/work"
    assert "environments" in out


@pytest.mark.parametrize(
    ("folder", "place"),
    [
        ("/home/ada/project", "/home/ada/project"),
        ("/root/project", "/root/project"),
        ("/data", "/data"),
        ("/", "/work"),
        ("/usr/src", "/work"),
        ("/opt/env/x", "/work"),
        ("/home", "/work"),
        ("/var/lib/job", "/var/lib/job"),
    ],
)
def test_the_working_folder_hides_nothing_of_the_image(folder: str, place: str) -> None:
    assert folder_in_container(folder) == place


# Setup


SETUP = """\
echo one >> {root}/setups
sleep 0.5
exit $(cat {root}/code)
"""


def _setup(team: Team, code: int) -> Path:
    script = team.root / "setup.sh"
    script.write_text(SETUP.format(root=team.root))
    (team.root / "code").write_text(str(code))
    (team.root / "setups").touch()
    (team.root / "setups").chmod(0o666)
    return script


def _together(runner: Runner, script: Path, count: int, **variables: str) -> list[tuple[int, str]]:
    command = "test -s setups && echo worked"
    processes = [
        runner.start(
            "shell", "--setup", str(script), "--", "sh", "-c", command, variables=variables
        )
        for _ in range(count)
    ]
    ended = [process.communicate(timeout=120) for process in processes]
    return [(p.returncode, out.decode()) for p, (out, _) in zip(processes, ended, strict=True)]


def test_setup_runs_once_for_the_processes_of_a_run_and_all_wait_for_it(runner: Runner) -> None:
    script = _setup(runner.team, 0)
    assert _together(runner, script, 4, SLURM_JOB_ID="17") == [(0, "worked\n")] * 4
    assert (runner.team.root / "setups").read_text() == "one\n"
    # The same run again needs nothing; another run does.
    assert _together(runner, script, 1, SLURM_JOB_ID="17") == [(0, "worked\n")]
    assert (runner.team.root / "setups").read_text() == "one\n"
    assert _together(runner, script, 1, SLURM_JOB_ID="18") == [(0, "worked\n")]
    assert (runner.team.root / "setups").read_text() == "one\n" * 2


def test_setup_that_fails_fails_all_who_wait_and_is_tried_again_later(unpacker: Runner) -> None:
    script = _setup(unpacker.team, 9)
    ended = _together(unpacker, script, 3, SLURM_JOB_ID="19")
    assert ended == [(9, "")] * 3
    before = (unpacker.team.root / "setups").read_text().count("one")
    (unpacker.team.root / "code").write_text("0")
    assert _together(unpacker, script, 1, SLURM_JOB_ID="19") == [(0, "worked\n")]
    assert (unpacker.team.root / "setups").read_text().count("one") == before + 1


def test_setup_that_is_killed_is_done_by_the_next(unpacker: Runner) -> None:
    script = _setup(unpacker.team, 0)
    script.write_text(f"echo $$ > {unpacker.team.root}/pid; exec sleep 60\n")
    arguments = ("shell", "--run-id", "r", "--setup", str(script), "--", "true")
    first = unpacker.start(*arguments)
    pid = unpacker.team.root / "pid"
    _until(lambda: pid.exists() and pid.read_text().strip() != "")
    first.kill()
    first.communicate()
    assert unpacker.run("shell", "--run-id", "r", "--", "true")[0] == 0
    child = int(pid.read_text())
    _until(lambda: not is_running(child))
    script.write_text(f"echo one >> {unpacker.team.root}/setups\n")
    assert unpacker.run(*arguments)[0] == 0
    assert (unpacker.team.root / "setups").read_text() == "one\n"


def test_without_a_run_to_belong_to_setup_runs_each_time(unpacker: Runner) -> None:
    script = _setup(unpacker.team, 0)
    assert _together(unpacker, script, 1) == [(0, "worked\n")]
    assert _together(unpacker, script, 1) == [(0, "worked\n")]
    assert (unpacker.team.root / "setups").read_text() == "one\n" * 2


def test_a_setup_script_may_say_what_reads_it(unpacker: Runner) -> None:
    script = unpacker.team.root / "setup"
    script.write_text("#!/bin/cat\nread by cat\n")
    code, out, err = unpacker.run("shell", "--setup", str(script), "--", "echo", "done")
    assert (code, out) == (0, "#!/bin/cat\nread by cat\ndone\n"), err


# What cannot be done


def test_what_needs_an_engine_is_said(unpacker: Runner) -> None:
    code, _, err = unpacker.run("shell", "--gpus", "all", "--", "true")
    assert code == 6
    assert "GPUs need a container engine" in err
    code, _, err = unpacker.run("shell", "-p", "8080:80", "--", "true")
    assert code == 64
    assert "port 80" in err
    assert unpacker.run("shell", "-p", "8080", "--", "true")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-p", "http"), "not a port"),
        (("-p", "70000"), "not a port"),
        (("--gpus", "many"), "not a number of GPUs"),
        (("-e", "=x"), "no name"),
        (("--volume", "data"), "cannot be mounted"),
        (("--volume", "/tmp:/../etc"), "cannot be mounted"),
        (("--volume", "/tmp:/"), "container's root"),
        (("--engine", "podman"), "podman"),
    ],
)
def test_wrong_usage_is_told(folder_team: Team, arguments: tuple[str, ...], words: str) -> None:
    done = folder_team.envsync("run", "x", *arguments, "--", "true")
    assert done.code == 64
    assert words in done.err


def test_an_engine_that_does_not_answer_is_told(shell: Team) -> None:
    nowhere = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    asked = Runner(team=shell, way="docker", host=nowhere["DOCKER_HOST"])
    code, _, err = asked.run("shell", "--", "true")
    assert code == 8
    assert "no docker engine answers" in err
    assert "--engine none" in err


def test_without_an_engine_that_answers_the_image_is_unpacked(
    shell: Team, request: pytest.FixtureRequest
) -> None:
    runner = _runner("root", request, shell)
    process = subprocess.run(
        [sys.executable, "-m", "envsync", "run", "shell", "--", "echo", "hello"],
        cwd=shell.root,
        env=runner.environment({"DOCKER_HOST": "unix:///nowhere/docker.sock"}),
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stdout) == (0, "hello\n")
    assert "no docker engine answers" in process.stderr


def test_an_environment_without_versions_cannot_be_run(folder_team: Team) -> None:
    folder_team.ask("tiny", "tiny-00000")
    done = folder_team.envsync("run", "--engine", "none", "tiny", "--", "true")
    assert done.code == 6
    assert "no version yet" in done.err


def _until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


# Images that envsync builds, and specs that are run as they are


@pytest.fixture
def built(server_team: Team, busybox_base: BaseImage) -> Team:
    """A team whose environment `tool` is built on a base with a shell, for two platforms."""
    assert server_team.registry is not None
    base = busybox_base.push(server_team.registry)
    settings = "envsync:\n  platforms: [linux-64, linux-aarch64]\n"
    settings += "  environment_variables: {COLOUR: green}\n"
    server_team.ask("tool", "tiny-00000", "tiny-00001", image=base, text=settings)
    done = server_team.envsync("apply")
    assert done.code == 0, done.err
    return server_team


@pytest.mark.parametrize("way", ENGINES)
def test_an_environment_runs_with_its_packages_and_variables(
    built: Team, way: str, request: pytest.FixtureRequest
) -> None:
    runner = _runner(way, request, built)
    script = "echo $COLOUR $CONDA_PREFIX; ls $CONDA_PREFIX/conda-meta"
    code, out, err = runner.run("tool", "--", "sh", "-c", script)
    assert code == 0, err
    assert out.startswith("green /opt/env\n")
    assert "tiny-00000" in out


def test_images_of_a_folder_are_loaded_into_the_engine(
    folder_team: Team, registry: Registry, busybox_base: BaseImage, engine: Engine
) -> None:
    # The engine is shared: nobody else has had an image with this variable.
    text = f"envsync: {{environment_variables: {{OF: '{registry.port}-{time.time_ns()}'}}}}"
    folder_team.ask("tool", "tiny-00000", image=busybox_base.push(registry), text=text)
    assert folder_team.envsync("apply").code == 0
    runner = Runner(team=folder_team, way="docker", host=engine.host)
    code, out, err = runner.run("tool", "--", "echo", "loaded")
    assert (code, out) == (0, "loaded\n"), err
    assert "loading" in err
    code, out, err = runner.run("tool", "--", "echo", "again")
    assert (code, out) == (0, "again\n"), err
    assert "loading" not in err


def _inline(team: Team, base: str, *packages: str) -> Path:
    folder = team.root / "experiments"
    folder.mkdir(exist_ok=True)
    listed = ", ".join(packages)
    (folder / "conda.yaml").write_text(
        f"channels: ['{team.channel.as_uri()}']\ndependencies: [{listed}]\n"
    )
    spec = folder / "trial.yaml"
    spec.write_text(f"image: {base}\nconda_file: conda.yaml\n")
    return spec


@pytest.mark.parametrize("way", ENGINES)
def test_a_spec_runs_as_it_is_and_is_found_again(
    server_team: Team,
    busybox_base: BaseImage,
    way: str,
    request: pytest.FixtureRequest,
) -> None:
    assert server_team.registry is not None
    _inline(server_team, busybox_base.push(server_team.registry), "tiny-00002")
    refs = server_team.repository.refs()
    runner = _runner(way, request, server_team)
    script = "ls $CONDA_PREFIX/conda-meta"
    code, out, err = runner.run("experiments/trial.yaml", "--", "sh", "-c", script)
    assert code == 0, err
    assert "tiny-00002" in out
    assert "reading" in err
    code, again, err = runner.run("experiments/trial.yaml", "--", "sh", "-c", script)
    assert (code, again) == (0, out), err
    assert "reading" not in err
    assert "solving" not in err
    # Nothing is recorded, published or locked in the repository.
    assert server_team.repository.refs() == refs
    assert not (server_team.root / "locks").exists()
    assert server_team.registry.requests("PUT", "/team/") == []


def test_an_anonymous_image_is_found_by_its_digest(
    server_team: Team, busybox_base: BaseImage
) -> None:
    assert server_team.registry is not None
    _inline(server_team, busybox_base.push(server_team.registry), "tiny-00003")
    runner = Runner(team=server_team, way="root")
    assert runner.run("experiments/trial.yaml", "--", "true")[0] == 0
    kept = server_team.cache / "anonymous" / "registry" / "anonymous" / "index.json"
    digest = kept.read_text().partition('"digest":"')[2].partition('"')[0]
    done = server_team.envsync("which", digest, "--format", "json")
    assert done.code == 0, done.err
    assert done.json["anonymous"]["spec"] == "experiments/trial.yaml"
    assert done.json["matches"] == []
    assert runner.run(digest, "--", "echo", "found")[:2] == (0, "found\n")


def test_a_spec_that_a_version_already_is_runs_that_version(
    server_team: Team, busybox_base: BaseImage
) -> None:
    assert server_team.registry is not None
    base = busybox_base.push(server_team.registry)
    _inline(server_team, base, "tiny-00004")
    server_team.ask("known", "tiny-00004", image=base)
    assert server_team.envsync("apply").code == 0
    runner = Runner(team=server_team, way="root")
    code, _, err = runner.run("experiments/trial.yaml", "--", "true")
    assert code == 0, err
    assert "reading" not in err
    assert not (server_team.cache / "anonymous" / "registry").exists()


def test_a_spec_that_is_not_there_or_wrong_is_told(folder_team: Team) -> None:
    done = folder_team.envsync("run", "--engine", "none", "nothing.yaml", "--", "true")
    assert done.code == 6
    assert "there is no file nothing.yaml" in done.err
    (folder_team.root / "bad.yaml").write_text("imagine: x\n")
    done = folder_team.envsync("run", "--engine", "none", "bad.yaml", "--", "true")
    assert done.code == 6
    assert "bad.yaml:1:1" in done.err


def test_an_index_is_what_a_record_of_two_platforms_names(built: Team) -> None:
    record = built.records("tool")[0]
    with built.reader() as reader:
        top = reader.manifest(built.place("tool"), record.digest)
    assert getattr(top, "value").media_type == INDEX  # noqa: B009


def test_the_python_of_an_environment_runs_without_an_engine(
    server_team: Team,
    debian_base: BaseImage,
    small_channel: Path,
    request: pytest.FixtureRequest,
) -> None:
    assert server_team.registry is not None
    folder = server_team.root / "experiments"
    folder.mkdir()
    (folder / "numbers.yaml").write_text(
        f"image: {debian_base.push(server_team.registry)}\n"
        f"conda_file: {{channels: ['{small_channel.as_uri()}'], dependencies: [python, numpy]}}\n"
    )
    (server_team.root / "job.py").write_text(
        "import numpy, sys; print(sys.prefix, numpy.arange(4).sum())\n"
    )
    runner = _runner("user", request, server_team)
    code, out, err = runner.run("experiments/numbers.yaml", "--", "python", "job.py")
    assert (code, out) == (0, "/opt/env 6\n"), err

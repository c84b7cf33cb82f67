"""R10: locks, plans, comments, images and records are byte for byte the same on every machine."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.machines import MACHINES, Machine
from tests.parts.gitremote import GitRepository, new_repository
from tests.reliability.counts import count
from tests.reliability.scenes import BOTH
from tests.team import Team
from tests.test_determinism import other_file_system, run_on

SCRIPT = """
import contextlib, io, json, os, resource, subprocess, sys
from pathlib import Path
from envsync.cli.main import run
from envsync.cli.session import Session
request = json.load(sys.stdin)
os.umask(request["umask"])
if request["open_files"]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (request["open_files"],) * 2)
root = Path(request["root"])
def envsync(*arguments):
    out = io.StringIO()
    session = Session(folder=root, environ=os.environ, interactive=False)
    with contextlib.redirect_stdout(out):
        code = run(["-C", str(root), *arguments], session)
    assert code == 0, out.getvalue()
    return out.getvalue().replace(str(root), "<root>")
def git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True)
    return done.stdout.decode("utf-8")
envsync("lock")
locks = {str(p.relative_to(root)): p.read_bytes().hex() for p in root.glob("locks/*/*")}
git("add", "--all")
git("commit", "--quiet", "--message=locked")
found = {
    "lock": locks,
    "plan JSON": envsync("plan", "--format=json"),
    "markdown": envsync("plan", "--format=markdown"),
}
envsync("apply", "--jobs", str(request["cores"]))
found["tag object"] = git("for-each-ref", "refs/tags/env/")
names = git("for-each-ref", "--format=%(refname)", "refs/tags/env/").split()
found["record"] = [git("cat-file", "tag", name) for name in names]
tops = sorted(root.glob(".envsync/registry/*/index.json"))
found["image"] = {top.parent.name: json.loads(top.read_bytes())["manifests"] for top in tops}
print(json.dumps(found, sort_keys=True))
"""
DATES = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "1700000000 +0530")
"""The commit is the same; what follows from it has to be."""
COMPARED = ("lock", "plan JSON", "markdown", "tag object", "record", "image")

FAST = (
    "umask 077", "umask 177", "hash seed 77", "hash seed random",
    "time zone America/St_Johns", "time zone Pacific/Kiritimati",
    "locale POSIX", "1 cores", "16 cores", "started in the root folder",
    "odd letters in its folder", "another file system", "few open files", "python -OO",
    "python -X utf8=0", "LANG and LC_COLLATE", "another user", "1999", "2037",
    "all at once",
)  # fmt: skip


def anything(seed: int) -> Machine:
    """Return a machine of which everything is chosen by chance."""
    chance = random.Random(seed)
    several = [chance.choice(list(MACHINES.values())) for _ in range(8)]
    return Machine(
        umask=several[0].umask or chance.choice((0, 0o002, 0o027, 0o077, 0o177)),
        zone=chance.choice(("UTC", "Asia/Tokyo", "America/St_Johns", "Etc/GMT+12")),
        hash_seed=str(chance.randrange(1 << 32)),
        locale=chance.choice(("C", "POSIX", "C.UTF-8", "en_US.UTF-8", "")),
        cwd=chance.choice((".", "/")),
        cores=chance.choice((1, 2, 3, 5, 16)),
        order="shuffled",
        variables=several[1].variables,
        options=several[2].options,
        open_files=several[3].open_files,
        user=several[4].user,
        clock=several[5].clock,
        folder=several[6].folder,
        memory=chance.random() < 0.5,
    )


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, tiny_packages: Path) -> Mapping[str, bytes]:
    """The files of a repository in which three environments are asked for."""
    folder = tmp_path_factory.mktemp("asked") / "repository"
    folder.mkdir()
    team = Team(
        repository=GitRepository(path=folder, environment={}),
        channel=tiny_packages,
        cache=folder.parent / "cache",
    )
    team.settings("platforms: [linux-64, linux-aarch64]\n")
    team.spec("train", "tiny-00003", "tiny-00010", text=f"description: é ü\n{BOTH}")
    team.spec("serve", "tiny-00020", text="tags: {b: '1', a: ''}")
    team.spec("label", "tiny-00020", "tiny-00004")
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def outcome(
    machine: Machine, asked: Mapping[str, bytes], folder: Path, variables: Mapping[str, str]
) -> object:
    """Lock, plan and apply on a machine; return all that came of it."""
    with ExitStack() as stack:
        if machine.memory:
            folder = Path(stack.enter_context(other_file_system(folder)))
        work = folder / machine.folder
        work.mkdir(parents=True)
        repository = new_repository(work / "repository", {**variables, **DATES})
        order = sorted(asked, reverse=machine.order == "reversed")
        if machine.order == "shuffled":
            random.Random(7).shuffle(order)
        for name in order:  # as which some file systems list them
            repository.write({name: asked[name]})
        repository.git("add", "--all")
        repository.git("commit", "--quiet", "--message=asked")
        request: dict[str, object] = {
            "root": str(repository.path),
            "umask": machine.umask,
            "open_files": machine.open_files,
            "cores": machine.cores,
        }
        return run_on(machine, SCRIPT, request, work)


@pytest.fixture(scope="module")
def expected() -> dict[str, object]:
    """What the first machine of a worker, a plain one, came to."""
    return {}


def assert_the_same(
    machine: Machine, asked: Mapping[str, bytes], expected: dict[str, object], folder: Path,
    variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, date in DATES.items():
        monkeypatch.setenv(name, date)
    if not expected:
        plain = outcome(MACHINES["a plain one"], asked, folder / "plain", variables)
        assert isinstance(plain, dict)
        assert set(plain) == set(COMPARED)
        assert len(plain["record"]) == 3
        expected |= plain
    found = outcome(machine, asked, folder / "machine", variables)
    assert isinstance(found, dict)
    for what in COMPARED:
        assert found[what] == expected[what], what
    count("R10", machines=1, compared=len(COMPARED))


@pytest.mark.parametrize("name", FAST)
def test_every_machine_says_and_makes_the_same(
    name: str, asked: Mapping[str, bytes], expected: dict[str, object], tmp_path: Path,
    git_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert_the_same(MACHINES[name], asked, expected, tmp_path, git_variables, monkeypatch)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(200))
def test_two_hundred_machines_say_and_make_the_same(
    seed: int, asked: Mapping[str, bytes], expected: dict[str, object], tmp_path: Path,
    git_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert_the_same(anything(seed), asked, expected, tmp_path, git_variables, monkeypatch)

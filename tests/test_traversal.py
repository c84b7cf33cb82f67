"""Paths out of the repository, in everything that a commit can hold (X3), and contexts (X4).

A folder beside the repository has a file of every kind that envsync reads. Each is valid as what it
is, and full of one word, so that whatever reads it shows the word, or asks for it.
"""

from __future__ import annotations

import io
import os
import socket
import stat
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envsync.errors import InvalidInput
from envsync.operations.contexts import context_tar, read_context
from tests.reliability.counts import count
from tests.team import Done, Team
from tests.test_dockerfiles import BUILD, Files, Folder

WORD = "sentinel4711"
OUTSIDE = {
    "environment.yaml": f"name: {WORD}\nimage: {WORD}\n",
    "conda.yaml": f"channels: [{WORD}]\ndependencies: [{WORD}]\n",
    "requirements.txt": f"{WORD}\n",
    "Dockerfile": f"FROM {WORD}\n",
    "envsync.yaml": f"registry: localhost:1/{WORD}\n",
    "ignore": f"{WORD}\n[{WORD}\n",
    "app.yaml": f"archived: {WORD}\n",
    "conda-lock.yml": f"version: {WORD}\n",
    "image.yaml": f"format: {WORD}\n",
    "own-1.0-py3-none-any.whl": f"PK {WORD}",
    "docker/Dockerfile": f"FROM scratch\nCOPY {WORD} /\n",
    f"docker/{WORD}": WORD,
}
FOLDER = "environments/app"
GOOD = (
    "name: app\nimage: scratch\nconda_file:\n  channels: [{channel}]\n"
    "  dependencies: [tiny-00001]\n"
)
CONDA = "name: app\nimage: scratch\nconda_file: {path}\n"
PIP = "name: app\nimage: scratch\nconda_file:\n  dependencies: [python=3.11, {{pip: ['{line}']}}]\n"
BUILDS = "name: app\nbuild:\n  path: {path}\n"
FILE = "name: app\nbuild:\n  path: docker\n  dockerfile_path: {path}\n"

Texts = Mapping[str, str]
Links = Mapping[str, str]


def spec(text: str, **more: str) -> tuple[Texts, Links]:
    return {f"{FOLDER}/environment.yaml": text, **{f"{FOLDER}/{k}": v for k, v in more.items()}}, {}


def linked(text: str, **links: str) -> tuple[Texts, Links]:
    return {f"{FOLDER}/environment.yaml": text}, {f"{FOLDER}/{k}": v for k, v in links.items()}


UP = "../../../outside"
DOCKERFILE = {f"{FOLDER}/docker/Dockerfile": "FROM scratch\nCOPY . /\n"}
NESTED = PIP.format(line="-r r.txt")
PAYLOADS: Mapping[str, tuple[Texts, Links]] = {
    **{
        f"{what}: {path}": spec(text.format(path=f"'{path}'"))
        for what, text, file in (
            ("conda_file", CONDA, "conda.yaml"),
            ("build.path", BUILDS, "docker"),
            ("dockerfile_path", FILE, "docker/Dockerfile"),
        )
        for path in (f"{UP}/{file}", f"OUTSIDE/{file}", f"file:OUTSIDE/{file}",
                     f"./x/../{UP}/{file}", f"{UP[:-7]}./outside/{file}", f"~/../outside/{file}")
    },
    **{
        f"pip: {line}": spec(PIP.format(line=line))
        for line in (
            f"-r {UP}/requirements.txt", "-r OUTSIDE/requirements.txt",
            "-r file://OUTSIDE/requirements.txt", f"--requirement={UP}/requirements.txt",
            f"-c {UP}/requirements.txt", f"./wheels/../{UP}/own-1.0-py3-none-any.whl",
            "OUTSIDE/own-1.0-py3-none-any.whl", "file://OUTSIDE/own-1.0-py3-none-any.whl",
            "own @ file://OUTSIDE/own-1.0-py3-none-any.whl", f"-e {UP}",
            f"{WORD[:4]} --hash=sha256:00 -r OUTSIDE/requirements.txt",
        )
    },
    "a requirements file that goes out": spec(NESTED, **{"r.txt": f"-r {UP}/requirements.txt\n"}),
    "a requirements file with a continued line": spec(
        NESTED, **{"r.txt": "-r \\\nOUTSIDE/requirements.txt\n"}
    ),
    "a conda file that goes out": spec(
        CONDA.format(path="c.yaml"),
        **{"c.yaml": f"dependencies: [python=3.11, {{pip: [-r {UP}/requirements.txt]}}]\n"},
    ),
    "a linked conda file": linked(CONDA.format(path="c.yaml"), **{"c.yaml": f"{UP}/conda.yaml"}),
    "an absolute link": linked(CONDA.format(path="c.yaml"), **{"c.yaml": "OUTSIDE/conda.yaml"}),
    "a chain of links": linked(
        CONDA.format(path="c.yaml"), **{"c.yaml": "d.yaml", "d.yaml": f"{UP}/conda.yaml"}
    ),
    "a linked folder": linked(CONDA.format(path="d/conda.yaml"), d=UP),
    "a linked folder through itself": linked(
        CONDA.format(path="d/e/conda.yaml"), d=".", e=UP
    ),
    "a linked requirements file": linked(NESTED, **{"r.txt": f"{UP}/requirements.txt"}),
    "a linked wheel": linked(
        PIP.format(line="./own-1.0-py3-none-any.whl"),
        **{"own-1.0-py3-none-any.whl": f"{UP}/own-1.0-py3-none-any.whl"},
    ),
    "wheels in a linked folder": linked(
        PIP.format(line="./wheels/own-1.0-py3-none-any.whl"), wheels=UP
    ),
    "a linked Dockerfile": linked(
        BUILDS.format(path="docker"), **{"docker/Dockerfile": f"../{UP}/Dockerfile"}
    ),
    "a linked context": linked(BUILDS.format(path="docker"), docker=f"{UP}/docker"),
    "a link in the context": (
        {**spec(BUILDS.format(path="docker"))[0], **DOCKERFILE},
        {f"{FOLDER}/docker/data": f"../{UP}/docker"},
    ),
    **{
        f"a linked {name}": (
            {**spec(BUILDS.format(path="docker"))[0], **DOCKERFILE},
            {f"{FOLDER}/docker/{name}": f"../{UP}/ignore"},
        )
        for name in (".dockerignore", ".gitignore", ".amlignore")
    },
    "a linked spec": ({}, {f"{FOLDER}/environment.yaml": f"{UP}/environment.yaml"}),
    "a linked environment": ({}, {FOLDER: "../../outside"}),
    "linked environments": ({}, {"environments": "../outside"}),
    "linked settings": (spec(GOOD)[0], {"envsync.yaml": "../outside/envsync.yaml"}),
    "a linked lock": (
        spec(GOOD)[0], {"locks/app/conda-lock.yml": "../../../outside/conda-lock.yml",
                        "locks/app/image.yaml": "../../../outside/image.yaml"},
    ),
    "a linked folder of a lock": (spec(GOOD)[0], {"locks/app": "../../outside"}),
    "a linked folder of locks": (spec(GOOD)[0], {"locks": "../outside"}),
    "a linked lifecycle file": (spec(GOOD)[0], {"lifecycle/app.yaml": "../../outside/app.yaml"}),
    "a linked folder of lifecycles": (spec(GOOD)[0], {"lifecycle": "../outside"}),
}  # fmt: skip


@pytest.fixture
def outside(folder_team: Team) -> Path:
    """The folder beside the repository."""
    place = folder_team.root.parent / "outside"
    for name, content in OUTSIDE.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    return place


def standing(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def set_up(team: Team, outside: Path, name: str) -> None:
    """Write a payload and commit it."""
    texts, links = PAYLOADS[name]
    changed = {"OUTSIDE": str(outside), "{channel}": f"'{team.channel.as_uri()}'"}

    def filled(text: str) -> str:
        for key, value in changed.items():
            text = text.replace(key, value)
        return text

    team.repository.write({path: filled(text) for path, text in texts.items()})
    for path, target in links.items():
        place = team.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(filled(target))
    team.repository.commit(name)


COMMANDS = (
    ("validate",), ("lock",), ("lock", "--check"), ("plan", "--format", "json"),
    ("plan", "--format", "markdown", "--base", "HEAD~1"), ("apply",), ("archive", "app"),
    ("update", "app", "--description", "x"), ("show", "app"), ("status",), ("list",),
    ("export", "app", "--as", "azureml"),
    ("diff", "HEAD~1", "HEAD"), ("logs", "app"),
)  # fmt: skip


@pytest.mark.parametrize("name", PAYLOADS)
def test_nothing_outside_is_read_or_written(name: str, folder_team: Team, outside: Path) -> None:
    team = folder_team
    team.variables["DOCKER_HOST"] = f"unix://{team.root}/no-engine.sock"
    set_up(team, outside, name)
    before = standing(outside)
    for command in COMMANDS:
        done = team.envsync(*command)
        assert done.code != 1, done.err
        assert WORD not in said(done, outside), command
    team.repository.commit("what was written")
    done = team.envsync("apply")
    assert WORD not in said(done, outside)
    assert standing(outside) == before
    for place in (team.root, team.cache):
        for path, data in files_of(place):
            assert WORD.encode() not in data.replace(str(outside).encode(), b""), path
    count("X3", payloads=1, refused=1)


def said(done: Done, outside: Path) -> str:
    """Return what a command printed, without what it quotes of the payload itself."""
    return (done.out + done.err).replace(f"COPY {WORD}", "").replace(str(outside), "")


def files_of(folder: Path) -> list[tuple[Path, bytes]]:
    """Return the files below a folder, links not followed."""
    found = []
    for top, _, names in os.walk(folder):
        for path in (Path(top, name) for name in names):
            if stat.S_ISREG(path.lstat().st_mode):
                found.append((path, path.read_bytes()))
    return found


NAMES = (
    "../outside", "../../outside/app", "app/../../outside", "/etc", ".", "..", "app/", "./app",
    "%2e%2e/outside", "..\\outside", "app\0/../x", "app\n", "", " ", "~", "*/../../outside",
)  # fmt: skip
OF_NAMES = ("lock", "plan", "apply", "show", "history", "logs", "archive", "restore", "verify",
            "export", "status", "validate", "which", "run")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_path(name: str, folder_team: Team, outside: Path) -> None:
    folder_team.ask("app", "tiny-00001")
    assert folder_team.envsync("apply").code == 0
    before, inside = standing(outside), folder_team.state()
    for command in OF_NAMES:
        done = folder_team.envsync(command, "--", name)
        assert done.code not in {0, 1}, (command, done)
        assert WORD not in done.out + done.err
    done = folder_team.envsync("new", "--image", "scratch", "--", name)
    assert done.code not in {0, 1}, done
    assert standing(outside) == before
    assert folder_team.state() == inside
    count("X3", payloads=1, refused=1)


# ---- contexts (X4) -------------------------------------------------------------------------------

LINKS: Mapping[str, Mapping[str, str]] = {
    "up": {"a": "../x"}, "absolute": {"a": "/etc/passwd"}, "root": {"a": "/"},
    "far up": {"d/e/a": "../../../x"}, "through a folder": {"a": "d/../../x"},
    "through a link": {"a": "d/e/b/../../../x", "d/e/b": "../.."},
    "by steps": {"a": "..", "b": "a/x"}, "a chain": {"a": "b", "b": "c", "c": "../x"},
    "a chain to the root": {"a": "b", "b": "/"}, "a circle and up": {"a": "a/../../x"},
 "up and back": {"a": "../ctx/x"},
    "nothing": {"a": "\0"}, "itself by dots": {"a": "./././../ctx"},
    "a long way": {"a": "/".join(["d"] * 300 + [".."] * 302)},
    "many links": {f"l{n}": f"l{n + 1}/." for n in range(300)} | {"l300": "../x"},
    "doubling": {f"l{n}": f"l{n + 1}/l{n + 1}" for n in range(40)} | {"l40": "."},
    "slashes": {"a": "..//..//x"}, "a name of dots": {"a": "..../../../x"},
}  # fmt: skip


def unpacked(files: Files, place: Path) -> Path:
    """Unpack the context as an engine does, links as they are."""
    place.mkdir(parents=True, exist_ok=True)
    data = b"".join(context_tar(read_context(Folder(files), BUILD), "Dockerfile", "FROM a\n"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert {member.type for member in archive} <= {tarfile.REGTYPE, tarfile.SYMTYPE,
                                                       tarfile.DIRTYPE}  # fmt: skip
        archive.extractall(place, filter="fully_trusted")
    return place


MOST_LINKS = 40
"""As Linux follows them."""


def leads_out(place: Path) -> list[Path]:
    """Return the links below *place* whose end is not there; one in a circle has no end."""
    root = place.resolve()
    ends = {path: end_of(path) for path in place.rglob("*") if path.is_symlink()}
    return [path for path, end in ends.items() if end and not end.is_relative_to(root)]


def end_of(link: Path) -> Path | None:
    """Return where a link leads, as the system resolves it; what is not there may come to be.

    `os.path.realpath` is wrong where a circle begins behind a name that is not there.
    """
    done, left, links = Path("/"), list(reversed(link.parts[1:])), 0
    while left:
        part = left.pop()
        if part == "..":
            done = done.parent
        elif (done / part).is_symlink():
            links += 1
            if links > MOST_LINKS:
                return None
            target = str((done / part).readlink())
            done = Path("/") if target.startswith("/") else done
            left += reversed(target.split("/"))
        elif part not in {"", "."}:
            done /= part
    return done


@pytest.mark.parametrize("name", LINKS)
def test_a_link_out_of_the_context_is_refused(name: str) -> None:
    files: Files = {"Dockerfile": b"", "d/e/f": b"", "d/d": b""}
    files |= {path: ("link", target.encode()) for path, target in LINKS[name].items()}
    with pytest.raises(InvalidInput, match="build context"):
        read_context(Folder(files), BUILD)
    count("X4", payloads=1, refused=1)


steps = st.lists(st.sampled_from(["..", ".", "", "a", "b", "c", "d"]), min_size=1, max_size=6)
places = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3).map("/".join)


@settings(max_examples=150)
@given(links=st.dictionaries(places, steps.map("/".join), min_size=1, max_size=6))
def test_links_of_a_context_that_is_accepted_stay_inside(
    links: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    # A commit has no file below a link.
    found = {
        path: target
        for path, target in links.items()
        if not any(path.startswith(f"{other}/") for other in links)
    }
    files: Files = {"Dockerfile": b"", "x/y/z": b""}
    files |= {path: ("link", target.encode()) for path, target in found.items()}
    with suppress(InvalidInput):
        place = unpacked(files, tmp_path_factory.mktemp("context") / "deep/er/ctx")
        assert leads_out(place) == []


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _hard_link(path: Path) -> None:
    (path.parents[5] / "outside").mkdir(exist_ok=True)
    (path.parents[5] / "outside/secret").write_text(WORD)
    os.link(path.parents[5] / "outside/secret", path)


@pytest.mark.parametrize("make", [_pipe, _device, _socket, _hard_link])
@pytest.mark.parametrize("name", ["odd", "Dockerfile", ".dockerignore", "data/odd"])
def test_what_is_no_file_of_the_commit_is_not_in_the_context(
    make: Callable[[Path], None], name: str, folder_team: Team
) -> None:
    team = folder_team
    team.variables["DOCKER_HOST"] = f"unix://{team.root}/no-engine.sock"
    team.repository.write(
        {
            f"{FOLDER}/environment.yaml": BUILDS.format(path="docker"),
            f"{FOLDER}/docker/Dockerfile": "FROM scratch\nCOPY . /\n",
            f"{FOLDER}/docker/data/file": "data",
        }
    )
    assert team.envsync("lock").code == 0
    team.repository.commit("app")
    (before,) = team.envsync("plan", "--format", "json").json["environments"]
    place = team.root / FOLDER / "docker" / name
    place.unlink(missing_ok=True)
    make(place)
    done = team.envsync("plan", "--format", "json")
    (after,) = done.json["environments"]
    assert after["after"] == before["after"]
    assert WORD not in done.out + team.envsync("apply").err
    count("X4", payloads=1, harmless=1)


@pytest.mark.parametrize("name", ["..", ".git", ".", "a\\b"])
def test_a_tree_with_a_name_that_no_file_can_have_is_refused(name: str, folder_team: Team) -> None:
    """Git's own commands never write such a tree; a push can have one."""
    team = folder_team
    team.repository.write(
        {
            f"{FOLDER}/environment.yaml": BUILDS.format(path="docker"),
            f"{FOLDER}/docker/Dockerfile": "FROM scratch\nCOPY . /\n",
        }
    )
    assert team.envsync("lock").code == 0
    team.repository.commit("app")
    git = team.repository.git
    blob = git("hash-object", "-w", "--stdin", stdin=WORD)
    folder = f"{FOLDER}/docker"
    listed = git("ls-tree", "-z", f"HEAD:{folder}").split("\0")[:-1]
    inner = git("mktree", "-z", stdin=f"100644 blob {blob}\tevil\0")
    tree = git(
        "mktree", "-z", stdin="".join(f"{e}\0" for e in listed) + f"040000 tree {inner}\t{name}\0"
    )
    while folder:
        above, _, own = folder.rpartition("/")
        entries = git("ls-tree", "-z", f"HEAD:{above}" if above else "HEAD").split("\0")[:-1]
        kept = [entry for entry in entries if entry.split("\t", 1)[1] != own]
        tree = git(
            "mktree", "-z", stdin="".join(f"{e}\0" for e in [*kept, f"040000 tree {tree}\t{own}"])
        )
        folder = above
    commit = git("commit-tree", tree, "-p", "HEAD", "-m", "a tree by hand")
    git("update-ref", "HEAD", commit)
    done = team.envsync("plan", "--format", "json")
    (found,) = done.json["environments"]
    refused = name in {"..", "."}
    assert (found["state"] == "invalid") == refused, found
    count("X4", payloads=1, **{"refused" if refused else "harmless": 1})

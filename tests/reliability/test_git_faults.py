"""R7: whatever git does, the exit code is right and people's work tree is as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts.githttp import serve_git
from tests.parts.gitremote import GitRemote, GitRepository
from tests.reliability.counts import count
from tests.reliability.oracle import assert_sound, end_of, foreign
from tests.reliability.scenes import Stage
from tests.team import Team
from tests.test_faults import failed, small_disk

LFS = """\
version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is done before an apply, how that ends, and what is done before the next."""

    before: Callable[[Team, ExitStack], object]
    code: int
    words: tuple[str, ...] = ()
    mend: Callable[[Team], object] | None = None
    """None: nothing has to be mended."""
    recorded: bool = False
    """Whether the version is recorded after the first apply."""
    scene: str = "new"


def remote_of(team: Team) -> GitRemote:
    assert team.remote is not None
    return team.remote


def behave(team: Team) -> None:
    remote_of(team).behave()


def reject(team: Team, _: ExitStack) -> None:
    remote_of(team).reject("^refs/tags/env/", "tags are protected here")


def protect(team: Team, _: ExitStack) -> None:
    remote_of(team).run_before_update("echo 'GH006: Protected branch update failed' >&2; exit 1")


def drop_after(team: Team, _: ExitStack) -> None:
    remote_of(team).drop_after_update()


def drop_before(team: Team, _: ExitStack) -> None:
    remote_of(team).drop_before_update()


def gone(team: Team, _: ExitStack) -> None:
    path = remote_of(team).path
    path.rename(path.with_name("away.git"))


def back(team: Team) -> None:
    path = remote_of(team).path
    path.with_name("away.git").rename(path)
    behave(team)


def gone_in_the_push(team: Team, _: ExitStack) -> None:
    path = remote_of(team).path
    remote_of(team).run_before_update(f"mv {path} {path.with_name('away.git')}; kill -KILL $PPID")


def shallow(team: Team, _: ExitStack) -> None:
    """Only the newest commit is here."""
    folder = team.root.with_name("shallow")
    team.repository.git("push", "--quiet", "origin", "main")
    options = ["--quiet", "--depth=1", "--no-tags", "--single-branch"]
    remote_of(team).bare.git("clone", *options, remote_of(team).url, str(folder))
    team.repository = GitRepository(path=folder, environment=team.repository.environment)


def branch_moved(team: Team, _: ExitStack) -> None:
    """Somebody has rewritten the branch on the remote."""
    bare = remote_of(team).bare
    tree = bare.git("rev-parse", "main^{tree}")
    commit = bare.git("commit-tree", "-m", "another history", tree)
    bare.git("update-ref", "refs/heads/main", commit)


def tag_moved(team: Team, _: ExitStack) -> None:
    """Somebody has made a plain tag of a record."""
    bare = remote_of(team).bare
    bare.git("update-ref", "refs/tags/env/train/1", bare.git("rev-parse", "main"))


def tag_back(team: Team) -> None:
    oid = team.repository.git("rev-parse", "refs/tags/env/train/1")
    remote_of(team).bare.git("update-ref", "refs/tags/env/train/1", oid)


def tag_gone(team: Team, _: ExitStack) -> None:
    """Somebody has deleted a record on the remote; it is here still."""
    remote_of(team).bare.git("update-ref", "-d", "refs/tags/env/train/1")


def disk_of_the_remote(team: Team, stack: ExitStack) -> None:
    """The server has no room for the objects of a push."""
    path = remote_of(team).path
    held = path.with_name("held.git")
    shutil.copytree(path, held)
    size = sum(-(-p.stat().st_size // 4096) * 4 + 4 for p in held.rglob("*")) + 8
    stack.enter_context(small_disk(path, size))
    for item in held.iterdir():
        (shutil.copytree if item.is_dir() else shutil.copy)(item, path / item.name)
    full = path / "full"
    try:
        with full.open("wb") as file:
            while True:
                file.write(b"x" * 512)
                file.flush()
    except OSError:
        pass


def room_on_the_remote(team: Team) -> None:
    (remote_of(team).path / "full").unlink()


def index_lock(team: Team, _: ExitStack) -> None:
    (team.root / ".git/index.lock").touch()


def lock_of_the_tag_there(team: Team, _: ExitStack) -> None:
    place = remote_of(team).path / "refs/tags/env/train"
    place.mkdir(parents=True)
    (place / "1.lock").touch()


def unlock_there(team: Team) -> None:
    (remote_of(team).path / "refs/tags/env/train/1.lock").unlink()


def lock_of_the_tag_here(team: Team, _: ExitStack) -> None:
    place = team.root / ".git/refs/tags/env/train"
    place.mkdir(parents=True)
    (place / "1.lock").touch()


def unlock_here(team: Team) -> None:
    (team.root / ".git/refs/tags/env/train/1.lock").unlink()


def submodule(team: Team, _: ExitStack) -> None:
    remote = remote_of(team).path
    team.repository.git(
        "-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(remote), "library"
    )
    team.repository.commit("a submodule")
    team.repository.git("submodule", "deinit", "--force", "--all")


def lfs(team: Team, _: ExitStack) -> None:
    """What is committed is a pointer to a file that git does not have."""
    spec = team.root / "environments/train/environment.yaml"
    text = spec.read_text()
    at = text.index("conda_file:")
    team.repository.write(
        {
            "environments/train/environment.yaml": text[:at] + "conda_file: conda.yaml\n",
            "environments/train/conda.yaml": LFS,
        }
    )
    team.repository.commit("large files elsewhere")


def not_lfs(team: Team) -> None:
    team.repository.git("reset", "--quiet", "--hard", "HEAD~1")


def detached(team: Team, _: ExitStack) -> None:
    team.repository.git("checkout", "--quiet", "--detach")


def over_http(team: Team, stack: ExitStack, *, login: bool) -> None:
    root = remote_of(team).path.parent
    pair = ("reader", "canary-of-git") if login else None
    server = stack.enter_context(serve_git(root, team.repository.environment, login=pair))
    team.repository.git("remote", "set-url", "origin", server.url(remote_of(team)))


def login_is_wanted(team: Team, stack: ExitStack) -> None:
    over_http(team, stack, login=True)


def plain_http(team: Team, stack: ExitStack) -> None:
    over_http(team, stack, login=False)


def by_path(team: Team) -> None:
    team.repository.git("remote", "set-url", "origin", str(remote_of(team).path))


def damaged(team: Team, _: ExitStack) -> None:
    """The object of the spec is not here any more."""
    oid = team.repository.git("rev-parse", "HEAD:environments/train/environment.yaml")
    place = team.root / ".git/objects" / oid[:2] / oid[2:]
    place.rename(team.root / ".git/lost")


def whole(team: Team) -> None:
    oid = team.repository.git("hash-object", "environments/train/environment.yaml")
    (team.root / ".git/lost").rename(team.root / ".git/objects" / oid[:2] / oid[2:])


FAULTS: Mapping[str, Fault] = {
    "rejected by a hook": Fault(
        before=reject, code=7, words=("tags are protected here",), mend=behave
    ),
    "protected": Fault(before=protect, code=7, words=("GH006",), mend=behave),
    "dropped after it was done": Fault(
        before=drop_after, code=0, mend=behave, recorded=True
    ),
    "dropped before it was done": Fault(before=drop_before, code=8, mend=behave),
    "gone": Fault(before=gone, code=8, words=("origin",), mend=back),
    "gone in the push": Fault(
        before=gone_in_the_push, code=8, words=("nobody can say",), mend=back
    ),
    "shallow": Fault(before=shallow, code=0, recorded=True),
    "branch moved": Fault(before=branch_moved, code=0, recorded=True),
    "tag moved": Fault(
        before=tag_moved, code=5, words=("env/train/1",), mend=tag_back, scene="rebuild"
    ),
    "tag gone": Fault(before=tag_gone, code=0, recorded=True, scene="retag"),
    "no room on the remote": Fault(before=disk_of_the_remote, code=8, mend=room_on_the_remote),
    "stale index.lock": Fault(before=index_lock, code=0, recorded=True),
    "stale lock of the tag there": Fault(
        before=lock_of_the_tag_there, code=8, words=("1.lock",), mend=unlock_there
    ),
    "stale lock of the tag here": Fault(
        before=lock_of_the_tag_here, code=0, mend=unlock_here, recorded=True
    ),
    "submodule": Fault(before=submodule, code=0, recorded=True),
    "LFS pointer": Fault(
        before=lfs, code=6, words=("environments/train/conda.yaml",), mend=not_lfs
    ),
    "detached": Fault(before=detached, code=0, recorded=True),
    "login wanted": Fault(before=login_is_wanted, code=7, mend=by_path),
    "over HTTP": Fault(before=plain_http, code=0, recorded=True),
    "damaged here": Fault(before=damaged, code=8, words=("git fsck",), mend=whole),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_git_ends_well(
    layout_stage: Stage, tmp_path: Path, git_variables: dict[str, str], fault: str
) -> None:
    case = FAULTS[fault]
    team = layout_stage.team(case.scene, tmp_path / "team", git_variables)
    with ExitStack() as stack:
        case.before(team, stack)
        before = team.state()
        done = team.envsync("apply")
        said = done.out + done.err
        assert done.code == case.code, said
        assert "canary" not in said
        assert team.state() == before, "people's work tree is untouched"
        if case.code:
            failed(done, case.code, *case.words)
        if case.mend is not None:
            case.mend(team)
        if case.recorded:
            assert team.versions("train") == ["1"]
        done = team.envsync("apply")
        assert done.code == 0, done.out + done.err
        assert team.versions("train") == ["1"]
        digest = team.records("train")[0].digest
        tags = end_of(team, ["train"]).tags["train"]
        assert tags["1"] == tags["latest"] == digest
        assert_sound(team, ["train"], foreign(team))
        count("R7", faults=1, **{"right code": 1, "work tree untouched": 1})

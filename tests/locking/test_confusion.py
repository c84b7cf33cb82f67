"""Somebody offers a package under a name of ours, in a higher version (X10)."""

from __future__ import annotations

import datetime
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import zstandard

from envsync.adapters.solving.rattler_solver import RattlerSolver
from envsync.adapters.solving.uv_resolver import UvResolver
from envsync.errors import Unavailable, Unsatisfiable
from envsync.model.canonical import sha256_hex
from envsync.model.lock import LockedPackage
from envsync.ports.solver import CondaRequest, PipRequest
from tests.locking.index import Index
from tests.parts.cache import ENVIRONMENT
from tests.parts.channel import make_channel
from tests.parts.madeup import made
from tests.parts.package import Package
from tests.parts.serving import FileServer, serve_folders
from tests.reliability.counts import count
from tests.team import Team

OLD, NEW = date(2020, 1, 1), date(2026, 1, 1)


def package(name: str, version: str, *depends: str, released: date = OLD) -> Package:
    return replace(made(name, depends=depends, version=version), released=released)


@pytest.fixture(scope="module")
def channels() -> Iterator[FileServer]:
    """Our channel, and one in which somebody offers our names in higher versions."""
    ours = [
        package("inner", "1.0"),
        package("app", "1.0", "inner >=1"),
        package("hopeful", "1.0", "inner >=2"),
        package("fresh", "1.0", released=NEW),
        package("needs-fresh", "1.0", "fresh"),
    ]
    theirs = [
        *(package(name, "99.0") for name in ("inner", "app", "fresh")),
        package("public", "1.0", "inner"),
    ]
    folders = {"ours": make_channel("ours", ours), "theirs": make_channel("theirs", theirs)}
    with serve_folders(folders) as server:
        yield server


@pytest.fixture
def solver(tmp_path: Path) -> RattlerSolver:
    return RattlerSolver(cache=tmp_path / "cache", root=tmp_path, environ={})


def asked(server: FileServer, *dependencies: str) -> CondaRequest:
    return CondaRequest(
        platform="linux-64", channels=(server.url("ours"), server.url("theirs")),
        dependencies=dependencies, virtual_packages={},
    )  # fmt: skip


def solved(solver: RattlerSolver, request: CondaRequest) -> dict[str, LockedPackage]:
    (answer,) = solver.solve([request])
    if isinstance(answer, Exception):
        raise answer
    return {one.name: one for one in answer.packages}


@pytest.mark.parametrize(
    "wanted", [("inner",), ("app",), ("app", "inner"), ("public",), ("inner>=1",), ("inner<100",)]
)
def test_our_name_is_ours_however_high_their_version(
    solver: RattlerSolver, channels: FileServer, wanted: tuple[str, ...]
) -> None:
    found = solved(solver, asked(channels, *wanted))
    assert found["inner"].version == "1.0"
    assert all(p.channel == channels.url("ours") for p in found.values() if p.name != "public")
    count("X10", cases=1, **{"names that stayed ours": 1})


@pytest.mark.parametrize("wanted", ["inner=99", "inner>=2", "hopeful", "app=99", "app>1"])
def test_what_only_they_have_is_refused(
    solver: RattlerSolver, channels: FileServer, wanted: str
) -> None:
    with pytest.raises(Unsatisfiable, match="a channel before it has this package too"):
        solved(solver, asked(channels, wanted))
    count("X10", cases=1, refused=1)


@pytest.mark.parametrize("wanted", ["fresh", "needs-fresh"])
def test_a_version_that_is_too_young_leaves_no_room_for_theirs(
    solver: RattlerSolver, channels: FileServer, wanted: str
) -> None:
    """A cooldown hides our newest; if that were all, an old-looking one of theirs would win."""
    moment = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    with pytest.raises(Unsatisfiable):
        solved(solver, replace(asked(channels, wanted), exclude_newer=moment))
    count("X10", cases=1, refused=1)


def test_what_was_locked_of_theirs_does_not_stay(
    solver: RattlerSolver, channels: FileServer
) -> None:
    """A lock in which somebody put their package is no reason to keep it."""
    theirs = replace(asked(channels, "inner"), channels=(channels.url("theirs"),))
    bad = tuple(solved(solver, theirs).values())
    assert bad[0].version == "99.0"
    found = solved(solver, replace(asked(channels, "inner"), prefer=bad))
    assert found["inner"].version == "1.0"
    assert found["inner"].channel == channels.url("ours")
    count("X10", cases=1, **{"names that stayed ours": 1})


@pytest.mark.parametrize(
    "forged",
    [
        {"name": "other", "url": "https://evil.test/ours/noarch/other-1.0-0.conda"},
        {"version": "6.6", "url": "https://evil.test/ours/noarch/inner-6.6-0.conda"},
        {"build": "evil_0"},
        {"url": "https://evil.test/ours/noarch/inner-1.0-h0_0.conda"},
        {"depends": {"evil": ""}},
    ],
)
def test_what_a_lock_says_of_our_bytes_is_not_taken_over(
    solver: RattlerSolver, channels: FileServer, forged: dict[str, object]
) -> None:
    (good,) = solved(solver, asked(channels, "inner")).values()
    bad = replace(good, **forged)  # type: ignore[arg-type]
    (found,) = solved(solver, replace(asked(channels, "inner"), prefer=(bad,))).values()
    assert found == good
    count("X10", cases=1, **{"forged entries not taken over": 1})


def test_a_named_channel_is_for_its_package_alone(
    solver: RattlerSolver, channels: FileServer
) -> None:
    request = replace(
        asked(channels, f"{channels.url('theirs')}::app", "inner"),
        channels=(channels.url("ours"),),
    )
    found = solved(solver, request)
    assert (found["app"].version, found["inner"].version) == ("99.0", "1.0")
    count("X10", cases=1, **{"names that stayed ours": 1})


def test_a_package_without_sha256_is_not_locked(solver: RattlerSolver, tmp_path: Path) -> None:
    folder = tmp_path / "channel"
    shutil.copytree(make_channel("plain", [package("inner", "1.0")]), folder)
    for path in folder.glob("*/repodata.json"):
        document = json.loads(path.read_bytes())
        for record in document["packages.conda"].values():
            record.pop("sha256")
            record["md5"] = "0" * 32
        raw = json.dumps(document).encode()
        path.write_bytes(raw)
        path.with_suffix(".json.zst").write_bytes(zstandard.ZstdCompressor().compress(raw))
    with serve_folders({"plain": folder}) as server:
        request = replace(asked(server, "inner"), channels=(server.url("plain"),))
        with pytest.raises(Unavailable, match="no sha256"):
            solved(solver, request)
    count("X10", cases=1, refused=1)


# Wheels.


class Indexes:
    """Two package indexes on one server, and what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.base = ""
        self.asked: list[str] = []
        self.ours, self.theirs = Index(folder / "ours"), Index(folder / "theirs")

    def url(self, name: str) -> str:
        """Return the address of an index."""
        return f"{self.base}/{name}/simple"


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[Indexes]:
    """Our index, and a public one in which somebody offers our names in higher versions."""
    served = Indexes(tmp_path)
    served.ours.wheel("inner", "1.0")
    served.ours.wheel("app", "1.0", ["inner>=1"])
    served.ours.wheel("hopeful", "1.0", ["inner>=2"])
    served.theirs.wheel("inner", "99.0")
    served.theirs.wheel("app", "99.0")
    served.theirs.wheel("public", "1.0", ["inner"])

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            served.asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        served.base = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


def resolve(*lines: str, **variables: str) -> dict[str, LockedPackage]:
    plain = {k: v for k, v in ENVIRONMENT.items() if not k.startswith(("UV_", "PIP_"))}
    environ = {**plain, "PIP_CONFIG_FILE": "/dev/null", "UV_HTTP_RETRIES": "0", **variables}
    request = PipRequest(
        platform="linux-64", requirements=lines, python_version="3.11.7", glibc="2.36", provided={}
    )
    return {p.name: p for p in UvResolver(environ=environ).resolve(request).packages}


def test_without_a_word_about_indexes_one_alone_is_asked(indexes: Indexes) -> None:
    found = resolve("app", UV_DEFAULT_INDEX=indexes.url("ours"))
    assert {p.version for p in found.values()} == {"1.0"}
    assert not [path for path in indexes.asked if "theirs" in path]
    with pytest.raises(Unsatisfiable):
        resolve("public", UV_DEFAULT_INDEX=indexes.url("ours"))
    assert not [path for path in indexes.asked if "theirs" in path]
    count("X10", cases=2, refused=1, **{"names that stayed ours": 1})


SAID = {
    "the spec": (("--index-url THEIRS", "--extra-index-url OURS"), {}),
    "uv's variables": ((), {"UV_DEFAULT_INDEX": "THEIRS", "UV_INDEX": "OURS"}),
    "uv's older variables": ((), {"UV_INDEX_URL": "THEIRS", "UV_EXTRA_INDEX_URL": "OURS"}),
    "pip's variables": ((), {"PIP_INDEX_URL": "THEIRS", "PIP_EXTRA_INDEX_URL": "OURS"}),
}


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("strategy", ["", "unsafe-best-match", "unsafe-first-match"])
def test_the_first_index_that_has_a_name_is_the_only_one(
    indexes: Indexes, said: str, strategy: str
) -> None:
    """However the two are named, and whatever the machine's settings say of a strategy."""
    lines, variables = SAID[said]

    def named(text: str) -> str:
        return text.replace("THEIRS", indexes.url("theirs")).replace("OURS", indexes.url("ours"))

    options = tuple(map(named, lines))
    given = {name: named(value) for name, value in variables.items()}
    if strategy:
        given["UV_INDEX_STRATEGY"] = strategy
    found = resolve(*options, "app", "public", **given)
    assert {name: p.version for name, p in found.items()} == {
        "app": "1.0", "inner": "1.0", "public": "1.0",
    }  # fmt: skip
    assert found["inner"].url.startswith(f"{indexes.base}/ours/")
    assert found["public"].url.startswith(f"{indexes.base}/theirs/")
    for wanted in ("inner>=2", "hopeful"):
        with pytest.raises(Unsatisfiable, match="only one asked for it"):
            resolve(*options, wanted, **given)
    count("X10", cases=3, refused=2, **{"names that stayed ours": 1})


def test_a_wheel_of_theirs_that_was_locked_does_not_stay(indexes: Indexes) -> None:
    options = f"--index-url {indexes.url('theirs')}"
    bad = tuple(resolve(options, "inner").values())
    assert bad[0].version == "99.0"
    request = PipRequest(
        platform="linux-64",
        requirements=(options, f"--extra-index-url {indexes.url('ours')}", "app"),
        python_version="3.11.7", glibc="2.36", provided={}, prefer=bad,
    )  # fmt: skip
    plain = {k: v for k, v in ENVIRONMENT.items() if not k.startswith(("UV_", "PIP_"))}
    resolver = UvResolver(environ={**plain, "PIP_CONFIG_FILE": "/dev/null"})
    found = {p.name: p.version for p in resolver.resolve(request).packages}
    assert found == {"app": "1.0", "inner": "1.0"}
    count("X10", cases=1, **{"names that stayed ours": 1})


def test_a_wheel_for_which_the_index_has_no_hash_is_locked_by_its_bytes(
    indexes: Indexes, tmp_path: Path
) -> None:
    page = tmp_path / "ours/simple/inner/index.html"
    page.write_text(page.read_text().partition("#sha256=")[0] + '">inner-1.0-py3-none-any.whl</a>')
    found = resolve("inner", UV_DEFAULT_INDEX=indexes.url("ours"))
    data = (tmp_path / "ours/files/inner-1.0-py3-none-any.whl").read_bytes()
    assert found["inner"].sha256 == sha256_hex(data)
    count("X10", cases=1, **{"hashes found": 1})


# The whole way.


def test_a_package_of_theirs_is_refused_by_policy_after_the_solve(
    folder_team: Team, channels: FileServer
) -> None:
    """Somebody adds their channel to the spec: what was chosen is judged before it is written."""
    team, ours, theirs = folder_team, channels.url("ours"), channels.url("theirs")
    team.settings(f"policy:\n  channels: ['{ours}']\n")
    spec = "name: train\nimage: scratch\nconda_file:\n  channels: [{}]\n  dependencies: [{}]\n"
    path = "environments/train/environment.yaml"
    team.repository.write({path: spec.format(f"'{ours}'", "app")})
    done = team.envsync("lock")
    assert done.code == 0, done.err
    team.repository.commit("ours")
    team.repository.git("branch", "base")
    for written, words in (
        (spec.format(f"'{ours}', '{theirs}'", "app, public"), "public comes from"),
        (spec.format(f"'{theirs}', '{ours}'", "app"), "app comes from"),
        (spec.format(f"'{ours}'", f"app, '{theirs}::public'"), "public comes from"),
    ):
        team.repository.write({path: written})
        lock = (team.root / "locks/train/conda-lock.yml").read_bytes()
        done = team.envsync("lock")
        assert done.code == 6, done.out + done.err
        assert f"policy.channels allows {ours}" in done.out + done.err
        assert words in done.out + done.err
        assert theirs in done.out + done.err
        assert (team.root / "locks/train/conda-lock.yml").read_bytes() == lock
        count("X10", cases=1, refused=1)


def test_a_channel_before_ours_is_a_flag_of_the_plan(
    folder_team: Team, channels: FileServer
) -> None:
    team, ours, theirs = folder_team, channels.url("ours"), channels.url("theirs")
    spec = "name: train\nimage: scratch\nconda_file:\n  channels: [{}]\n  dependencies: [app]\n"
    path = "environments/train/environment.yaml"
    for listed in (f"'{ours}'", f"'{theirs}', '{ours}'"):
        team.repository.write({path: spec.format(listed)})
        done = team.envsync("lock", "--upgrade")
        assert done.code == 0, done.err
        team.repository.commit(listed)
    done = team.envsync("plan", "--base", "HEAD~1", "--format", "json")
    (found,) = done.json["environments"]
    flag = next(one for one in found["flags"] if one["code"] == "channel_changed")
    assert flag["packages"] == ["app"]
    (change,) = (one for one in found["packages"] if one["name"] == "app")
    assert change["channel_changed"] is True
    (detail,) = change["platforms"]
    assert (detail["before"]["channel"], detail["after"]["channel"]) == (ours, theirs)
    shown = team.envsync("plan", "--base", "HEAD~1", "--format", "markdown").out
    assert "**another channel or host**: `app`" in shown
    count("X10", cases=1, **{"changes of channel or host flagged": 1})

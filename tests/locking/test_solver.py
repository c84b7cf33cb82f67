from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from envsync.adapters.solving.rattler_solver import RattlerSolver
from envsync.errors import InvalidInput, NotAllowed, Unavailable, Unsatisfiable
from envsync.model.virtual_packages import virtual_packages
from envsync.ports.solver import CondaRequest, Solution
from tests.locking.repository import environment_variables
from tests.parts.serving import FileServer, serve_folders

SECRET = "canary-token-5e1f"


@pytest.fixture
def server(small_channel: Path, extra_channel: Path) -> Iterator[FileServer]:
    with serve_folders({"main": small_channel, "extra": extra_channel}) as served:
        yield served


@pytest.fixture
def solver(tmp_path: Path) -> RattlerSolver:
    return RattlerSolver(cache=tmp_path / "cache", root=tmp_path, environ={})


def request(
    channel: str | Path, *dependencies: str, platform: str = "linux-64", glibc: str | None = None
) -> CondaRequest:
    return CondaRequest(
        platform=platform,
        channels=(str(channel),),
        dependencies=dependencies,
        virtual_packages=virtual_packages(platform, glibc=glibc, spec={}),
    )


def solved(solver: RattlerSolver, asked: CondaRequest) -> Solution:
    (answer,) = solver.solve([asked])
    if isinstance(answer, Exception):
        raise answer
    return answer


def chosen(solver: RattlerSolver, asked: CondaRequest) -> dict[str, str]:
    return {p.name: p.version for p in solved(solver, asked).packages}


def test_a_solve_takes_the_newest_and_all_it_needs(
    solver: RattlerSolver, small_channel: Path
) -> None:
    found = solved(solver, request(small_channel, "numpy", "click"))
    versions = {p.name: p.version for p in found.packages}
    assert (versions["numpy"], versions["click"]) == ("2.2.6", "8.1.8")
    assert "python" in versions
    assert list(versions) == sorted(versions)
    for package in found.packages:
        assert package.url.startswith(small_channel.as_uri())
        assert len(package.sha256) == 64
        assert package.subdir in {"linux-64", "noarch"}
        assert found.sizes[package.file_name] > 0


@pytest.mark.parametrize("platform", ["linux-64", "linux-aarch64", "osx-arm64", "win-64"])
def test_real_repodata_is_solved_for_every_platform(
    solver: RattlerSolver, real_repodata: Path, platform: str
) -> None:
    found = solved(solver, request(real_repodata, "python=3.12", "numpy", platform=platform))
    assert {p.subdir for p in found.packages} == {platform, "noarch"}
    assert all(p.platform == platform for p in found.packages)
    assert len(found.packages) > 20


def test_many_requests_read_the_repodata_once(solver: RattlerSolver, server: FileServer) -> None:
    asked = [request(server.url("main"), "numpy", f"click={v}") for v in ("8.1.7", "8.1.8")] * 5
    answers = solver.solve(asked)
    assert all(isinstance(answer, Solution) for answer in answers)
    whole = [r for r in server.requests("linux-64/repodata") if r.method == "GET"]
    assert len([r for r in whole if r.status == 200]) == 1


def test_every_answer_stands_in_the_place_of_its_request(
    solver: RattlerSolver, small_channel: Path
) -> None:
    answers = solver.solve(
        [request(small_channel, "click"), request(small_channel, "nothing-like-it")]
    )
    assert isinstance(answers[0], Solution)
    assert isinstance(answers[1], Unsatisfiable)


def test_a_name_path_or_url_can_be_a_channel(small_channel: Path, server: FileServer) -> None:
    by_alias = RattlerSolver(
        cache=small_channel.parent / "unused",
        root=small_channel.parent,
        environ={"CONDA_CHANNEL_ALIAS": server.base},
    )
    assert "click" in chosen(by_alias, request("main", "click"))
    assert "click" in chosen(by_alias, request(f"./{small_channel.name}", "click"))
    assert "click" in chosen(by_alias, request(small_channel, "click"))
    assert "click" in chosen(by_alias, request(server.url("main") + "/", "click"))


def test_the_first_channel_that_has_a_package_is_the_only_one(
    solver: RattlerSolver, small_channel: Path, extra_channel: Path
) -> None:
    asked = request("unused", "two-homes")
    both = (str(small_channel), str(extra_channel))
    assert chosen(solver, replace(asked, channels=both)) == {"two-homes": "1.0"}
    assert chosen(solver, replace(asked, channels=both[::-1])) == {"two-homes": "2.0"}
    # Even when only the second channel has the version: it may be somebody else's package.
    with pytest.raises(Unsatisfiable, match="a channel before it has this package too"):
        solved(solver, replace(asked, channels=both, dependencies=("two-homes=2",)))


def test_a_dependency_can_name_its_channel(
    solver: RattlerSolver, small_channel: Path, extra_channel: Path
) -> None:
    asked = request(small_channel, f"{extra_channel}::two-homes", "click")
    found = {p.name: p for p in solved(solver, asked).packages}
    assert found["two-homes"].version == "2.0"
    assert found["two-homes"].channel == extra_channel.as_uri()
    assert found["click"].channel == small_channel.as_uri()


def test_what_was_locked_stays_where_the_request_allows_it(
    solver: RattlerSolver, small_channel: Path
) -> None:
    old = solved(solver, request(small_channel, "numpy=1.26", "click=8.1.7"))
    asked = replace(request(small_channel, "numpy", "click", "idna"), prefer=old.packages)
    kept = solved(solver, asked)
    assert [p for p in kept.packages if p.name != "idna"] == list(old.packages)
    forced = replace(asked, dependencies=("numpy>=2", "click"))
    versions = {p.name: p.version for p in solved(solver, forced).packages}
    assert (versions["numpy"], versions["click"]) == ("2.2.6", "8.1.7")


def test_a_withdrawn_package_is_not_preferred(solver: RattlerSolver, small_channel: Path) -> None:
    old = solved(solver, request(small_channel, "click=8.1.7"))
    gone = tuple(replace(p, sha256="f" * 64) for p in old.packages)
    versions = chosen(solver, replace(request(small_channel, "click"), prefer=gone))
    assert versions["click"] == "8.1.8"


def test_what_is_newer_than_the_date_is_not_seen(
    solver: RattlerSolver, small_channel: Path
) -> None:
    asked = replace(
        request(small_channel, "numpy", "click"),
        exclude_newer=datetime.datetime(2024, 6, 1, tzinfo=datetime.UTC),
    )
    versions = chosen(solver, asked)
    assert (versions["numpy"], versions["click"]) == ("1.26.4", "8.1.7")
    kept = solved(solver, request(small_channel, "numpy", "click")).packages
    assert chosen(solver, replace(asked, prefer=kept)) == versions


def test_only_the_virtual_packages_of_the_request_count(
    solver: RattlerSolver, small_channel: Path
) -> None:
    assert "needs-new-glibc" in chosen(
        solver, request(small_channel, "needs-new-glibc", glibc="9.0")
    )
    with pytest.raises(Unsatisfiable, match=r"assumed of the machines.*__glibc 2\.17"):
        solved(solver, request(small_channel, "needs-new-glibc", glibc="2.17"))
    with pytest.raises(Unsatisfiable, match="__cuda stands for what the machine provides"):
        solved(solver, request(small_channel, "needs-cuda"))


@pytest.mark.parametrize(
    ("dependencies", "expected"),
    [
        (("numpy=9",), "The channels have numpy 2.2.6, 1.26.4."),
        (("nunpy",), "No channel of this spec has a package named nunpy; did you mean numpy"),
        (("wants-new-click", "wants-old-click"), "click"),
    ],
)
def test_what_cannot_be_satisfied_is_explained(
    solver: RattlerSolver, small_channel: Path, dependencies: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(Unsatisfiable) as raised:
        solved(solver, request(small_channel, *dependencies))
    assert expected in str(raised.value)
    assert "linux-64" in raised.value.detail
    assert raised.value.exit_code == 6


def test_a_dependency_that_does_not_parse_is_named(
    solver: RattlerSolver, small_channel: Path
) -> None:
    with pytest.raises(InvalidInput, match=r"'numpy 1\.\.2'"):
        solved(solver, request(small_channel, "numpy 1..2"))


def test_a_channel_that_does_not_answer_is_unavailable(solver: RattlerSolver) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        solved(solver, request("http://127.0.0.1:1/gone", "click"))


def test_a_server_that_fails_is_unavailable_and_one_without_the_channel_is_wrong_input(
    solver: RattlerSolver, server: FileServer
) -> None:
    with pytest.raises(InvalidInput, match="There is no such channel"):
        solved(solver, request(server.url("nothing"), "click"))
    server.fail(500)
    with pytest.raises(Unavailable):
        solved(solver, request(server.url("main"), "click"))


def test_a_channel_without_the_platform_is_fine_when_it_has_noarch(
    solver: RattlerSolver, extra_channel: Path
) -> None:
    assert "only-extra" in chosen(solver, request(extra_channel, "only-extra", platform="win-64"))


def test_credentials_in_a_url_open_the_channel_and_never_reach_the_lock(
    tmp_path: Path, small_channel: Path
) -> None:
    variables = {"CHANNEL_USER": "me", "CHANNEL_PASSWORD": SECRET}
    solver = RattlerSolver(cache=tmp_path / "cache", root=tmp_path, environ=variables)
    with serve_folders({"main": small_channel}, login=("me", SECRET)) as server:
        address = server.url("main").replace("://", "://$CHANNEL_USER:$CHANNEL_PASSWORD@")
        found = solved(solver, request(address, "click"))
        assert SECRET not in repr(found)
        assert all(p.url.startswith(server.url("main")) for p in found.packages)
        for wrong in (server.url("main"), address.replace("$CHANNEL_PASSWORD", f"{SECRET}x")):
            with pytest.raises(NotAllowed) as raised:
                solved(solver, request(wrong, "click"))
            assert SECRET not in str(raised.value)
        with pytest.raises(InvalidInput, match="'NOBODY' is not set"):
            solved(solver, request(address.replace("$CHANNEL_USER", "$NOBODY"), "click"))


def test_a_token_in_a_url_never_reaches_the_lock(
    solver: RattlerSolver, small_channel: Path
) -> None:
    with serve_folders({"t": small_channel.parent}) as server:
        # The folder `t/<name>` of the server stands for a token.
        address = f"{server.base}/t/{small_channel.name}"
        found = solved(solver, request(f"{address}/", "click"))
    assert "/t/" not in repr(found)
    assert small_channel.name not in repr(found)


def test_credentials_of_rattlers_store_open_the_channel(
    tmp_path: Path, solver: RattlerSolver, small_channel: Path
) -> None:
    store = tmp_path / "credentials.json"
    with serve_folders({"main": small_channel}, login=("me", SECRET)) as server:
        host = server.base.removeprefix("http://")
        login = {"BasicHTTP": {"username": "me", "password": SECRET}}
        store.write_text(json.dumps({host: login, host.partition(":")[0]: login}))
        with environment_variables({"RATTLER_AUTH_FILE": str(store)}):
            found = solved(solver, request(server.url("main"), "click"))
    assert SECRET not in repr(found)


def test_a_process_that_solved_ends_well_every_time(small_channel: Path, tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from envsync.adapters.solving.rattler_solver import RattlerSolver
from envsync.ports.solver import CondaRequest, Solution
from envsync.model.virtual_packages import virtual_packages
solver = RattlerSolver(cache=Path({str(tmp_path)!r}), root=Path("/"), environ={{}})
request = CondaRequest(platform="linux-64", channels=({str(small_channel)!r},),
    dependencies=("numpy",), virtual_packages=virtual_packages("linux-64", glibc=None, spec={{}}))
assert all(isinstance(answer, Solution) for answer in solver.solve([request] * 3))
"""
    codes = [
        subprocess.run([sys.executable, "-c", script], capture_output=True).returncode
        for _ in range(10)
    ]
    assert codes == [0] * 10

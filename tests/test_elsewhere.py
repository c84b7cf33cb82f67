"""Builds in other processes: a real Dask cluster, and processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts.serving import serve_folders
from tests.team import Team
from tests.test_reuse import ask


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A scheduler, and workers that share nothing."""

    address: str
    folders: tuple[Path, ...]


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    """Start a Dask scheduler and workers on loopback, each with a home and a cache of its own."""
    found = folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    base = {k: v for k, v in os.environ.items() if not k.startswith(("ENVSYNC_", "XDG_"))}
    with ExitStack() as stack:
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        options += ["--scheduler-file", str(found)]
        scheduler = subprocess.Popen([*command, *options], cwd=folder, env=base, **quiet)  # type: ignore[call-overload]
        stack.callback(stop, scheduler)
        folders = []
        for number in range(workers):
            home = folder / f"worker-{number}"
            home.mkdir()
            folders.append(home)
            command = [sys.executable, "-m", "distributed.cli.dask_worker"]
            options = ["--scheduler-file", str(found), "--host", "127.0.0.1", "--no-dashboard"]
            options += ["--nworkers", "1", "--nthreads", "1", "--local-directory", str(home)]
            variables = {**base, "HOME": str(home), "ENVSYNC_CACHE_DIR": str(home / "cache")}
            worker = subprocess.Popen([*command, *options], cwd=home, env=variables, **quiet)  # type: ignore[call-overload]
            stack.callback(stop, worker)
        address = _ready(found, workers)
        yield Cluster(address=address, folders=tuple(folders))


def _ready(found: Path, workers: int) -> str:
    import json

    from distributed import Client

    deadline = time.monotonic() + 60
    while not found.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    address: str = json.loads(found.read_text())["address"]
    with Client(address, timeout="60s", set_as_default=False) as client:  # type: ignore[no-untyped-call]
        client.wait_for_workers(workers, timeout=60)
    return address.replace("tcp://", "dask://")


def test_a_dask_cluster_builds_environments_on_workers_that_share_only_the_registry(
    server_team: Team, tiny_packages: Path, tmp_path: Path
) -> None:
    team = server_team
    (tmp_path / "cluster").mkdir()
    names = [f"env{number}" for number in range(6)]
    with serve_folders({"tiny": tiny_packages}) as channel:
        for number, name in enumerate(names):
            ask(team, channel, name, f"tiny-000{number}9" if number < 4 else f"tiny-0000{number}")
        with cluster(tmp_path / "cluster", 2) as workers:
            done = team.envsync("apply", "--executor", workers.address)
            assert done.code == 0, done.err
            built = [len(list((home / "cache").glob("segments/*/*"))) for home in workers.folders]
        assert all(built), "both workers built something"
        assert not list(team.cache.glob("segments/*/*")), "nothing was built here"
        assert "built by " in done.err
        digests = {name: team.tags(name)["1"] for name in names}
        team.check(*names)
        # The same digests as without a cluster.
        team.wipe_registry()
        assert team.envsync("apply").code == 0
    assert digests == {name: team.tags(name)["1"] for name in names}


def test_processes_of_this_machine_do_the_same(team: Team) -> None:
    team.ask("one", "tiny-00003")
    team.ask("two", "tiny-00013")
    done = team.envsync("apply", "--executor", "processes://2")
    assert done.code == 0, done.err
    team.check("one", "two")
    again = team.envsync("apply", "--executor", "processes://2")
    assert again.out.splitlines()[-1] == "Nothing to do: 2 in sync."


def test_what_cannot_be_built_elsewhere_is_told_as_here(team: Team) -> None:
    team.ask("good", "tiny-00003")
    archive = next(team.channel.rglob("tiny-00013-*"))
    copied = team.root.parent / "channel"
    subprocess.run(["cp", "-r", str(team.channel), str(copied)], check=True)
    team.channel = copied
    team.ask("bad", "tiny-00013")
    next(copied.rglob(archive.name)).write_bytes(b"damaged")
    done = team.envsync("apply", "--executor", "processes://1")
    assert done.code == 6
    assert "tiny-00013 1.0 is not what the lock says" in done.err
    assert team.tags("good")["1"]


@pytest.mark.parametrize(
    ("address", "code", "told"),
    [
        ("dask://127.0.0.1:9", 8, "no Dask scheduler answers at 127.0.0.1:9"),
        ("ray://somewhere", 6, "is not the address of an executor"),
        ("processes://many", 6, "does not say how many processes"),
        ("dask://", 6, "is not the address of an executor"),
    ],
)
def test_an_address_that_is_none_is_refused(
    address: str, code: int, told: str, server_team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envsync.client.elsewhere.PATIENCE", "1s")
    server_team.ask("one", "tiny-00003")
    done = server_team.envsync("apply", "--executor", address)
    assert done.code == code, done.err
    assert told in done.err


def test_a_folder_of_this_machine_is_no_registry_for_others(folder_team: Team) -> None:
    folder_team.ask("one", "tiny-00003")
    done = folder_team.envsync("apply", "--executor", "dask://127.0.0.1:9")
    assert done.code == 6
    assert "other machines cannot reach" in done.err

"""R14: told to stop at any of its effects, it stops within ten seconds and is finished later."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.reliability.counts import count
from tests.reliability.forked import start
from tests.reliability.oracle import assert_sound, end_of, foreign
from tests.reliability.scenes import Stage, names_of

SECONDS = 10
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
PLACES = (
    "blob-put.before", "blob-put.after", "file-rename.before", "content-tag.before",
    "content-tag.after", "record-push.before", "record-push.after", "commit-tag.before",
    "latest-tag.after", "version-tag.before",
)  # fmt: skip
MORE = ("file-rename.after", "record-write.before", "record-write.after", "commit-tag.after",
        "latest-tag.before", "version-tag.after", "file-rename.before:sleep:5",
        "blob-put.before:sleep:3")  # fmt: skip


def told_to_stop(
    stage: Stage, scene: str, folder: Path, variables: dict[str, str], place: str, number: int
) -> None:
    names = names_of(scene)
    wanted = stage.end(scene, folder / "undisturbed", variables)
    team = stage.team(scene, folder / "team", variables)
    before = foreign(team)
    failpoint = place if ":" in place else f"{place}:sleep"
    running = start(team, "apply", failpoint=failpoint)
    reached = f"failpoint {failpoint.partition(':')[0]} is reached"
    limit = time.monotonic() + 30
    while reached not in running.said():
        assert running.process.is_alive(), running.said()
        assert time.monotonic() < limit, running.said()
        time.sleep(0.01)
    begin = time.monotonic()
    os.kill(running.pid, number)
    code, said = running.ended(SECONDS)
    took = time.monotonic() - begin
    assert code == CODES[signal.Signals(number)], said
    assert took < SECONDS
    assert "run it again to go on where it stopped" in said
    assert "Traceback" not in said
    assert_sound(team, names, before)
    done = team.envsync("apply")
    assert done.code == 0, done.out + done.err
    assert end_of(team, names) == wanted
    team.verified.clear()
    assert_sound(team, names, before)
    count("R14", signals=1, **{"stopped in time": 1, "converged after one": 1})


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("place", PLACES)
def test_told_to_stop_it_stops_and_is_finished_later(
    layout_stage: Stage, tmp_path: Path, git_variables: dict[str, str], place: str, number: int
) -> None:
    told_to_stop(layout_stage, "new", tmp_path, git_variables, place, number)


@pytest.mark.full
@pytest.mark.parametrize(
    ("scene", "place", "number"),
    list(itertools.product(("changed", "platforms", "batch"), PLACES + MORE, CODES)),
)
def test_told_to_stop_in_other_scenes(
    layout_stage: Stage, tmp_path: Path, git_variables: dict[str, str], scene: str, place: str,
    number: int,
) -> None:  # fmt: skip
    told_to_stop(layout_stage, scene, tmp_path, git_variables, place, number)


ASLEEP = """
import signal, threading
from envsync.cli.main import _terminate
from envsync.cli.signals import heed_signals

signal.signal(signal.SIGTERM, _terminate)
heed_signals()
threading.Thread(target=threading.Event().wait, daemon=True).start()
# Another thread takes the signal, and the main thread's sleep is not disturbed.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("asleep", flush=True)
lock = threading.Lock()
lock.acquire()
lock.acquire()
"""


def test_a_signal_is_heard_by_a_main_thread_that_sleeps_on_a_lock() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ASLEEP],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "asleep\n"
        time.sleep(0.5)  # so that it has fallen asleep
        process.terminate()
        try:
            _, said = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
        assert "Terminated" in said

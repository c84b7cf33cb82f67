"""What is told while it happens: exact lines, events by the schema, bars that fit a terminal."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from envsync.cli.progress import Events, Lines, Live, display, progress
from envsync.cli.session import Session
from envsync.cli.tally import Tally
from envsync.ports.progress import Progress, Silent
from tests.team import Team

SCHEMA = json.loads(files("envsync").joinpath("cli/progress.schema.json").read_text())
DIGEST = "sha256:" + "0" * 64


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def work(progress: Progress, clock: Clock, name: str = "trainer") -> None:
    progress.step(name, "reading 3 packages for linux-64")
    progress.expect(name, packages=3, layers=4)
    progress.package(name, "numpy 2.0", "registry", 9_000_000)
    progress.package(name, "click 8.1", "cache", 90_000)
    clock.now += 2
    progress.bytes(name, 4_000_000)
    clock.now += 4
    progress.bytes(name, 8_000_000)
    progress.package(name, "flask 3.1", "built", 100_000)
    progress.layer(name, DIGEST, "present", 9_000_000)
    progress.layer(name, DIGEST, "mounted", 90_000)
    progress.layer(name, DIGEST, "uploaded", 100_000)
    progress.done(name, "version 2 is sha256:0000")


def test_lines_say_how_far_it_is_and_what_was_used_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    lines = Lines(clock=clock)
    work(lines, clock)
    lines.close()
    assert capsys.readouterr().err.splitlines() == [
        "trainer: reading 3 packages for linux-64",
        "trainer: 2 of 3 packages, 12.0 MB sent, 3.0 MB/s",
        (
            "trainer: 3 packages: 1 in the registry, 1 from the cache, 1 built; "
            "3 blobs: 1 present, 1 mounted, 1 uploaded; 12.0 MB sent"
        ),
        "trainer: version 2 is sha256:0000",
    ]


def test_several_environments_are_added_up(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = Lines(clock=clock)
    for name in ("a", "b"):
        work(lines, clock, name)
    lines.close()
    assert capsys.readouterr().err.splitlines()[-1] == (
        "2 environments: 6 packages: 2 in the registry, 2 from the cache, 2 built; "
        "6 blobs: 2 present, 2 mounted, 2 uploaded; 24.0 MB sent"
    )


def test_work_without_packages_is_told_in_steps_only(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(clock=Clock())
    lines.step("trainer", "solving")
    lines.done("trainer", "locked")
    lines.close()
    assert capsys.readouterr().err == "trainer: solving\ntrainer: locked\n"


def test_events_are_what_the_schema_says(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    events = Events(clock=clock)
    work(events, clock)
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    for event in found:
        jsonschema.validate(event, SCHEMA)
    kinds = [event["event"] for event in found]
    assert kinds == ["step", "expect", "package", "package", "package", *["layer"] * 3, "done"]
    assert found[-1]["counts"]["made"] == {"registry": 1, "cache": 1, "built": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"event": "step", "name": "a", "text": "x", "bytes": 1},
        {"format_version": "1.0", "event": "package", "name": "a"},
        {"format_version": "1.0", "event": "layer", "name": "a", "digest": "x", "sent": "present",
         "size": 1},
        {"format_version": "1.0", "event": "else", "name": "a"},
    ],
)  # fmt: skip
def test_the_schema_refuses_what_no_event_is(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_a_real_apply_tells_events_and_lines(team: Team) -> None:
    team.ask("train", "tiny-00004")
    done = team.envsync("apply", "--format", "json")
    assert done.code == 0
    events = [json.loads(line) for line in done.err.splitlines()]
    for event in events:
        jsonschema.validate(event, SCHEMA)
    (ended,) = [event for event in events if event["event"] == "done"]
    assert ended["counts"]["packages"] == 5
    assert ended["counts"]["made"]["built"] + ended["counts"]["made"]["cache"] == 5
    assert ended["counts"]["sent"]["uploaded"] == 7
    team.ask("train", "tiny-00005")
    lines = team.envsync("apply").err.splitlines()
    told = next(line for line in lines if "packages:" in line)
    assert told.startswith("train: 6 packages: 5 in the registry, 1 ")


@pytest.mark.parametrize("kind", [Lines, Events])
def test_work_goes_on_when_nobody_listens(
    kind: type[Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as closed:
        monkeypatch.setattr(sys, "stderr", closed)
        work(kind(clock=Clock()), Clock())
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), closed.fileno())


def test_the_sum_is_told_when_the_work_fails(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session(folder=Path(), environ={}, interactive=False)

    def fail() -> None:
        with progress(session) as told:
            for name in ("a", "b"):
                work(told, Clock(), name)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert capsys.readouterr().err.splitlines()[-1].startswith("2 environments: 6 packages")


def test_what_was_compressed_before_is_not_told_as_built(folder_team: Team) -> None:
    folder_team.ask("train", "tiny-00004")
    counts = []
    for forgotten in ("", "layers", ""):
        if forgotten:
            shutil.rmtree(folder_team.cache / forgotten)
        folder_team.wipe_registry()
        err = folder_team.envsync("apply", "--format", "json").err
        *_, ended = [json.loads(line) for line in err.splitlines()]
        counts.append(ended["counts"]["made"])
    assert counts == [
        {"registry": 0, "cache": 0, "built": 5},
        {"registry": 0, "cache": 5, "built": 0},
        {"registry": 0, "cache": 5, "built": 0},
    ]


def screen(names: list[str], height: int = 24) -> str:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=80, height=height, color_system=None
    )
    clock = Clock()
    # Not started: a started display draws by itself, at times of its own.
    bars = display(console)
    live = Live(bars, clock=clock)
    for name in names:
        live.step(name, "reading packages")
        live.expect(name, packages=3, layers=4)
        live.package(name, "numpy 2.0", "registry", 1)
        live.bytes(name, 500_000)
        clock.now += 1
        live.bytes(name, 500_000)
    with console.capture() as captured:
        console.print(bars.get_renderable())
    live.done(names[0], "version 1 is sha256:0000")
    live.close()
    return captured.get()


def test_one_environment_is_one_line() -> None:
    (line,) = [line for line in screen(["trainer"]).splitlines() if line.strip()]
    assert "trainer" in line
    assert "numpy 2.0 in the registry" in line
    assert "1.0 MB 1.0 MB/s" in line
    assert len(line) <= 80


def test_hundreds_of_environments_fit_a_small_terminal() -> None:
    text = screen([f"env{number}" for number in range(300)])
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 13
    assert "0 of 300 environments, 288 m" in text
    small = screen([f"env{number}" for number in range(300)], height=10)
    assert len([line for line in small.splitlines() if line.strip()]) == 7


def test_what_is_left_on_a_terminal_is_two_lines_of_its_width() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60, color_system=None)
    with console.capture() as captured:
        live = Live(display(console), clock=Clock())
        work(live, Clock())
        live.done("other", f"version 1 is {DIGEST}")
    lines = captured.get().splitlines()
    assert lines[0] == "trainer: version 2 is sha256:0000"
    assert lines[1].startswith("    3 packages: 1 in the registry, 1 from the cache")
    assert lines[2] == "other: version 1 is sha256:000000000000"
    assert max(map(len, lines)) <= 60


def test_one_is_one() -> None:
    tally = Tally(packages=1)
    tally.made["built"] += 1
    tally.sent["uploaded"] += 1
    assert tally.summary() == "1 package: 1 built; 1 blob: 1 uploaded; 0 bytes sent"


def test_nothing_is_told_by_the_silent_one(capsys: pytest.CaptureFixture[str]) -> None:
    work(Silent(), Clock())
    assert capsys.readouterr() == ("", "")

"""R5: while planning, no answer but a proved "not found" becomes a decision (I10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.registry.images import image
from tests.registry.proxy import DROP, Proxy, Reply
from tests.reliability.counts import count
from tests.reliability.faults import LIMIT, impatient
from tests.reliability.oracle import foreign, written
from tests.reliability.scenes import Stage
from tests.team import MUTATING, Team

ANSWERS: Mapping[str, tuple[Reply, int]] = {
    "400": (Reply(status=400), 8),
    "401": (Reply(status=401), 7),
    "403": (Reply(status=403), 7),
    "405": (Reply(status=405), 7),
    "418": (Reply(status=418), 8),
    "429": (Reply(status=429), 8),
    "500": (Reply(status=500), 8),
    "502": (Reply(status=502), 8),
    "503": (Reply(status=503, headers={"retry-after": "3600"}), 8),
    "204": (Reply(status=204), 8),
    "reset": (Reply(status=DROP), 8),
    "silence": (Reply(status=200, hold=LIMIT * 2), 8),
    "html": (Reply(status=200, headers={"content-type": "text/html"}, body=b"<html>"), 8),
    "circle": (Reply(status=302, headers={"location": "/v2/"}), 8),
    "garbage": (Reply(status=200, raw=b"\x16\x03\x01 no HTTP\r\n\r\n"), 8),
}
"""An answer to a HEAD and to the GET that may follow it, and how a plan ends."""


def content(team: Team) -> None:
    """Whether the image of the definition is there."""
    team.ask("train", "tiny-00001")


def version(team: Team) -> None:
    """What the tag of the version names."""
    team.ask("train", "tiny-00001")
    assert team.envsync("apply").code == 0
    team.delete_tag("train", "1")


def newest(team: Team) -> None:
    """What ``latest`` names, which is asked once something was archived."""
    team.ask("train", "tiny-00001")
    assert team.envsync("apply").code == 0
    assert team.envsync("archive", "train:1").code == 0
    team.repository.commit("archived")
    team.ask("train", "tiny-00001", "tiny-00010")


def sibling(team: Team) -> None:
    """Whether another environment has the image."""
    team.ask("other", "tiny-00001")
    assert team.envsync("apply").code == 0
    team.ask("train", "tiny-00001")


def source(team: Team) -> None:
    """Whether an image that is not copied is where the spec says."""
    with team.reader() as registry:
        image("base").put(registry, "base", "1")
    team.ask("train", image=f"{team.address}/base:1")


READS: Mapping[str, tuple[Callable[[Team], None], str]] = {
    "content": (content, "/train/manifests/def-"),
    "version": (version, "/train/manifests/1"),
    "newest": (newest, "/train/manifests/latest"),
    "sibling": (sibling, "/other/manifests/def-"),
    "source": (source, "/base/manifests/"),
}
"""How a read comes about, and what its path has in it."""


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("read", READS)
def test_what_could_not_be_read_is_unknown_and_nothing_is_done(
    proxied_stage: Stage, proxy: Proxy, tmp_path: Path, git_variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch, read: str, answer: str,
) -> None:  # fmt: skip
    setting, part = READS[read]
    team = proxied_stage.team(f"read {read}", tmp_path / "team", git_variables, setting)
    proxy.forget()
    impatient(monkeypatch)
    reply, code = ANSWERS[answer]
    for method in ("HEAD", "GET"):
        proxy.on(method, part, reply)
    before, people = written(team), foreign(team)
    planned = team.envsync("plan", "--format=json")
    assert planned.code == code, planned.out + planned.err
    states = {one["name"]: one["state"] for one in planned.json["environments"]}
    assert states["train"] == "unknown"
    applied = team.envsync("apply", "--format=json", "train")
    assert applied.code == code, applied.out + applied.err
    assert [asked for asked in proxy.asked if asked.method in MUTATING] == []
    assert len(proxy.requests(part=part)) >= 2
    assert written(team) == before
    assert foreign(team) == people
    count("R5", answers=1, unknown=1)

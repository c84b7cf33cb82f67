"""What must hold after everything that can go wrong: the invariants of the release protocol.

I1 to I5 are `Team.check`, together with ``git fsck``. Here are the others, and that the end is that
of a run that nobody disturbed.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.parts.process import tool
from tests.team import Team
from tests.test_apply import files

RECORDS = "refs/tags/env/"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where git and the registry stand: records with their objects, and tags with their digests."""

    records: Mapping[str, str]
    tags: Mapping[str, Mapping[str, str]]
    lists: Mapping[str, Mapping[str, str]]
    """Of what refers to images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What belongs to people: envsync may not change a bit of it."""

    work: Mapping[str, str | bytes]
    refs: Mapping[str, str]


def end_of(team: Team, names: Sequence[str]) -> End:
    """Return where it ended for environments."""
    refs = team.arbiter.refs(RECORDS)
    return End(
        records=refs,
        tags={name: team.tags(name) for name in names},
        lists={name: team.lists(name) for name in names},
    )


def foreign(team: Team) -> Foreign:
    """Return what belongs to people, to be compared with what it is afterwards."""
    refs = {ref: oid for ref, oid in team.arbiter.refs().items() if not ref.startswith(RECORDS)}
    return Foreign(work=team.state(), refs=refs)


def written(team: Team) -> object:
    """Return whatever changes when anything is written anywhere."""
    held = files(team.registry.data if team.registry else team.layouts)
    return (team.state(), team.arbiter.refs(), team.repository.refs(), held)


def assert_sound(team: Team, names: Sequence[str], before: Foreign) -> None:
    """Assert what holds at every instant: I1 to I6."""
    team.check(*names)
    assert foreign(team) == before, "I6: only records are written"


def assert_quiet(team: Team, *names: str) -> None:
    """Assert I7 and I8: a plan and a second apply send nothing and write nothing."""
    before = written(team)
    planned = team.envsync("plan", "--detailed-exitcode", *names)
    assert planned.code == 0, f"I7: {planned.out}{planned.err}"
    assert written(team) == before, "I7"
    again = team.envsync("apply", *names)
    assert (again.code, "Nothing to do" in again.out) == (0, True), f"I8: {again.out}{again.err}"
    assert written(team) == before, "I8"


def skopeo(team: Team, name: str, tag: str) -> Any:
    """Return what skopeo, which others wrote, says of an image."""
    if team.registry is None:
        place = f"oci:{team.layouts / team.place(name)}:{tag}"
    else:
        place = f"docker://{team.registry.host}/{team.place(name)}:{tag}"
    done = subprocess.run(
        [tool("skopeo"), "--override-os=linux", "--override-arch=amd64", "inspect",
         "--tls-verify=false", place],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

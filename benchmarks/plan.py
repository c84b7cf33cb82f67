"""Plan, when nothing changed: the command that CI runs on every pull request and every night."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from benchmarks.fleet import Fleet, fleet
from benchmarks.heads import heads
from benchmarks.measure import Candidate, Usage, alternate, observed, timed
from benchmarks.report import Table
from tests.parts.cache import Unavailable
from tests.parts.process import tool

SAMPLE = 20
"""Environments that the loop of skopeo is run over; the rest is scaled, for all are alike."""


PARTS = (("half of them", "*[02468]"), ("a tenth of them", "*0"))
"""What else is planned of the same environments, by glob, to show how the cost grows."""


def measure(runs: int, size: int) -> Sequence[Table]:
    """Compare a plan of *size* environments with asking the registry for each of them."""
    with fleet(size) as all_in_sync:
        _check(all_in_sync)
        candidates = [_warm(all_in_sync), _cold(all_in_sync)]
        candidates += [_part(all_in_sync, *part) for part in PARTS]
        candidates += _skopeo(all_in_sync)
        remarks = [f"{size} environments of 40 packages, one registry and git remote on loopback."]
        try:
            candidates.append(heads(all_in_sync))
        except Unavailable as missing:
            remarks.append(f"The HEADs by a client in C: {missing}")
        rows = alternate(candidates, runs)
    return [Table(title=f"Plan of {size}, nothing changed", rows=rows, remarks=tuple(remarks))]


def _check(all_in_sync: Fleet) -> None:
    """See to it that what is measured is a plan in which nothing has to be done."""
    all_in_sync.place.envsync("plan", "--detailed-exitcode")
    usage = observed(all_in_sync.registry, lambda: all_in_sync.place.envsync("plan"))
    most = 2 * len(all_in_sync.names)
    if usage.requests is None or usage.requests > most:
        raise AssertionError(f"{usage.requests} requests, at most {most} are allowed")


def _warm(all_in_sync: Fleet) -> Candidate:
    def run() -> Usage:
        return observed(all_in_sync.registry, lambda: all_in_sync.place.envsync("plan"))

    return Candidate(name="envsync plan", command="envsync plan", run=run)


def _cold(all_in_sync: Fleet) -> Candidate:
    def run() -> Usage:
        all_in_sync.place.forget()
        return observed(all_in_sync.registry, lambda: all_in_sync.place.envsync("plan"))

    return Candidate(
        name="envsync plan, no cache",
        command="rm -r ~/.cache/envsync; envsync plan",
        run=run,
        note="as on a fresh machine of a CI service",
        rank="ours",
    )


def _part(all_in_sync: Fleet, words: str, glob: str) -> Candidate:
    """Return a plan of the environments whose number ends as *glob* says."""

    def run() -> Usage:
        return observed(all_in_sync.registry, lambda: all_in_sync.place.envsync("plan", glob))

    return Candidate(
        name=f"envsync plan, {words}",
        command=f"envsync plan '{glob}'",
        run=run,
        rank="ours",
    )


def _skopeo(all_in_sync: Fleet) -> list[Candidate]:
    """Return the loops that a team would write with skopeo: manifests only, and whole images."""
    chosen = all_in_sync.names[:SAMPLE]
    factor = len(all_in_sync.names) / len(chosen)

    def loop(options: str) -> Usage:
        skopeo = shlex.quote(tool("skopeo"))
        script = "".join(
            f"{skopeo} inspect {options} --tls-verify=false"
            f" docker://{all_in_sync.registry.host}/{all_in_sync.repository(name)}:1"
            " >/dev/null || exit 1\n"
            for name in chosen
        )
        words = ["/bin/sh", "-c", script]
        usage = observed(
            all_in_sync.registry, lambda: timed(words, environment=all_in_sync.place.environment)
        )
        return usage.times(factor)

    note = f"{len(chosen)} environments were asked for, and the numbers multiplied by {factor:g}"
    command = "for name in …; do skopeo inspect {} docker://host/bench/$name:1; done"
    return [
        Candidate(
            name="skopeo inspect --raw, a loop",
            command=command.format("--raw"),
            run=lambda: loop("--raw"),
            note=f"{note}; one tag each, where plan asks for two",
        ),
        Candidate(
            name="skopeo inspect, a loop",
            command=command.format("--no-tags"),
            run=lambda: loop("--no-tags"),
            note=note,
        ),
    ]

"""P2, P3, P4: locking one environment, many in one run, checking that locks still hold."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, combinations, islice
from pathlib import Path

from benchmarks.checkout import ENVSYNC, Checkout, checkout
from benchmarks.measure import Candidate, Usage, alternate, timed
from benchmarks.report import Table
from benchmarks.standin import instant_solver
from tests.parts.realdata import repodata_channel

ONE = ("python 3.11.*", "numpy", "pandas", "scikit-learn", "requests", "flask")
_SOME = ("click", "flask", "jinja2", "matplotlib", "numpy", "pandas", "pyyaml", "requests", "rich")
MANY, CHECKED, SAMPLE = 50, 100, 5
LONG = 3
"""Runs of what takes long."""
_SOLVERS = ("conda", "mamba", "micromamba")


def measure(wanted: Collection[str], runs: int, size: int) -> Iterator[tuple[str, Sequence[Table]]]:
    """Yield the tables of the wanted ones of P2, P3 and P4, on 25,000 real conda-forge records."""
    channel = repodata_channel()
    with checkout() as place:
        place.settings("")
        place.spec("one", [channel], ONE)
        choices = chain(combinations(_SOME, 3), combinations(_SOME, 2))
        for number, chosen in enumerate(islice(choices, CHECKED)):
            place.spec(f"many-{number:02d}", [channel], ("python 3.11.*", *chosen))
        place.envsync("lock")
        if "P2" in wanted:
            yield "P2", [_one(place, channel, runs)]
        if "P3" in wanted:
            yield "P3", [_many(place, min(runs, LONG))]
        if "P4" in wanted:
            yield "P4", [_check(place, runs)]


def _one(place: Checkout, channel: Path, runs: int) -> Table:
    command = "envsync lock one --upgrade"
    candidates = [
        Candidate(
            name="envsync lock",
            command=command,
            run=lambda: place.envsync(*command.split()[1:]),
        ),
        _in_process(place, channel),
        instant_solver(place, "one"),
    ]
    remarks = [f"Asked for: {', '.join(ONE)}; 25,000 real records, which were read before."]
    for solver in _SOLVERS:
        if shutil.which(solver):
            candidates.append(_conda_lock(place, solver))
    if len(candidates) == 3:
        remarks.append(
            f"conda-lock drives {', '.join(_SOLVERS[:-1])} or {_SOLVERS[-1]}; none of them is on"
            " this machine, nor in the package indexes that it reaches. What is left of the peer"
            " is conda-lock itself, with an answer instead of a solver."
        )
    rows = alternate(candidates, runs)
    return Table(title="Lock one environment", rows=rows, remarks=tuple(remarks))


def _in_process(place: Checkout, channel: Path) -> Candidate:
    from envsync.adapters.solving.rattler_solver import RattlerSolver
    from envsync.ports.solver import CondaRequest, Solution

    request = CondaRequest(
        platform="linux-64",
        channels=(str(channel),),
        dependencies=ONE,
        virtual_packages={"__glibc": "2.28", "__linux": "5.10", "__unix": "0"},
    )
    solver = RattlerSolver(
        cache=place.cache / "repodata", root=place.root, environ=place.environment
    )

    def run() -> Usage:
        wall, cpu = time.perf_counter(), time.process_time()
        (found,) = solver.solve([request])
        usage = Usage(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu, memory=0)
        if not isinstance(found, Solution):
            raise found
        return usage

    return Candidate(
        name="the solve alone",
        command="RattlerSolver(…).solve([request])",
        run=run,
        note="in a process that has solved before; its memory was not measured",
        rank="ours",
    )


def _conda_lock(place: Checkout, solver: str) -> Candidate:
    words = f"conda-lock lock --conda {solver} -p linux-64 -f conda.yaml --lockfile other.yml"
    folder = place.root / "environments/one"

    def run() -> Usage:
        (folder / "other.yml").unlink(missing_ok=True)
        return timed(_program(words.split()), environment=place.environment, folder=folder)

    return Candidate(name=f"conda-lock, {solver}", command=words, run=run)


def _many(place: Checkout, runs: int) -> Table:
    names = [f"many-{number:02d}" for number in range(MANY)]

    def loop() -> Usage:
        words = " ".join([*ENVSYNC, "lock"])
        script = "\n".join(f"{words} {name} --upgrade || exit 1" for name in names[:SAMPLE])
        usage = timed(["/bin/sh", "-c", script], environment=place.environment, folder=place.root)
        return usage.times(MANY / SAMPLE)

    candidates = [
        Candidate(
            name="one run",
            command=f"envsync lock {names[0]} {names[1]} … --upgrade",
            run=lambda: place.envsync("lock", *names, "--upgrade"),
        ),
        Candidate(
            name=f"{MANY} runs",
            command="for name in …; do envsync lock $name --upgrade; done",
            run=loop,
            note=f"{SAMPLE} were run, and the numbers multiplied by {MANY / SAMPLE:g}",
        ),
    ]
    return Table(title=f"Lock {MANY} environments", rows=alternate(candidates, runs))


def _check(place: Checkout, runs: int) -> Table:
    words = (
        "conda-lock lock --check-input-hash --conda /bin/true -p linux-64 -f conda.yaml"
        " --lockfile ../../locks/{}/conda-lock.yml"
    )

    def loop() -> Usage:
        script = "\n".join(
            f"cd {place.root}/environments/many-{number:02d} && {command} 2>&1"
            " | grep -q 'already locked' || exit 1"
            for number in range(SAMPLE)
            for command in [" ".join(_program(words.format(f"many-{number:02d}").split()))]
        )
        usage = timed(["/bin/sh", "-c", script], environment=place.environment)
        return usage.times(CHECKED / SAMPLE)

    candidates = [
        Candidate(
            name="envsync lock --check",
            command="envsync lock --check 'many-*'",
            run=lambda: place.envsync("lock", "--check", "many-*"),
        ),
        Candidate(
            name="conda-lock, a loop",
            command=f"for name in …; do {words.format('$name')}; done",
            run=loop,
            note=f"{SAMPLE} were checked, and the numbers multiplied by {CHECKED / SAMPLE:g};"
            " it compares a hash of the request, not the packages",
        ),
    ]
    return Table(title=f"Check {CHECKED} locks", rows=alternate(candidates, runs))


def _program(words: Sequence[str]) -> list[str]:
    """Return the command with the program that belongs to this interpreter."""
    return [str(Path(sys.executable).with_name(words[0])), *words[1:]]

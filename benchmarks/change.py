"""P6: one package changes, from the edited spec to the pushed image, everything else warm."""

from __future__ import annotations

from benchmarks import naive
from benchmarks.build import DOCKER, DOCKER_RUN, TAR, remarks
from benchmarks.engine import DockerPeer
from benchmarks.measure import Candidate, Usage, alternate
from benchmarks.report import Table
from benchmarks.report import size as size_of
from benchmarks.science import NAME, PAYLOAD_BYTES, Science

IDLE = "envsync lock, apply, nothing changed"
EMPTY = "envsync, on an empty machine"


def one_package(work: Science, docker: DockerPeer, runs: int) -> Table:
    """Compare with the same peers, whose caches are as warm as they can be."""

    def ours() -> Usage:
        work.change()
        return idle()

    def idle() -> Usage:
        return work.ours(["lock", NAME], ["apply", NAME])

    def nothing_to_do() -> Usage:
        # A peer's run before this one may have left a version that is not published.
        idle()
        return idle()

    def empty() -> Usage:
        # What is warm for the others stays warm.
        with work.place.empty_machine():
            return ours()

    def locked() -> None:
        work.change()
        work.place.envsync("lock", NAME)

    def by_docker() -> Usage:
        locked()
        return docker.install_in_image(cached=True)

    def by_tar() -> Usage:
        locked()
        return naive.install_tar_copy(work)

    command = f"envsync lock {NAME}; envsync apply {NAME}"
    unsolved = "the list of packages is made before and not counted"
    candidates = [
        Candidate(
            name="envsync lock, apply",
            command=command,
            run=ours,
            note="the git commit between the two is not counted",
        ),
        Candidate(
            name=EMPTY,
            command=f"rm -r ~/.cache/envsync; {command}",
            run=empty,
            note="as a fresh machine of a CI service: what the registry has is not made again",
            rank="ours",
        ),
        Candidate(
            name=IDLE,
            command=command,
            run=nothing_to_do,
            note="what two programs take that find nothing to do",
            rank="ours",
        ),
        Candidate(name=DOCKER, command=DOCKER_RUN.format(""), run=by_docker, note=unsolved),
        Candidate(
            name=TAR,
            command=naive.BY_TAR,
            run=by_tar,
            note=f"{unsolved}; unpacked packages are in rattler's cache; {naive.TAR_NOTE}",
        ),
    ]
    return Table(
        title=f"One package of {size_of(PAYLOAD_BYTES)} changed",
        rows=alternate(candidates, runs),
        remarks=remarks(),
        facts={"changed": PAYLOAD_BYTES},
    )

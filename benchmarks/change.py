"""One package changes: from the edited spec to the pushed image, everything else warm."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import naive
from benchmarks.build import COPY_NOTE, DOCKER_COPY, DOCKER_RUN, RUNS, peers, remarks
from benchmarks.measure import Candidate, Usage, alternate
from benchmarks.report import Table
from benchmarks.report import size as size_of
from benchmarks.science import NAME, PAYLOAD_BYTES, Science


def measure(runs: int, size: int) -> Sequence[Table]:
    """Compare with the same peers, whose caches are as warm as they can be."""
    with peers() as (work, docker):
        work.ours(["apply"])
        docker.install_in_image(cached=True)
        docker.copy_prefix(cached=True)
        naive.install_and_copy(work)

        def ours() -> Usage:
            work.change()
            return work.ours(["lock", NAME], ["apply", NAME])

        def empty() -> Usage:
            work.place.forget()
            return ours()

        def locked(work: Science) -> None:
            work.change()
            work.place.envsync("lock", NAME)

        def by_docker(*, copy: bool) -> Usage:
            locked(work)
            return docker.copy_prefix(cached=True) if copy else docker.install_in_image(cached=True)

        def by_hand() -> Usage:
            locked(work)
            return naive.install_and_copy(work)

        unsolved = "the list of packages is made before and not counted"
        candidates = [
            Candidate(
                name="envsync lock, apply",
                command=f"envsync lock {NAME}; envsync apply {NAME}",
                run=ours,
                note="the git commit between the two is not counted",
            ),
            Candidate(
                name="envsync, on an empty machine",
                command=f"rm -r ~/.cache/envsync; envsync lock {NAME}; envsync apply {NAME}",
                run=empty,
                note="as a fresh machine of a CI service: what the registry has is not made again",
                rank="ours",
            ),
            Candidate(
                name="Dockerfile with installer",
                command=DOCKER_RUN.format(""),
                run=lambda: by_docker(copy=False),
                note=unsolved,
            ),
            Candidate(
                name="Dockerfile with COPY",
                command=DOCKER_COPY.format(""),
                run=lambda: by_docker(copy=True),
                note=COPY_NOTE,
            ),
            Candidate(
                name="install, umoci, skopeo",
                command=naive.COMMAND,
                run=by_hand,
                note=f"{unsolved}; unpacked packages are in rattler's cache",
            ),
        ]
        rows = alternate(candidates, min(runs, RUNS))
    title = f"One package of {size_of(PAYLOAD_BYTES)} changed"
    return [Table(title=title, rows=rows, remarks=remarks())]

"""A cold build and push of a realistic environment."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import naive
from benchmarks.engine import DockerPeer, make_installer
from benchmarks.measure import Candidate, Usage, alternate, observed, timed
from benchmarks.report import Table
from benchmarks.science import Science, science
from tests.parts.engine import shared_engine
from tests.parts.serving import serve_folders

RUNS = 3
"""A run of all takes more than a minute."""
DOCKER_RUN = (
    "docker build --network=host{} -t host/peer/run . && docker push host/peer/run"
    "    # RUN linker.py, py-rattler's install, the packages from a server on loopback"
)
DOCKER_COPY = (
    "docker build{} -t host/peer/copy . && docker push host/peer/copy    # COPY prefix /opt/env"
)
COPY_NOTE = "the installation that it copies was made before and is not counted"


def measure(runs: int, size: int) -> Sequence[Table]:
    """Compare with Dockerfiles and with one layer made by hand, all with empty caches."""
    with peers() as (work, docker):
        count = len(work.packages().split('"name"')) - 1

        def ours() -> Usage:
            work.reset()
            work.place.forget()
            return work.ours(["apply"])

        def by_docker(*, copy: bool) -> Usage:
            work.reset()
            return (
                docker.copy_prefix(cached=False) if copy else docker.install_in_image(cached=False)
            )

        def by_hand() -> Usage:
            work.reset()
            shutil.rmtree(work.place.folder / "peer/cache", ignore_errors=True)
            return naive.install_and_copy(work)

        def by_limit() -> Usage:
            work.reset()
            listed = work.place.folder / "limit.json"
            listed.write_text(work.packages())
            program = Path(__file__).with_name("limit.py")
            words = [sys.executable, str(program), str(listed), work.registry.host, "peer/limit"]
            return observed(work.registry, lambda: timed(words, environment=work.place.environment))

        candidates = [
            Candidate(name="envsync apply", command="envsync apply", run=ours),
            Candidate(
                name="Dockerfile with installer",
                command=DOCKER_RUN.format(" --no-cache"),
                run=lambda: by_docker(copy=False),
            ),
            Candidate(
                name="Dockerfile with COPY",
                command=DOCKER_COPY.format(" --no-cache"),
                run=lambda: by_docker(copy=True),
                note=COPY_NOTE,
            ),
            Candidate(
                name="install, umoci, skopeo",
                command=naive.COMMAND,
                run=by_hand,
                note="umoci compresses on all cores, where gzip uses one",
            ),
            Candidate(
                name="the limit",
                command="limit.py packages.json host peer/limit",
                run=by_limit,
                note="the same archives read, decoded, hashed, compressed and uploaded, no more",
                rank="limit",
            ),
        ]
        rows = alternate(candidates, min(runs, RUNS))
    return [Table(title=f"Cold build and push, {count} packages", rows=rows, remarks=remarks())]


@contextmanager
def peers() -> Iterator[tuple[Science, DockerPeer]]:
    """Yield the environment and the engine that builds it the other way."""
    with science() as work, shared_engine() as engine:
        folders = {str(number): channel for number, channel in enumerate(work.channels)}
        with serve_folders(folders) as server:
            installer = make_installer(engine, work)
            work.keep()
            docker = DockerPeer(
                engine=engine, science=work, address=server.base, installer=installer
            )
            yield work, docker


def remarks() -> tuple[str, ...]:
    """Return what holds for both benchmarks that build."""
    return (
        "The base is a minimal Debian that the registry has already; packages are on this disk.",
        "No micromamba can be had here; the Dockerfile's installer is py-rattler, in its base.",
        "The engine and the registry have the base images already.",
        "The engine is Docker's classic builder; its CPU time is counted, its memory is not.",
        "Runs that take long are repeated three times.",
    )

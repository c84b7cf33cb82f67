"""P5: a cold build and push of a realistic environment."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import naive
from benchmarks.engine import DockerPeer
from benchmarks.measure import Candidate, Usage, alternate, observed, timed
from benchmarks.report import Table
from benchmarks.science import Science

DOCKER, TAR, UMOCI = "Dockerfile with installer", "install, tar, gzip, skopeo", "install, umoci"
LIMIT = "the limit"
DOCKER_RUN = (
    "docker build --network=host{} -t host/peer/run . && docker push host/peer/run"
    "    # RUN linker.py, py-rattler's install, the packages from a server on loopback"
)


def cold(work: Science, docker: DockerPeer, runs: int) -> Table:
    """Compare with a Dockerfile and with one layer made by hand, all with empty caches."""
    count, unpacked = len(work.listed()), naive.unpacked_bytes(work)

    def ours() -> Usage:
        work.reset()
        work.place.forget()
        return work.ours(["apply"])

    def by_docker() -> Usage:
        work.reset()
        return docker.install_in_image(cached=False)

    def by_tar() -> Usage:
        work.reset()
        naive.forget_packages(work)
        return naive.install_tar_copy(work)

    def by_umoci() -> Usage:
        work.reset()
        naive.forget_packages(work)
        return naive.install_umoci_copy(work)

    def by_limit() -> Usage:
        work.reset()
        listed = work.place.folder / "limit.json"
        listed.write_text(work.packages())
        program = Path(__file__).with_name("limit.py")
        words = [sys.executable, str(program), "build", str(listed)]
        words += [work.registry.host, "peer/limit"]
        return observed(work.registry, lambda: timed(words, environment=work.place.environment))

    candidates = [
        Candidate(name="envsync apply", command="envsync apply", run=ours),
        Candidate(name=DOCKER, command=DOCKER_RUN.format(" --no-cache"), run=by_docker),
        Candidate(name=TAR, command=naive.BY_TAR, run=by_tar, note=naive.TAR_NOTE),
        Candidate(
            name=UMOCI,
            command=naive.BY_UMOCI,
            run=by_umoci,
            note="umoci compresses on all cores, where gzip uses one",
        ),
        Candidate(
            name=LIMIT,
            command="limit.py build packages.json host peer/limit",
            run=by_limit,
            note="the same archives read, decoded, hashed, compressed and uploaded, no more",
            rank="limit",
        ),
    ]
    return Table(
        title=f"Cold build and push, {count} packages, {unpacked / 1e6:,.0f} MB unpacked",
        rows=alternate(candidates, runs),
        remarks=remarks(),
        facts={"packages": count, "unpacked": unpacked},
    )


def remarks() -> tuple[str, ...]:
    """Return what holds for all comparisons that build."""
    return (
        "The base is a minimal Debian that the registry has already; packages are on this disk.",
        "No micromamba can be had here; the Dockerfile's installer is py-rattler, in its base.",
        "The engine and the registry have the base images already.",
        "The engine is Docker's classic builder; its CPU time is counted, its memory is not.",
    )

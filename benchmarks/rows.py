"""The rows of the table of targets, and which module measures each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One piece of work with a target."""

    id: str
    work: str
    target: str
    module: str
    together: bool = False
    """Whether the module's ``measure`` takes the wanted ids first and yields an id with each list
    of tables, because several rows have one set-up."""


ROWS = (
    Row(
        id="P1",
        work="plan, nothing changed, 1,000 environments",
        target="≥ 100 × a loop of skopeo inspect; ≤ 2 × the bare HEADs; ≤ 2 requests each",
        module="plan",
    ),
    Row(
        id="P2",
        work="lock one environment, repodata read before",
        target="≥ 10 × conda-lock with conda, ≥ 3 × with micromamba",
        module="lock",
        together=True,
    ),
    Row(
        id="P3",
        work="lock 50 environments in one run",
        target="≥ 5 × 50 runs",
        module="lock",
        together=True,
    ),
    Row(
        id="P4",
        work="lock --check of 100 environments",
        target="< 1 s in all; beside conda-lock's own check",
        module="lock",
        together=True,
    ),
    Row(
        id="P5",
        work="cold build and push, about 60 packages, 800 MB unpacked",
        target="≥ 6 × a Dockerfile; ≥ 4 × install, tar, gzip, skopeo; ≤ 1.5 × the limit",
        module="images",
        together=True,
    ),
    Row(
        id="P6",
        work="one package of 5 MB changed, from the lock to the registry",
        target="≥ 50 × a Dockerfile; bytes ≤ 1.1 × the package + 64 kB",
        module="images",
        together=True,
    ),
    Row(
        id="P7",
        work="a second environment that shares nine packages of ten",
        target="≥ 30 × a Dockerfile; bytes for what is new only",
        module="images",
        together=True,
    ),
    Row(
        id="P8",
        work="the base image is patched",
        target="≥ 100 × a Dockerfile; no package's bytes",
        module="images",
        together=True,
    ),
    Row(
        id="P9",
        work="a lost registry is restored from a warm cache",
        target="≥ 3 × skopeo copy from disk, the same digests",
        module="images",
        together=True,
    ),
    Row(
        id="P10",
        work="bytes of an update over three years of real locks",
        target="≤ 26 % of a small image, ≤ 30 % of a large one",
        module="history",
    ),
    Row(
        id="P11",
        work="a second platform",
        target="≤ 1.6 × the first alone; noarch layers are shared",
        module="platforms",
    ),
    Row(
        id="P12",
        work="peak memory of a build, ten times as large",
        target="≤ 1.3 ×; ≤ 300 MB + the largest file",
        module="memory",
    ),
    Row(
        id="P13",
        work="start: --version and --help",
        target="≤ 3 × python -c pass",
        module="start",
    ),
    Row(
        id="P14",
        work="docker pull of the update of P6",
        target="≤ 0.2 × the bytes of the peer's",
        module="images",
        together=True,
    ),
)
"""In the order of the page; rows of one module are measured together, where the first stands."""

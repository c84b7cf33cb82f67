"""The rows about images of one large environment: one set-up, measured one after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from benchmarks import again, build, change, naive, pull
from benchmarks.engine import DockerPeer, make_installer
from benchmarks.report import Table
from benchmarks.science import Science, science
from tests.parts.engine import shared_engine
from tests.parts.serving import serve_folders

RUNS = 3
"""At most: a run of all that are compared takes more than a minute."""
_WITH_PEERS = {"P6", "P7", "P8", "P14"}
"""Rows whose peers have built the environment once before."""


def measure(wanted: Collection[str], runs: int, size: int) -> Iterator[tuple[str, Sequence[Table]]]:
    """Yield the tables of the wanted ones of P5, P6, P7, P8, P9 and P14."""
    few = min(runs, RUNS)
    with peers() as (work, docker):
        if "P5" in wanted:
            yield "P5", [build.cold(work, docker, few)]
        if not {*wanted} - {"P5"}:
            return
        work.ours(["apply"])
        if {*wanted} & _WITH_PEERS:
            docker.install_in_image(cached=True)
            naive.install_tar_copy(work)
        # The base is patched last: the others stand on the first one.
        steps: Mapping[str, Callable[[], Table]] = {
            "P6": partial(change.one_package, work, docker, few),
            "P14": partial(pull.update, work, docker, few),
            "P7": partial(again.sibling, work, docker, few),
            "P9": partial(again.restore, work, few),
            "P8": partial(again.rebase, work, docker, few),
        }
        for name, step in steps.items():
            if name in wanted:
                work.change()
                work.ours(["lock"], ["apply"])
                yield name, [step()]


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

"""P14: an engine that has yesterday's image pulls today's, of which one package is new."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from benchmarks.build import DOCKER
from benchmarks.engine import DockerPeer
from benchmarks.measure import Candidate, Usage, alternate
from benchmarks.report import Bar, Table
from benchmarks.science import NAME, Science
from tests.parts.process import tool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Update:
    before: str
    after: str


def update(work: Science, docker: DockerPeer, runs: int) -> Table:
    """Compare the pull of our update with that of the update that a Dockerfile made."""
    work.change()
    work.ours(["lock", NAME], ["apply", NAME])
    before = work.newest(NAME)
    # The peer's is the one that was built last; that its payload is not ours changes nothing.
    theirs = [_under_its_own_tag(work, "before")]
    built = [docker.identity(f"{work.registry.host}/peer/run:latest")]
    work.change()
    work.ours(["lock", NAME], ["apply", NAME])
    ours = _Update(before=before, after=work.newest(NAME))
    docker.install_in_image(cached=True)
    theirs.append(_under_its_own_tag(work, "after"))
    built.append(docker.identity(f"{work.registry.host}/peer/run:latest"))
    docker.remove(*built)

    def pulled(images: _Update) -> Usage:
        docker.pull(images.before)
        usage = docker.pull(images.after)
        docker.remove(images.before, images.after)
        if not usage.read:
            raise RuntimeError(f"the engine had all of {images.after} before it pulled it")
        return usage

    peer = _Update(before=theirs[0], after=theirs[1])
    candidates = [
        Candidate(
            name="envsync",
            command=f"docker pull host/bench/{NAME}:2    # the engine has :1",
            run=lambda: pulled(ours),
        ),
        Candidate(
            name=DOCKER,
            command="docker pull host/peer/run:after    # the engine has :before",
            run=lambda: pulled(peer),
        ),
    ]
    rows = alternate(candidates, runs)
    return Table(
        title="docker pull of an update of one package",
        rows=rows,
        remarks=(
            "Bytes read are what the registry's access log says that it sent.",
            (
                "The engine reads again what lies above the layer that changed, the same or not;"
                " so the large layers of an image lie below the small ones."
            ),
        ),
        bars=tuple(
            Bar(
                label=row.candidate.name,
                value=(row.usage.read or 0) / 1e6,
                kind="peer" if number else "ours",
            )
            for number, row in enumerate(rows)
        ),
        unit="MB",
    )


def _under_its_own_tag(work: Science, tag: str) -> str:
    repository = f"{work.registry.host}/peer/run"
    words = [tool("skopeo"), "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]
    words += ["--dest-tls-verify=false", f"docker://{repository}:latest"]
    subprocess.run([*words, f"docker://{repository}:{tag}"], check=True)
    return f"{repository}:{tag}"

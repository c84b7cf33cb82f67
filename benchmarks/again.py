"""What need not be made twice: a sibling, a patched base, a registry that was lost."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.build import DOCKER_RUN, RUNS, peers, remarks
from benchmarks.engine import DockerPeer
from benchmarks.measure import Candidate, Usage, alternate, observed, timed
from benchmarks.report import Table
from benchmarks.science import NAME, SIBLING, Science
from tests.parts.baseimage import debian_base
from tests.parts.process import tool


def measure(runs: int, size: int) -> Sequence[Table]:
    """Compare with a Dockerfile, whose caches are as warm as they can be, and with skopeo."""
    with peers() as (work, docker):
        work.ours(["apply", NAME])
        docker.install_in_image(cached=True)
        work.keep()
        few = min(runs, RUNS)
        # The base is patched last: the others stand on the first one.
        return [_sibling(work, docker, few), _restore(work, runs), _rebase(work, docker, few)]


def _sibling(work: Science, docker: DockerPeer, runs: int) -> Table:
    def ours() -> Usage:
        work.sibling()
        return work.ours(["apply", SIBLING])

    def by_docker() -> Usage:
        work.sibling()
        work.place.publishable("sibling")
        return docker.install_in_image(cached=True, name=SIBLING)

    candidates = [
        Candidate(name="envsync apply", command=f"envsync apply {SIBLING}", run=ours),
        Candidate(name="Dockerfile with installer", command=DOCKER_RUN.format(""), run=by_docker),
    ]
    return Table(
        title="A second environment that has all packages of the first but one, and one more",
        rows=alternate(candidates, runs),
        remarks=remarks(),
    )


def _rebase(work: Science, docker: DockerPeer, runs: int) -> Table:
    def ours() -> Usage:
        work.patch_base()
        return work.ours(["lock", NAME, "--upgrade"], ["apply", NAME])

    def by_docker() -> Usage:
        work.patch_base()
        return docker.install_in_image(cached=True, base=work.base)

    candidates = [
        Candidate(
            name="envsync lock --upgrade, apply",
            command=f"envsync lock {NAME} --upgrade; envsync apply {NAME}",
            run=ours,
        ),
        Candidate(
            name="Dockerfile with installer",
            command=DOCKER_RUN.format(""),
            run=by_docker,
            note="its installer is put on the patched base before, which is not counted",
        ),
    ]
    return Table(title="The base is patched", rows=alternate(candidates, runs), remarks=remarks())


def _restore(work: Science, runs: int) -> Table:
    folder = work.place.folder / "saved"
    shutil.rmtree(folder, ignore_errors=True)
    copy = [tool("skopeo"), "--insecure-policy", "copy", "--quiet"]
    source = f"docker://{work.registry.host}/bench/{NAME}:1"
    first = _digest(work)
    subprocess.run([*copy, "--src-tls-verify=false", source, f"oci:{folder}:1"], check=True)

    def lost() -> None:
        repositories = work.registry.data / "docker/registry/v2/repositories/bench"
        work.registry.down()
        shutil.rmtree(repositories, ignore_errors=True)
        _forget_blobs(work, Path(folder))
        work.registry.up()

    def ours() -> Usage:
        lost()
        usage = work.ours(["apply", NAME])
        if _digest(work) != first:
            raise RuntimeError("the restored image has another digest")
        return usage

    def by_skopeo() -> Usage:
        lost()
        words = [*copy, "--dest-tls-verify=false", f"oci:{folder}:1", source]
        environment = work.place.environment
        return observed(work.registry, lambda: timed(words, environment=environment))

    candidates = [
        Candidate(name="envsync apply", command=f"envsync apply {NAME}", run=ours),
        Candidate(
            name="skopeo copy",
            command=f"skopeo copy oci:saved:1 docker://host/bench/{NAME}:1",
            run=by_skopeo,
            note="from a copy on disk that somebody must have made",
        ),
    ]
    return Table(
        title="The registry is lost and restored from a warm cache",
        rows=alternate(candidates, min(runs, RUNS)),
        remarks=("The digest is the recorded one, or the run fails.",),
    )


def _digest(work: Science) -> str:
    words = [tool("skopeo"), "inspect", "--raw", "--tls-verify=false"]
    image = f"docker://{work.registry.host}/bench/{NAME}:1"
    done = subprocess.run([*words, image], check=True, capture_output=True)
    document = json.loads(done.stdout)
    return str([layer["digest"] for layer in document["layers"]])


def _forget_blobs(work: Science, saved: Path) -> None:
    """Remove what the image alone has: all blobs of the saved copy that are not its base's."""
    base = {file.name for file in (debian_base().layout / "blobs/sha256").iterdir()}
    blobs = work.registry.data / "docker/registry/v2/blobs/sha256"
    for file in (saved / "blobs/sha256").iterdir():
        if file.name in base:
            continue
        shutil.rmtree(blobs / file.name[:2] / file.name, ignore_errors=True)

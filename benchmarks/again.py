"""P7, P8, P9: what need not be made twice: a sibling, a patched base, a registry that was lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import naive
from benchmarks.build import DOCKER, DOCKER_RUN, LIMIT, TAR, remarks
from benchmarks.engine import DockerPeer
from benchmarks.measure import Candidate, Usage, alternate, observed, timed
from benchmarks.report import Table
from benchmarks.science import NAME, PART_BYTES, PARTS, PAYLOAD_BYTES, SIBLING, Science
from tests.parts.baseimage import debian_base
from tests.parts.process import tool

SKOPEO = "skopeo copy"
IDLE = "the same commands, nothing changed"


def sibling(work: Science, docker: DockerPeer, runs: int) -> Table:
    """Compare with the same peers: nine packages of ten are those of another environment."""

    def ours() -> Usage:
        work.sibling()
        return work.ours(["apply", SIBLING])

    def idle() -> Usage:
        work.ours(["apply", SIBLING])
        return work.ours(["apply", SIBLING])

    def by_docker() -> Usage:
        work.sibling()
        return docker.install_in_image(cached=True, name=SIBLING)

    def by_tar() -> Usage:
        work.sibling()
        return naive.install_tar_copy(work, SIBLING)

    command = f"envsync apply {SIBLING}"
    candidates = [
        Candidate(name="envsync apply", command=command, run=ours),
        Candidate(name=IDLE, command=command, run=idle, rank="ours"),
        Candidate(name=DOCKER, command=DOCKER_RUN.format(""), run=by_docker),
        Candidate(name=TAR, command=naive.BY_TAR, run=by_tar, note=naive.TAR_NOTE),
    ]
    work.sibling()
    first, second = ({p.sha256 for p in work.listed(name)} for name in (NAME, SIBLING))
    return Table(
        title=f"A second environment: {len(first & second)} of its {len(second)} packages are"
        " those of the first",
        rows=alternate(candidates, runs),
        remarks=remarks(),
        facts={"new": PAYLOAD_BYTES + len(PARTS) * PART_BYTES},
    )


def rebase(work: Science, docker: DockerPeer, runs: int) -> Table:
    """Compare with building on the patched base; the base stays patched."""
    uploads: list[int] = []

    def ours() -> Usage:
        work.patch_base()
        usage = work.ours(["lock", NAME, "--upgrade"], ["apply", NAME])
        uploads.append(len(work.registry.requests("PUT", "/blobs/uploads/")))
        return usage

    def idle() -> Usage:
        work.ours(["lock", NAME], ["apply", NAME])
        return work.ours(["lock", NAME, "--upgrade"], ["apply", NAME])

    def by_docker() -> Usage:
        work.patch_base()
        return docker.install_in_image(cached=True, base=work.base)

    command = f"envsync lock {NAME} --upgrade; envsync apply {NAME}"
    candidates = [
        Candidate(name="envsync lock --upgrade, apply", command=command, run=ours),
        Candidate(name=IDLE, command=command, run=idle, rank="ours"),
        Candidate(
            name=DOCKER,
            command=DOCKER_RUN.format(""),
            run=by_docker,
            note="its installer is put on the patched base before, which is not counted",
        ),
    ]
    rows = alternate(candidates, runs)
    return Table(
        title="The base is patched",
        rows=rows,
        remarks=(*remarks(), f"Blobs that envsync uploaded, the config included: {max(uploads)}."),
        facts={"uploads": max(uploads)},
    )


def restore(work: Science, runs: int) -> Table:
    """Compare with copying a saved image back; the digest must be the recorded one."""
    folder = work.place.folder / "saved"
    shutil.rmtree(folder, ignore_errors=True)
    copy = [tool("skopeo"), "--insecure-policy", "copy", "--quiet"]
    source = f"docker://{work.newest(NAME)}"
    version = source.rpartition(":")[2]
    first = _manifest(source)
    subprocess.run([*copy, "--src-tls-verify=false", source, f"oci:{folder}:1"], check=True)
    own = work.place.folder / "own"
    _copy_own(folder, own)

    def lost() -> None:
        repositories = work.registry.data / "docker/registry/v2/repositories/bench"
        work.registry.down()
        shutil.rmtree(repositories, ignore_errors=True)
        for file in own.iterdir():
            blobs = work.registry.data / "docker/registry/v2/blobs/sha256"
            shutil.rmtree(blobs / file.name[:2] / file.name, ignore_errors=True)
        work.registry.up()

    def ours() -> Usage:
        lost()
        usage = work.ours(["apply", NAME])
        if _manifest(source) != first:
            raise RuntimeError("the restored image has another digest")
        return usage

    def run_after_loss(words: list[str]) -> Usage:
        lost()
        environment = work.place.environment
        return observed(work.registry, lambda: timed(words, environment=environment))

    by_skopeo = [*copy, "--dest-tls-verify=false", f"oci:{folder}:1", source]
    program = str(Path(__file__).with_name("limit.py"))
    by_limit = [sys.executable, program, "send", str(own), work.registry.host, f"bench/{NAME}"]
    candidates = [
        Candidate(name="envsync apply", command=f"envsync apply {NAME}", run=ours),
        Candidate(
            name=SKOPEO,
            command=f"skopeo copy oci:saved:1 docker://host/bench/{NAME}:{version}",
            run=lambda: run_after_loss(by_skopeo),
            note="from a copy on disk that somebody must have made",
        ),
        Candidate(
            name=LIMIT,
            command=f"limit.py send folder host bench/{NAME}",
            run=lambda: run_after_loss(by_limit),
            note="the same blobs uploaded eight at a time, nothing asked or planned",
            rank="limit",
        ),
    ]
    # Once uncounted: whatever ran before, the cache has all of the image after it.
    ours()
    rows = alternate(candidates, runs)
    # The others leave the image, or its blobs alone; what comes after wants what is recorded.
    ours()
    return Table(
        title="The registry is lost and restored from a warm cache",
        rows=rows,
        remarks=("The manifest is the recorded one byte for byte, or the run fails.",),
    )


def _manifest(image: str) -> object:
    words = [tool("skopeo"), "inspect", "--raw", "--tls-verify=false", image]
    done = subprocess.run(words, check=True, capture_output=True)
    return json.loads(done.stdout), done.stdout


def _copy_own(saved: Path, folder: Path) -> None:
    """Copy what the image alone has: all blobs of the saved copy that are not its base's."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    base = {file.name for file in (debian_base().layout / "blobs/sha256").iterdir()}
    for file in (saved / "blobs/sha256").iterdir():
        if file.name not in base:
            shutil.copy(file, folder)

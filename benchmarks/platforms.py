"""P11: an image for two processors, beside the image for one of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from benchmarks.checkout import checkout
from benchmarks.measure import Candidate, Usage, alternate
from benchmarks.published import Published
from benchmarks.report import Table
from benchmarks.report import size as size_of
from tests.parts.cache import Unavailable
from tests.parts.channel import test_channel, why_not_aarch64
from tests.parts.process import tool
from tests.parts.registry import run_registry

NAME = "both"
ONE, TWO = ("linux-64",), ("linux-64", "linux-aarch64")
RUNS = 3
_ASKED = (
    *("python 3.11.*", "numpy", "flask", "requests", "rich", "pyyaml", "pip", "setuptools"),
    *("packaging", "tqdm", "joblib"),
)


def measure(runs: int, size: int) -> Sequence[Table]:
    """Build for one platform and for two, in turn, with empty caches."""
    channel = test_channel("full")
    if reason := why_not_aarch64(channel):
        raise Unavailable(reason)
    with run_registry() as registry, checkout() as place:
        work = Published(place=place, registry=registry)
        work.keep()
        place.spec(NAME, [channel], _ASKED)

        def cold(platforms: Sequence[str]) -> Usage:
            place.settings(registry.host, platforms)
            place.envsync("lock", NAME)
            work.reset()
            place.forget()
            return work.ours(["apply", NAME])

        cold(TWO)
        layers = _layers(work)
        command = f"rm -r ~/.cache/envsync; envsync apply {NAME}"
        candidates = [
            Candidate(
                name=" and ".join(platforms),
                command=f"{command}    # platforms: [{', '.join(platforms)}]",
                run=lambda platforms=platforms: cold(platforms),  # type: ignore[misc]
                rank="ours",
            )
            for platforms in (ONE, TWO)
        ]
        rows = alternate(candidates, min(runs, RUNS))
    first, second = layers
    shared = first.keys() & second.keys()
    total = sum(first[digest] for digest in shared)
    return [
        Table(
            title="A second platform",
            rows=rows,
            remarks=(
                (
                    f"{len(shared)} layers, {size_of(total)}, are the same in both images, of"
                    f" {len(first)} and {len(second)}."
                ),
                (
                    "The python for linux-64 is this machine's, that for linux-aarch64 is"
                    " Debian's, so that the second is not as large as the first."
                ),
            ),
            facts={"shared": len(shared), "first": len(first), "second": len(second)},
        )
    ]


def _layers(work: Published) -> list[dict[str, int]]:
    """Return digest to size of the layers of each image of the index."""
    image = work.newest(NAME)
    index = _manifest(image)
    repository = image.rpartition(":")[0]
    manifests = [_manifest(f"{repository}@{one['digest']}") for one in index["manifests"]]
    return [{one["digest"]: one["size"] for one in found["layers"]} for found in manifests]


def _manifest(image: str) -> dict[str, Any]:
    words = [tool("skopeo"), "inspect", "--raw", "--tls-verify=false", f"docker://{image}"]
    done = subprocess.run(words, check=True, capture_output=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found

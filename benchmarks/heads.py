"""The limit of a plan: its HEAD requests sent by curl, a client in C, over as many connections.

The usual load generators cannot send them: wrk and h2load wait for the body that the length in an
answer to a HEAD speaks of, ab asks for one address only.
"""

from __future__ import annotations

from benchmarks.fleet import Fleet
from benchmarks.measure import Candidate, Usage, observed, timed
from envsync.adapters.registry.manifest_bytes import MANIFEST_TYPES
from envsync.operations.observe import READS_AT_ONCE
from tests.parts.process import tool


def heads(all_in_sync: Fleet) -> Candidate:
    """Return the HEADs that a plan was seen to send."""
    registry, folder = all_in_sync.registry, all_in_sync.place.folder
    registry.forget()
    all_in_sync.place.envsync("plan")
    paths = [request.path for request in registry.requests("HEAD")]
    config = folder / "heads.txt"
    lines = [f'url = "{registry.url}{path}"\noutput = "/dev/null"\n' for path in paths]
    config.write_text("".join(lines), encoding="utf-8")
    options = f"--parallel --parallel-immediate --parallel-max {READS_AT_ONCE}"
    words = [
        *[tool("curl"), "--silent", "--show-error", "--fail", "--head", *options.split()],
        *["--header", f"Accept: {', '.join(MANIFEST_TYPES)}", "--config", str(config)],
    ]

    def run() -> Usage:
        environment = all_in_sync.place.environment
        usage = observed(registry, lambda: timed(words, environment=environment))
        if usage.requests != len(paths):
            raise AssertionError(f"{usage.requests} requests were seen, {len(paths)} expected")
        return usage

    return Candidate(
        name="curl, the same HEADs",
        command=f"curl --head {options} --config urls.txt",
        run=run,
        note="the limit: the registry, not this client, is what takes the time",
        rank="limit",
    )

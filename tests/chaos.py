"""Chaos: an apply is killed in a loop, two others work, and a fifth of all answers are 500.

``make chaos``; ``CHAOS_SECONDS`` is how long it goes on (60), ``CHAOS_SEED`` repeats its dice. It
ends with one last apply that nobody disturbs, and with the oracle.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from envsync.failpoints import NAMES
from tests.parts.channel import tiny_channel
from tests.parts.gitremote import git_environment, new_remote
from tests.parts.registry import run_registry
from tests.registry.proxy import Asked, Proxy, Reply, proxied
from tests.reliability.counts import count
from tests.reliability.forked import start
from tests.reliability.oracle import assert_quiet, assert_sound, foreign
from tests.team import Team

ENVIRONMENTS = ("train", "serve")
WELL = frozenset({0, 3, 8})
"""How an undisturbed command may end under a proxy that answers 500: done, or not available."""


@dataclass(slots=True, kw_only=True)
class Chaos:
    """What goes on."""

    victim: Team
    others: list[Team]
    proxy: Proxy
    dice: random.Random
    until: float
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def over(self) -> bool:
        """Return whether time is up, or something went wrong."""
        return time.monotonic() > self.until or bool(self.wrong)


def answers_badly(chaos: Chaos) -> Callable[[Asked, Callable[[], Reply]], Reply | None]:
    """Return a rule that answers a fifth of all requests with 500, half of those after the deed."""
    dice = random.Random(chaos.dice.random())

    def rule(_: Asked, ask: Callable[[], Reply]) -> Reply | None:
        if dice.random() >= 0.2:
            return None
        if dice.random() < 0.5:
            ask()
        chaos.seen["answers of 500"] += 1
        return Reply(status=500)

    return rule


def works(chaos: Chaos, team: Team) -> None:
    """Apply what the remote has, again and again."""
    while not chaos.over():
        team.repository.git("fetch", "--quiet", "--no-tags", "origin", "main")
        team.repository.git("reset", "--quiet", "--hard", "FETCH_HEAD")
        code, said = start(team, "apply").ended(120)
        chaos.seen["applied by others"] += 1
        if code not in WELL:
            chaos.wrong.append(f"another apply ended with {code}:\n{said}")


def change(chaos: Chaos, number: int) -> None:
    """Commit another definition, and push it."""
    name = ENVIRONMENTS[number % len(ENVIRONMENTS)]
    chaos.victim.ask(name, "tiny-00001", f"tiny-000{10 + number % 30}")
    chaos.victim.repository.git("push", "--quiet", "origin", "main")
    chaos.seen["commits"] += 1


def dies(chaos: Chaos) -> None:
    """Apply, and be killed: at an effect, or at any instant; then run again until it is done."""
    if chaos.dice.random() < 0.5:
        place = chaos.dice.choice(sorted(NAMES))
        start(chaos.victim, "apply", failpoint=f"{place}:kill").ended(120)
    else:
        running = start(chaos.victim, "apply")
        running.process.join(chaos.dice.uniform(0.02, 1.5))
        if running.process.is_alive():
            os.kill(running.pid, signal.SIGKILL)
        running.ended(120)
        chaos.seen["killed at an instant"] += running.process.exitcode == -signal.SIGKILL


def disturb(chaos: Chaos) -> None:
    """Do all of it until time is up."""
    threads = [threading.Thread(target=works, args=(chaos, team)) for team in chaos.others]
    chaos.proxy.rule(answers_badly(chaos))
    for thread in threads:
        thread.start()
    for number in itertools.count():
        if chaos.over():
            break
        change(chaos, number)
        kills(chaos)
    for thread in threads:
        thread.join()


def kills(chaos: Chaos) -> None:
    """Kill the victim, and let it recover; count how many runs that takes."""
    dies(chaos)
    chaos.seen["kills"] += 1
    for turn in range(1, 11):
        code, said = start(chaos.victim, "apply").ended(120)
        if code == 0:
            chaos.seen["recovered after one run" if turn == 1 else "recovered after more"] += 1
            return
        if code not in WELL:
            chaos.wrong.append(f"recovering ended with {code}:\n{said}")
            return
    chaos.seen["not recovered while it went on"] += 1


@contextmanager
def set_up(folder: Path, seconds: float, seed: int) -> Iterator[Chaos]:
    """Set a stage: a registry behind a proxy, a git remote, three clones."""
    for name in [n for n in os.environ if n.startswith(("GIT_", "ENVSYNC_", "DOCKER_", "CONDA_"))]:
        del os.environ[name]
    variables = git_environment(folder / "home")
    os.environ.update(variables)
    with ExitStack() as stack:
        registry = stack.enter_context(run_registry())
        proxy = stack.enter_context(proxied(registry.host))
        remote = new_remote(folder / "team.git", variables)

        def clone(name: str) -> Team:
            return Team(
                repository=remote.clone(folder / name / "work"),
                channel=tiny_channel(40),
                cache=folder / name / "cache",
                remote=remote,
                registry=registry,
                address=proxy.host,
            )

        victim = clone("victim")
        victim.settings()
        victim.repository.commit("settings")
        for name in ENVIRONMENTS:
            victim.ask(name, "tiny-00001")
        victim.repository.git("push", "--quiet", "origin", "main")
        yield Chaos(
            victim=victim,
            others=[clone("first"), clone("second")],
            proxy=proxy,
            dice=random.Random(seed),
            until=time.monotonic() + seconds,
        )


def judge(chaos: Chaos) -> None:
    """Apply once more, undisturbed, and ask the oracle."""
    team = chaos.victim
    chaos.proxy.forget()
    before = foreign(team)
    done = team.envsync("apply")
    assert done.code == 0, done.out + done.err
    assert_sound(team, ENVIRONMENTS, before)
    assert_quiet(team)
    for name in ENVIRONMENTS:
        records, tags = team.records(name), team.tags(name)
        numbers = [record.version for record in records]
        assert numbers == [str(n) for n in range(1, len(records) + 1)], "no version lost"
        assert len({r.definition for r in records}) >= len(records) - 1
        newest = records[-1]
        assert tags["latest"] == tags[newest.version] == newest.digest
        chaos.seen["versions"] += len(records)
        chaos.seen["versions without a tag"] += len({*numbers} - tags.keys())


def main() -> None:
    """Run it, and print what happened."""
    seconds = float(os.environ.get("CHAOS_SECONDS", "60"))
    seed = int(os.environ.get("CHAOS_SEED", str(random.randrange(1 << 32))))
    print(f"chaos for {seconds:.0f} seconds, CHAOS_SEED={seed}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="envsync-chaos-", ignore_cleanup_errors=True) as folder,
        set_up(Path(folder), seconds, seed) as chaos,
    ):
        disturb(chaos)
        for line in chaos.wrong:
            print(line, file=sys.stderr)
        if not chaos.wrong:
            judge(chaos)
    for what, number in sorted(chaos.seen.items()):
        print(f"{number:6} {what}")
    count("chaos", **chaos.seen)
    if chaos.wrong:
        sys.exit("disagreement")
    print("agreement")


if __name__ == "__main__":
    main()

"""``make demo``: the main job of envsync, end to end, on the embedded registry.

No docker, no registry, no conda: a real conda channel is made on the spot from wheels and the
running Python, and served from a folder. Every command and every line of output is real.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.parts.channel import test_channel

CONDA = """\
channels:
  - {channel}
dependencies:
  - python=3.11
  - flask
  - click={click}
"""
TRAINER = """\
name: trainer
image: scratch
conda_file:
  channels: [{channel}]
  dependencies: [python=3.11, numpy, rich]
"""


class Demo:
    """Runs commands in a folder and shows them as a person would type them."""

    def __init__(self, folder: Path) -> None:
        """Work in *folder*, with a cache of its own, as somebody without any git settings."""
        self.folder = folder / "team"
        self.folder.mkdir()
        person = {"NAME": "Ada", "EMAIL": "ada@example.com"}
        self.environment = {
            **os.environ,
            **{
                f"GIT_{who}_{key}": v
                for who in ("AUTHOR", "COMMITTER")
                for key, v in person.items()
            },
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "ENVSYNC_CACHE_DIR": str(folder / "cache"),
        }

    def run(self, command: str, *, code: int = 0) -> None:
        """Show and run *command*; the demo ends where one does not do what it should."""
        print(f"\n$ {command}", flush=True)
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, env=self.environment)
        if done.returncode != code:
            sys.exit(f"the demo stops: exit code {done.returncode}, expected {code}")

    def write(self, path: str, text: str) -> None:
        """Write a file and show it."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        print(f"\n# {path}")
        print("".join(f"    {line}\n" for line in text.splitlines()), end="", flush=True)


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n── {text} {'─' * max(3, 74 - len(text))}", flush=True)


def main() -> None:
    """Run the demo in a temporary folder."""
    say("A conda channel, made here from wheels and this Python")
    channel = f"file://{test_channel('small')}"
    print(f"    {len(list(Path(channel.removeprefix('file://')).rglob('*.conda')))} packages")
    folder = Path(tempfile.mkdtemp(prefix="envsync-demo-"))
    try:
        play(Demo(folder), channel)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def play(demo: Demo, channel: str) -> None:
    """Play the main job."""
    say("A repository with two environments")
    demo.run("envsync init --image scratch")
    demo.write("environments/example/conda.yaml", CONDA.format(channel=channel, click="8.1.7"))
    demo.write("environments/trainer/environment.yaml", TRAINER.format(channel=channel))
    demo.run("envsync validate")

    say("Lock: unpinned dependencies become exact packages")
    demo.run("envsync lock")
    demo.run("git add -A && git commit -qm 'Two environments' && git log --oneline")

    say("Plan, apply, plan")
    demo.run("envsync plan")
    demo.run("envsync apply")
    demo.run("envsync plan --detailed-exitcode")

    say("Change a dependency")
    demo.write("environments/example/conda.yaml", CONDA.format(channel=channel, click="8.1.8"))
    demo.run("envsync lock --check", code=2)
    demo.run("envsync lock")
    demo.run("git commit -qam 'example: newer click'")
    demo.run("envsync plan --detailed-exitcode", code=2)
    demo.run("envsync apply")

    say("Look")
    demo.run("envsync list")
    demo.run("envsync history example")
    demo.run("envsync diff example:1 example:2")
    demo.run("git tag --list -n1")
    say("Done: git and the registry agree")


if __name__ == "__main__":
    main()

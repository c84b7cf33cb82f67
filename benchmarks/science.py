"""A realistic environment on Debian, and one package of it that has a new version every time."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.checkout import Checkout, checkout
from benchmarks.measure import Usage, observed, together
from envsync.adapters.conda_lock_file import parse_lock
from tests.parts.baseimage import debian_base
from tests.parts.channel import make_channel, test_channel
from tests.parts.madeup import made
from tests.parts.package import File
from tests.parts.process import tool
from tests.parts.registry import Registry, run_registry

NAME = "science"
SIBLING = "sibling"
_ASKED = (
    *("python 3.11.*", "numpy", "pandas", "scipy", "scikit-learn", "flask", "requests", "rich"),
    *("pyyaml", "tqdm", "pip", "setuptools", "packaging", "joblib", "prefixed", "activated"),
)
PAYLOAD_BYTES = 5_000_000
_VERSIONS = 24


@dataclass(slots=True, kw_only=True)
class Science:
    """The environment in a repository, locked, beside a registry that has its base."""

    place: Checkout
    registry: Registry
    base: str
    """The base image's reference in the registry."""
    channels: Sequence[Path]
    _pristine: Path
    _next: Iterator[int] = field(default_factory=lambda: count(1))

    def keep(self) -> None:
        """Take what the registry holds now for its beginning."""
        self.registry.down()
        shutil.rmtree(self._pristine, ignore_errors=True)
        shutil.copytree(self.registry.data, self._pristine)
        self.registry.up()

    def reset(self) -> None:
        """Bring the registry back to its beginning, and forget the records."""
        self.registry.down()
        shutil.rmtree(self.registry.data)
        shutil.copytree(self._pristine, self.registry.data)
        self.registry.up()
        git = self.place.git
        for tag in git.git("tag", "--list").split():
            git.git("push", "--quiet", "origin", "--delete", tag)
            git.git("tag", "--delete", tag)

    def change(self) -> int:
        """Ask for a version of the payload that nobody has had yet; return which."""
        version = next(self._next)
        asked = (*_ASKED, f"payload =={version}")
        self.place.spec(NAME, self.channels, asked, image=self.base)
        return version

    def sibling(self) -> None:
        """Ask for a second environment with a payload that nobody has had yet, and lock it."""
        asked = (*(one for one in _ASKED if one != "tqdm"), f"payload =={next(self._next)}")
        self.place.spec(SIBLING, self.channels, asked, image=self.base)
        self.place.envsync("lock", SIBLING)

    def patch_base(self) -> None:
        """Move the base image's tag to another image with the same content."""
        number = next(self._next)
        words = [tool("skopeo"), "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
        layout = self.place.folder / "patched"
        shutil.rmtree(layout, ignore_errors=True)
        shutil.copytree(debian_base().layout, layout)
        note = self.place.folder / "note"
        note.write_text(f"patch {number}\n")
        insert = [tool("umoci"), "insert", "--image", f"{layout}:latest", str(note), "/etc/patch"]
        subprocess.run(insert, check=True, capture_output=True)
        target = f"docker://{self.base.partition('@')[0]}"
        subprocess.run([*words, f"oci:{layout}:latest", target], check=True, capture_output=True)

    def packages(self, address: str = "", name: str = NAME) -> str:
        """Return what is locked as the peers' installer wants it, from *address* if not on disk."""
        folder = f"locks/{name}"
        files = [self.place.root / folder / file for file in ("conda-lock.yml", "image.yaml")]
        lock = parse_lock(files[0].read_bytes(), files[1].read_bytes(), folder)
        assert lock is not None
        document = [
            {
                "name": package.name,
                "version": package.version,
                "build": package.build,
                "subdir": package.subdir,
                "depends": [f"{name} {text}".strip() for name, text in package.depends.items()],
                "sha256": package.sha256,
                "url": self._served(package.url, address),
            }
            for package in lock.packages["linux-64"]
        ]
        return json.dumps(document)

    def ours(self, *commands: Sequence[str]) -> Usage:
        """Run commands of envsync and return what they took together."""
        usages = []
        for command in commands:
            if command[0] == "apply":
                self.place.publishable("science")
            usages.append(observed(self.registry, partial(self.place.envsync, *command)))
        return together(*usages)

    def _served(self, url: str, address: str) -> str:
        for number, channel in enumerate(self.channels):
            if address and url.startswith(channel.as_uri()):
                return f"{address}/{number}{url.removeprefix(channel.as_uri())}"
        return url


def payload_channel() -> Path:
    """Return a channel of many versions of one package that does not compress."""
    packages = []
    for version in range(1, _VERSIONS + 1):
        noise = hashlib.shake_128(f"payload {version}".encode()).digest(PAYLOAD_BYTES)
        data = File(path="share/payload/data.bin", data=noise)
        packages.append(made("payload", data, version=str(version)))
    return make_channel("payload", packages)


@contextmanager
def science() -> Iterator[Science]:
    """Make the repository and the registry, and lock the environment."""
    channels = [test_channel("full"), payload_channel()]
    with run_registry() as registry, checkout() as place:
        place.settings(registry.host)
        found = Science(
            place=place,
            registry=registry,
            base=debian_base().push(registry),
            channels=channels,
            _pristine=place.folder / "pristine",
        )
        found.change()
        place.envsync("lock")
        found.keep()
        yield found

"""A realistic environment on Debian, and one package of it that has a new version every time."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from benchmarks.checkout import checkout
from benchmarks.large import LARGE, large_channel
from benchmarks.published import Published
from envsync.adapters.locks.conda_lock_file import parse_lock
from envsync.model.lock import LockedPackage
from tests.parts.baseimage import debian_base
from tests.parts.cache import cached, key_of, source_key
from tests.parts.channel import test_channel, write_channel
from tests.parts.madeup import made
from tests.parts.package import File, write_package
from tests.parts.process import tool
from tests.parts.registry import run_registry

NAME = "science"
SIBLING = "sibling"
_ASKED = (
    *("python 3.11.*", "numpy", "pandas", "scipy", "scikit-learn", "flask", "requests", "rich"),
    *("pyyaml", "tqdm", "pip", "setuptools", "packaging", "joblib", "prefixed", "activated"),
    *LARGE,
)
PAYLOAD_BYTES = 5_000_000
PART_BYTES = 200_000
PARTS = ("part-a", "part-b", "part-c", "part-d", "part-e")
"""Small packages that a sibling has in a version of its own, as it has the payload."""
_VERSIONS = 40


@dataclass(slots=True, kw_only=True)
class Science(Published):
    """The environment in a repository, locked, beside a registry that has its base."""

    base: str
    """The base image's reference in the registry."""
    channels: Sequence[Path]
    _next: Iterator[int] = field(default_factory=lambda: count(1))
    _patches: Iterator[int] = field(default_factory=lambda: count(1))

    def change(self) -> int:
        """Ask for a version of the payload that nobody has had yet; return which."""
        version = self._version()
        asked = (*_ASKED, f"payload =={version}", *(f"{part} ==1" for part in PARTS))
        self.place.spec(NAME, self.channels, asked, image=self.base)
        return version

    def sibling(self) -> None:
        """Ask for a second environment with small packages and a payload that are new, and lock."""
        version = self._version()
        fresh = [f"{name} =={version}" for name in ("payload", *PARTS)]
        self.place.spec(SIBLING, self.channels, (*_ASKED, *fresh), image=self.base)
        self.place.envsync("lock", SIBLING)

    def _version(self) -> int:
        version = next(self._next)
        if version > _VERSIONS:
            raise RuntimeError(f"the payload has {_VERSIONS} versions: ask for fewer runs")
        return version

    def patch_base(self) -> None:
        """Move the base image's tag to another image with the same content."""
        number = next(self._patches)
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

    def listed(self, name: str = NAME) -> Sequence[LockedPackage]:
        """Return the packages that are locked for linux-64."""
        folder = f"locks/{name}"
        files = [self.place.root / folder / file for file in ("conda-lock.yml", "image.yaml")]
        lock = parse_lock(files[0].read_bytes(), files[1].read_bytes(), folder)
        assert lock is not None
        return lock.packages["linux-64"]

    def packages(self, address: str = "", name: str = NAME) -> str:
        """Return what is locked as the peers' installer wants it, from *address* if not on disk."""
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
            for package in self.listed(name)
        ]
        return json.dumps(document)

    def _served(self, url: str, address: str) -> str:
        for number, channel in enumerate(self.channels):
            if address and url.startswith(channel.as_uri()):
                return f"{address}/{number}{url.removeprefix(channel.as_uri())}"
        return url


def payload_channel() -> Path:
    """Return a channel of many versions of a few packages that do not compress."""
    sizes = {"payload": PAYLOAD_BYTES, **dict.fromkeys(PARTS, PART_BYTES)}

    def build(folder: Path) -> None:
        for name, size in sizes.items():
            for version in range(1, _VERSIONS + 1):
                noise = hashlib.shake_128(f"{name} {version}".encode()).digest(size)
                data = File(path=f"share/{name}/data.bin", data=noise)
                write_package(made(name, data, version=str(version)), folder)
        write_channel(folder, [])

    key = key_of([source_key("package.py", "madeup.py"), repr(sizes), str(_VERSIONS)])
    return cached("channels", f"payload-{key}", build)


@contextmanager
def science() -> Iterator[Science]:
    """Make the repository and the registry, and lock the environment."""
    channels = [test_channel("full"), large_channel(), payload_channel()]
    with run_registry() as registry, checkout() as place:
        place.settings(registry.host)
        found = Science(
            place=place,
            registry=registry,
            base=debian_base().push(registry),
            channels=channels,
        )
        found.change()
        place.envsync("lock")
        found.keep()
        yield found

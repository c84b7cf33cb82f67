"""A repository beside a registry that can be brought back to a beginning between two runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from benchmarks.checkout import Checkout
from benchmarks.measure import Usage, observed, together
from tests.parts.registry import Registry


@dataclass(slots=True, kw_only=True)
class Published:
    """The repository, the registry, and what the registry held at the beginning."""

    place: Checkout
    registry: Registry

    @property
    def _pristine(self) -> Path:
        return self.place.folder / "pristine"

    def keep(self) -> None:
        """Take what the registry holds now for its beginning."""
        self.registry.down()
        shutil.rmtree(self._pristine, ignore_errors=True)
        if self.registry.data.exists():
            shutil.copytree(self.registry.data, self._pristine)
        self.registry.up()

    def reset(self) -> None:
        """Bring the registry back to its beginning, and forget the records."""
        self.registry.down()
        shutil.rmtree(self.registry.data, ignore_errors=True)
        if self._pristine.exists():
            shutil.copytree(self._pristine, self.registry.data)
        self.registry.up()
        git = self.place.git
        if tags := git.git("tag", "--list").split():
            git.git("push", "--quiet", "origin", "--delete", *tags)
            git.git("tag", "--delete", *tags)

    def ours(self, *commands: Sequence[str]) -> Usage:
        """Run commands of envsync and return what they took together."""
        usages = []
        for command in commands:
            if command[0] == "apply":
                self.place.publishable("benchmark")
            usages.append(observed(self.registry, partial(self.place.envsync, *command)))
        return together(*usages)

    def newest(self, name: str) -> str:
        """Return the reference of an environment's image with the largest version number."""
        repository = f"bench/{name}"
        address = f"{self.registry.url}/v2/{repository}/tags/list"
        try:
            with build_opener(ProxyHandler({})).open(address) as answer:
                tags = json.load(answer)["tags"] or []
        except HTTPError as missing:
            missing.close()
            raise LookupError(f"the registry has no {repository}") from missing
        version = max(int(tag) for tag in tags if tag.isdigit())
        return f"{self.registry.host}/{repository}:{version}"

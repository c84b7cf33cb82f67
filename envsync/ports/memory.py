"""Memory of what was worked out before; it may forget at any time, and never says a wrong thing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol


class Memory(Protocol):
    """Keeps small documents that can be made again, under a key of all that they depend on."""

    def recall(self, keys: Iterable[str]) -> Mapping[str, bytes]:
        """Return the documents that are known, as they were remembered."""

    def remember(self, documents: Mapping[str, bytes]) -> None:
        """Keep documents if that is possible; never fails."""


class Forgetful:
    """Remembers nothing: for tests, and where there is no place to remember."""

    def recall(self, keys: Iterable[str]) -> Mapping[str, bytes]:
        """Know nothing."""
        return {}

    def remember(self, documents: Mapping[str, bytes]) -> None:
        """Forget it at once."""

"""Writing files into the working folder, for the verbs that make specs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class FileWriter(Protocol):
    """Writes files by repository-relative POSIX path; folders appear as they are needed."""

    def create(self, files: Mapping[str, bytes]) -> None:
        """Create all of *files* or none; InvalidInput when something stands at one of the paths."""

    def replace(self, path: str, content: bytes) -> None:
        """Write one file, new or not, so that a crash leaves the old bytes or the new ones."""

"""A tree of files in memory, for tests that need no disk."""

from __future__ import annotations

from collections.abc import Mapping


class MemoryTree:
    """Implements `envsync.ports.tree.Tree` over a mapping of path to content."""

    def __init__(self, files: Mapping[str, bytes | str]) -> None:
        self._files = {
            path: content.encode() if isinstance(content, str) else content
            for path, content in files.items()
        }

    @property
    def label(self) -> str:
        return "the working folder"

    def read(self, path: str) -> bytes | None:
        return self._files.get(path)

    def list(self, folder: str) -> tuple[str, ...]:
        names = set()
        for path in self._files:
            if path.startswith(f"{folder}/"):
                first, slash, _ = path.removeprefix(f"{folder}/").partition("/")
                names.add(first + slash)
        return tuple(sorted(names))

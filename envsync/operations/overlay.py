"""A tree with files on top of it that are not written yet, to check them before they are."""

from __future__ import annotations

from collections.abc import Mapping

from envsync.ports.tree import Tree


class Overlay:
    """Implements `envsync.ports.tree.Tree`."""

    def __init__(self, tree: Tree, files: Mapping[str, bytes]) -> None:
        """Lay *files*, by path, over *tree*."""
        self._tree = tree
        self._files = files

    @property
    def label(self) -> str:
        """What the tree below is."""
        return self._tree.label

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None when there is no such file."""
        return self._files[path] if path in self._files else self._tree.read(path)

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the names directly in *folder*, folders with a trailing slash, sorted."""
        names = set(self._tree.list(folder))
        for path in self._files:
            if path.startswith(f"{folder}/"):
                first, slash, _ = path.removeprefix(f"{folder}/").partition("/")
                names.add(first + slash)
        return tuple(sorted(names))

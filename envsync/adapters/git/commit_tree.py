"""The tree of files of one commit, links inside the tree followed, links out of it refused."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from envsync.errors import InvalidInput
from envsync.ports.tree import FileKind, TreeFile

_LINK_LIMIT = 16
_LINK, _FOLDER, _SUBMODULE = "120000", "040000", "160000"
_KINDS: dict[str, FileKind] = {"100755": "executable", _LINK: "link", _SUBMODULE: "submodule"}
WHOLE = "."
"""The tree itself."""
_NO_FILES = {_FOLDER, _SUBMODULE}


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: str
    oid: str


class CommitTree:
    """Files of a commit; implements `envsync.ports.tree.CommittedTree`. Safe for many threads."""

    def __init__(
        self,
        commit: str,
        *,
        list_paths: Callable[[Sequence[str]], bytes],
        read_blob: Callable[[str], bytes],
        wanted: Sequence[str] = (),
    ) -> None:
        """*list_paths* is ``git ls-tree -r -t -z`` of paths, *read_blob* gives a blob's bytes.

        *wanted* are paths at the top that are likely to be read, so that they are listed at once.
        """
        self._commit = commit
        self._list_paths = list_paths
        self._read_blob = read_blob
        self._wanted = frozenset(wanted)
        self._tops: dict[str, dict[str, _Entry]] = {}
        self._children: dict[str, dict[str, set[str]]] = {}
        self._lock = threading.Lock()

    @property
    def label(self) -> str:
        """What the tree is, for messages."""
        return f"commit {self._commit[:12]}"

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None when there is no such regular file."""
        entry = self._followed(path)
        return None if entry is None or entry.mode in _NO_FILES else self._read_blob(entry.oid)

    def identity(self, path: str) -> str:
        """Return the id of git's object, '' when there is none."""
        if path == WHOLE:
            return self._commit
        entry = self._followed(path)
        return "" if entry is None else entry.oid

    def _followed(self, path: str) -> _Entry | None:
        for _ in range(_LINK_LIMIT):
            entry = self._entries(path).get(path)
            if entry is None or entry.mode != _LINK:
                return entry
            target = self._read_blob(entry.oid).decode("utf-8", "surrogateescape")
            resolved = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            if target.startswith("/") or resolved.startswith("../") or resolved == "..":
                raise InvalidInput(
                    f"{path} is a link that leaves the repository", detail=f"It points to {target}."
                )
            path = resolved
        raise InvalidInput(f"{path} is a link that leads in a circle")

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the names directly in *folder*, folders with a trailing slash, sorted."""
        self._entries(folder)
        children = self._children[folder.split("/", 1)[0]]
        return tuple(sorted(children.get(folder.rstrip("/"), ())))

    def files(self, folder: str) -> tuple[TreeFile, ...]:
        """Return everything below *folder*, ``.`` for the tree itself, sorted by path."""
        before = "" if folder == WHOLE else f"{folder}/"
        return tuple(
            TreeFile(
                path=path.removeprefix(before),
                kind=_KINDS.get(entry.mode, "file"),
                read=partial(self._content, entry),
            )
            for path, entry in sorted(self._entries(folder).items())
            if path.startswith(before) and entry.mode != _FOLDER
        )

    def _content(self, entry: _Entry) -> bytes:
        return b"" if entry.mode == _SUBMODULE else self._read_blob(entry.oid)

    def _entries(self, path: str) -> dict[str, _Entry]:
        top = path.split("/", 1)[0]
        with self._lock:
            if top not in self._tops:
                self._list(sorted(self._wanted) if top in self._wanted else [top])
            return self._tops[top]

    def _list(self, tops: Sequence[str]) -> None:
        entries: dict[str, dict[str, _Entry]] = {top: {} for top in tops}
        children: dict[str, dict[str, set[str]]] = {top: {} for top in tops}
        for line in self._list_paths(tops).split(b"\0"):
            if not line:
                continue
            head, _, name = line.partition(b"\t")
            mode, _, oid = head.decode().split(" ")
            file = name.decode("utf-8", "surrogateescape")
            top = WHOLE if WHOLE in tops else file.split("/", 1)[0]
            entries[top][file] = _Entry(mode, oid)
            if mode != _FOLDER:
                _add_children(children[top], file)
        self._tops.update(entries)
        self._children.update(children)


def _add_children(children: dict[str, set[str]], file: str) -> None:
    folder, name = posixpath.split(file)
    children.setdefault(folder, set()).add(name)
    while folder:
        parent, name = posixpath.split(folder)
        seen = children.setdefault(parent, set())
        if f"{name}/" in seen:
            return
        seen.add(f"{name}/")
        folder = parent

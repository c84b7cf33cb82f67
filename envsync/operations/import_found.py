"""What a tree of Azure ML files holds: environments, alone and within jobs, and conda files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from envsync.errors import Fault, InvalidInput, Position
from envsync.model.document import Faults, Mapping, Node, Scalar, Sequence, absent
from envsync.model.names import CURATED_PREFIXES, is_name
from envsync.model.saved import SAVED_FILE
from envsync.model.spec_reader import KEYS
from envsync.ports.documents import ParseDocument
from envsync.ports.tree import Tree

FoundKind = Literal["file", "inline", "saved"]

_FILE_LIMIT = 50_000
_ENDS = (".yml", ".yaml")
_SKIPPED = {"node_modules", "__pycache__"}
_GENERAL = {
    "src", "source", "environment", "environments", "env", "envs", "conda", "docker", "code",
    "context", "job-env", "scripts",
}  # fmt: skip
"""Names of folders that say nothing about the environment in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One environment: a file of its own, a part of a job, or a folder that the old SDK saved."""

    kind: FoundKind
    path: str
    """Of the file that it stands in."""
    node: Mapping
    names: tuple[str, ...]
    """What it can be called, best first; never empty."""
    named: str = ""
    """The name it has itself, as written; '' for none."""

    @property
    def where(self) -> Position:
        """Where it stands."""
        return self.node.where


@dataclass(slots=True, kw_only=True)
class Harvest:
    """Everything of interest in a tree."""

    found: list[Found] = field(default_factory=list)
    conda_files: list[str] = field(default_factory=list)
    unreadable: list[Fault] = field(default_factory=list)
    uses: dict[str, list[Position]] = field(default_factory=dict)
    """References to environments by name, and where they stand."""
    files: int = 0


def harvest(tree: Tree, parse: ParseDocument, skip: frozenset[str]) -> Harvest:
    """Read every YAML file of *tree*, but for the folders of *skip*."""
    result = Harvest()
    for path in sorted(_files(tree, "", skip)):
        if len(result.found) + result.files > _FILE_LIMIT:
            break
        try:
            data = tree.read(path)
        except InvalidInput as error:
            message = " ".join(filter(None, (error.summary, error.detail)))
            where = Position(file=path)
            result.unreadable.append(Fault(where=where, message=message, hint=error.hint))
            continue
        if data is None:
            continue
        result.files += 1
        faults = Faults()
        root = parse(data, path, faults)
        if root is None:
            result.unreadable.append(next(iter(faults)))
        elif isinstance(root, Mapping):
            _sort(path, root, result)
    return result


def all_files(tree: Tree, folder: str) -> Iterator[str]:
    """Yield the paths of all files below *folder*, hidden ones too."""
    for entry in tree.list(folder):
        path = posixpath.normpath(posixpath.join(folder, entry))
        if entry.endswith("/"):
            yield from all_files(tree, path)
        else:
            yield path


def _files(tree: Tree, folder: str, skip: frozenset[str]) -> Iterator[str]:
    for entry in tree.list(folder or "."):
        path = f"{folder}/{entry}" if folder else entry
        if entry.endswith("/"):
            inner = path.removesuffix("/")
            hidden = entry.startswith(".") or entry.removesuffix("/") in _SKIPPED
            if not hidden and inner not in skip:
                yield from _files(tree, inner, skip)
        elif entry.lower().endswith(_ENDS) or entry == SAVED_FILE:
            yield path


def _sort(path: str, root: Mapping, result: Harvest) -> None:
    name = _text(root.get("name"))
    if posixpath.basename(path) == SAVED_FILE:
        names = candidates(name, path, ())
        result.found.append(Found(kind="saved", path=path, node=root, names=names, named=name))
    elif _is_environment(root):
        names = candidates(name, path, ())
        result.found.append(Found(kind="file", path=path, node=root, names=names, named=name))
    elif _is_conda_file(root):
        result.conda_files.append(path)
    elif root.key("$schema") or root.key("type") or root.key("jobs"):
        for node, keys in _inline(root, ()):
            _sort_inline(path, root, node, keys, result)


def _sort_inline(
    path: str, root: Mapping, node: Node, keys: tuple[str, ...], result: Harvest
) -> None:
    if isinstance(node, Scalar):
        reference = node.text.strip()
        if reference.startswith("azureml:"):
            result.uses.setdefault(reference, []).append(node.where)
    elif isinstance(node, Mapping) and (node.key("image") or node.key("build")):
        named = _text(node.get("name"))
        job = _text(root.get("name")) if root.key("command") else ""
        names = candidates(named or (job if is_name(job) else ""), path, keys)
        result.found.append(Found(kind="inline", path=path, node=node, names=names, named=named))


def _inline(node: Node, keys: tuple[str, ...]) -> Iterator[tuple[Node, tuple[str, ...]]]:
    """Yield what stands at ``environment:``, at any depth, with the names of the jobs above."""
    if isinstance(node, Mapping):
        for key, value in node.entries:
            if key.text == "environment":
                yield value, keys
            elif key.text == "jobs" and isinstance(value, Mapping):
                for job, inner in value.entries:
                    yield from _inline(inner, (*keys, job.text))
            else:
                yield from _inline(value, keys)
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from _inline(item, keys)


def _is_environment(root: Mapping) -> bool:
    schema = _text(root.get("$schema"))
    if schema:
        return "environment.schema" in schema.rpartition("/")[2]
    has = any(not absent(root.get(key)) for key in ("image", "build"))
    return has and all(key.text in KEYS for key, _ in root.entries)


def _is_conda_file(root: Mapping) -> bool:
    return isinstance(root.get("dependencies"), Sequence) and not (
        root.key("$schema") or root.key("python")
    )


def _text(node: Node | None) -> str:
    return node.text.strip() if isinstance(node, Scalar) and not node.is_null else ""


def candidates(named: str, path: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return what an environment can be called: its own name, then names from where it stands."""
    found = [slug(named)] if named else []
    folders = [part for part in posixpath.dirname(path).split("/") if part]
    telling = [part for part in folders if part.lower() not in _GENERAL] or folders
    stem = posixpath.basename(path).rpartition(".")[0]
    tail = [*telling[-1:], *keys] or [stem]
    for start in range(len(telling[:-1]), -1, -1):
        found.append(slug("-".join([*telling[start:-1], *tail])))
        if start == len(telling[:-1]):
            found.append(slug("-".join([*tail, stem])))
    return tuple(dict.fromkeys(name for name in found if name)) or ("imported",)


def slug(text: str) -> str:
    """Return *text* as a name that an environment can have; '' when nothing of it is left."""
    if is_name(text) and not text.startswith(CURATED_PREFIXES):
        return text
    for prefix in CURATED_PREFIXES:
        text = text.removeprefix(prefix)
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-_")[:200]

"""Build contexts: the files of a commit that an engine is given, and what may not be among them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from envsync.errors import InvalidInput, Position
from envsync.model.canonical import sha256_hex
from envsync.model.config import Compression
from envsync.model.definition import ContextFile, Definition, definition_of
from envsync.model.document import Faults, shown
from envsync.model.ignore_files import (
    AMLIGNORE,
    DOCKERIGNORE,
    GITIGNORE,
    Ignored,
    docker_rules,
    git_rules,
)
from envsync.model.lock import Lock
from envsync.model.spec import BuildContext, Spec
from envsync.oci.entry import CONSTANT_TIME, Entry, SoftLink, file_of, parents, path_fault
from envsync.oci.tar import END, directory_stream, entry_stream
from envsync.ports.tree import ContextTree, TreeFile

_LFS = b"version https://git-lfs.github.com/spec/v1\n"
_LINKS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The files of a build context, by path relative to it, ignore files applied."""

    sources: Mapping[str, TreeFile]
    files: tuple[ContextFile, ...]


def define(
    tree: ContextTree, spec: Spec, lock: Lock, compression: Compression = "gzip"
) -> Definition:
    """Return the definition of an environment of *tree*, its build context included.

    Raises InvalidInput when the context has what no context may have.
    """
    if spec.build is None:
        return definition_of(spec, lock, compression=compression)
    return definition_of(spec, lock, read_context(tree, spec.build).files)


def read_context(tree: ContextTree, build: BuildContext) -> Context:
    """Read the files that count; InvalidInput names every one that cannot be in a context."""
    faults = Faults()
    found = {file.path: file for file in tree.files(build.path)}
    rules = _rules(found, build.path, faults)
    kept = {
        path: file for path, file in found.items() if not any(ignored(path) for ignored in rules)
    }
    files = []
    for path, file in kept.items():
        content = file.read()
        if message := _fault(path, file, content, found):
            place = posixpath.normpath(f"{build.path}/{path}").encode(errors="replace").decode()
            hint = "Put the file itself there, or leave it out in .dockerignore."
            faults.add(Position(file=place), message, hint)
        elif file.kind != "submodule":
            files.append(ContextFile(path=path, mode=file.kind, sha256=sha256_hex(content)))
    faults.check(f"The build context {shown(build.path)} cannot be used")
    return Context(sources=kept, files=tuple(files))


def context_tar(context: Context, dockerfile: str, content: str) -> Iterator[bytes]:
    """Yield the context as a tar whose bytes follow from its files; *dockerfile* has *content*."""
    modes = {file.path: file.mode for file in context.files} | {dockerfile: "file"}
    yield from directory_stream(parents(modes))
    for path in sorted(modes):
        entry: Entry
        if path == dockerfile:
            entry = file_of(path, content.encode())
        elif modes[path] == "link":
            target = context.sources[path].read().decode()
            entry = SoftLink(path=path, target=target, mtime=CONSTANT_TIME)
        else:
            data = context.sources[path].read()
            entry = file_of(path, data, executable=modes[path] == "executable")
        yield from entry_stream((entry,))
    yield END


def _rules(found: Mapping[str, TreeFile], folder: str, faults: Faults) -> list[Ignored]:
    rules = []
    own = next((name for name in (AMLIGNORE, GITIGNORE) if name in found), "")
    for name in (own, DOCKERIGNORE):
        if name in found and found[name].kind in {"file", "executable"}:
            path = posixpath.normpath(f"{folder}/{name}")
            try:
                text = found[name].read().decode()
            except UnicodeDecodeError as error:
                faults.add(Position(file=path), f"It is not UTF-8 text (byte {error.start})")
                continue
            rules.append((docker_rules if name == DOCKERIGNORE else git_rules)(text, path, faults))
    return rules


def _fault(path: str, file: TreeFile, content: bytes, found: Mapping[str, TreeFile]) -> str:
    if fault := path_fault(path):
        return f"A file {fault}"
    if file.kind == "submodule":
        return "A submodule: its files are not in the commit"
    if file.kind == "link":
        return _link_fault(path, content, found)
    if content.startswith(_LFS) and len(content) < 1024:
        return "A pointer of Git LFS: the file itself is not in the commit"
    return ""


def _link_fault(path: str, content: bytes, found: Mapping[str, TreeFile]) -> str:
    """Follow a link as an engine would, through the links of the context; '' when it stays in."""
    try:
        target = content.decode()
    except UnicodeDecodeError:
        return "A link whose target is not UTF-8 text"
    if not target or "\0" in target:
        return "A link without a target"
    here = posixpath.dirname(path).split("/") if "/" in path else []
    rest = target.split("/")
    if target.startswith("/"):
        return f"A link out of the context, to {shown(target)}"
    for _ in range(_LINKS * 256):
        if not rest:
            return ""
        part = rest.pop(0)
        if part in {"", "."}:
            continue
        if part == "..":
            if not here:
                return f"A link out of the context, to {shown(target)}"
            here.pop()
            continue
        step = "/".join([*here, part])
        through = found.get(step)
        if through is None or through.kind != "link" or step == path:
            here.append(part)
            continue
        further = through.read().decode(errors="replace")
        if further.startswith("/"):
            return f"A link out of the context, through {shown(step)}"
        rest = further.split("/") + rest
    return "A link that leads in a circle"


def check_buildable(spec: Spec, platforms: tuple[str, ...]) -> None:
    """Refuse what no engine is asked to build; InvalidInput says why."""
    if spec.build is None:
        return
    if spec.build.remote:
        raise InvalidInput(
            "The build context is not in this repository",
            detail=f"{spec.path}: {shown(spec.build.path)} can change without a commit.",
            hint="Copy it into the repository, or add it to a branch of your own.",
        )
    if spec.os_type == "windows":
        raise InvalidInput(
            "Windows images cannot be built",
            detail=f"{spec.path}: build contexts are built for linux only",
        )
    if len(platforms) != 1:
        raise InvalidInput(
            "A build context makes an image for one platform",
            detail=f"{spec.path}: an engine builds for its own platform only, and the environment"
            f" is for {', '.join(platforms) or 'none that images are made for'}",
            hint="Choose one:\nenvsync:\n  platforms: [linux-64]",
        )

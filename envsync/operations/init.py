"""Init: what a repository needs to use envsync; what is there already stays as it is."""

from __future__ import annotations

from dataclasses import dataclass

from envsync.model.config import CONFIG_FILE, ENVIRONMENTS, LAYOUT, LOCKS
from envsync.model.reference import parse_registry_location
from envsync.operations.load import environment_names
from envsync.operations.new import PYTHON, NewEnvironment, files_of
from envsync.ports.documents import ParseDocument
from envsync.ports.files import FileWriter
from envsync.ports.tree import Tree

FIRST = "example"
"""Name of the environment that a repository without any gets."""

_IGNORE_FILE = ".gitignore"
_IGNORED = f"/{LAYOUT.split('/', 1)[0]}/"
_CONFIG = """\
# Settings of envsync for this repository. Everything has a default.

# Where images go. Without it they stay in this folder, in .envsync/registry.
# registry: ghcr.io/my-team/environments

# Platforms to lock and to build images for.
# platforms: [linux-64, linux-aarch64]

# Channels of conda files that name none.
# channels: [conda-forge]
"""
_LOCKS = """\
# Locks

Written by `envsync lock`, one folder for each environment. Commit and review them; do not edit
them by hand.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised:
    """What was made and what was there."""

    created: tuple[str, ...]
    """Paths of files, sorted."""
    changed: tuple[str, ...]
    """Paths of files that were there and got lines at their end."""
    kept: tuple[str, ...]
    """Paths of files that were there and stay as they are."""


def initialise(
    tree: Tree, parse: ParseDocument, files: FileWriter, *, registry: str = "", image: str = ""
) -> Initialised:
    """Write settings, an example environment and a place for locks, all of them or nothing.

    *registry* is ``host[:port]/namespace`` for the settings; *image* the example's base image.
    Raises InvalidInput when one of them is not what it should be.
    """
    wanted = {CONFIG_FILE: _config(registry), f"{LOCKS}/README.md": _LOCKS.encode()}
    names = environment_names(tree)
    if not names:
        example = NewEnvironment(
            name=FIRST,
            image=image,
            python=PYTHON,
            description="Made by envsync init; change it or remove it.",
        )
        wanted |= files_of(tree, parse, example)
    kept = {path for path in wanted if tree.read(path) is not None}
    created = {path: content for path, content in wanted.items() if path not in kept}
    ignore = tree.read(_IGNORE_FILE)
    if ignore is None:
        created[_IGNORE_FILE] = _ignoring(b"")
    if created:
        files.create(created)
    ignored = ignore is not None and _is_ignored(ignore)
    if ignore is not None and not ignored:
        files.replace(_IGNORE_FILE, _ignoring(ignore))
    return Initialised(
        created=tuple(sorted(created)),
        changed=(_IGNORE_FILE,) if ignore is not None and not ignored else (),
        kept=tuple(
            sorted(
                kept
                | {f"{ENVIRONMENTS}/{name}" for name in names}
                | ({_IGNORE_FILE} if ignored else set())
            )
        ),
    )


def _config(registry: str) -> bytes:
    if not registry:
        return _CONFIG.encode()
    before, _, after = _CONFIG.partition("# registry: ghcr.io/my-team/environments")
    return f"{before}registry: {parse_registry_location(registry)}{after}".encode()


def _is_ignored(ignore: bytes) -> bool:
    name = _IGNORED.strip("/").encode()
    return any(line.strip().strip(b"/") == name for line in ignore.splitlines())


def _ignoring(ignore: bytes) -> bytes:
    """Return the bytes of an ignore file with envsync's entry at its end."""
    end = b"\r\n" if b"\r\n" in ignore else b"\n"
    start = ignore if not ignore or ignore.endswith(b"\n") else ignore + end
    return start + b"# envsync: the registry on disk, and caches" + end + _IGNORED.encode() + end

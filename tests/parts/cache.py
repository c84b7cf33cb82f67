"""What is slow to make is made once: built aside, renamed, shared by workers and checkouts."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from filelock import FileLock

# Tests move HOME and the XDG folders. The cache and pip's configuration stay those of the person
# who started the run, so the environment is copied when this module is first imported.
ENVIRONMENT = dict(os.environ)

_UNUSED_AFTER_SECONDS = 2 * 24 * 3600


class Unavailable(Exception):
    """A real part cannot be had on this machine; the message says why."""


def cache_root() -> Path:
    """Return the folder that all runs of this user share."""
    configured = ENVIRONMENT.get("XDG_CACHE_HOME")
    home = Path(ENVIRONMENT.get("HOME") or Path.home())
    return (Path(configured) if configured else home / ".cache") / "envsync-tests"


def key_of(parts: Iterable[str | bytes]) -> str:
    """Return a short name for the content that a cache entry is made from."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()[:24]


def source_key(*files: str) -> bytes:
    """Return the source of modules beside this one, so that editing a recipe makes a new key."""
    here = Path(__file__).parent
    return b"\0".join((here / name).read_bytes() for name in files)


def cached(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """Return the folder `kind/key`, made by `build` unless somebody made it already."""
    target = cache_root() / kind / key
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{key}.lock"):
            if not target.exists():
                _build(target, build)
                _prune(target.parent)
    _mark_used(target)
    return target


def _build(target: Path, build: Callable[[Path], None]) -> None:
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=".making-"))
    try:
        build(aside)
        aside.chmod(0o755)
        aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _mark_used(target: Path) -> None:
    # A cache that was made by another user, or is mounted read-only, is still good to read.
    try:
        os.utime(target)
    except PermissionError:
        return


def _prune(folder: Path) -> None:
    """Remove what no run has used for two days, and what a killed run left half made."""
    old = time.time() - _UNUSED_AFTER_SECONDS
    for entry in folder.iterdir():
        if entry.is_dir() and entry.stat().st_mtime < old:
            shutil.rmtree(entry, ignore_errors=True)

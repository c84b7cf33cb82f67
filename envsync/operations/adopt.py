"""Adopt: packages that were chosen elsewhere become the lock of a new environment.

They are judged as `lock --check` judges: an adopted lock that does not satisfy its spec says so,
and the next ``envsync lock`` keeps what it can of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from envsync.model.canonical import sha256_hex
from envsync.model.config import LOCKS
from envsync.model.lock import IMAGE_FILE, LOCK_FILE, Lock, LockedPackage
from envsync.model.lock_text import render_image
from envsync.model.request import request_hash
from envsync.model.spec import Spec
from envsync.operations.lock_work import LockWork, lock_files, locked_channels
from envsync.planning.freshness import LockRules, Stale, freshness, wanted_platforms
from envsync.ports.locks import ContentHashes

_NO_REQUEST = "0" * 64
"""The request hash of nothing: a lock with it is judged package by package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """The files of a lock, by path, and why it does not satisfy its spec."""

    files: Mapping[str, bytes]
    stale: tuple[Stale, ...]
    based: bool
    """Whether the digest of the base image has to be looked up before it can be used."""


def adopt(
    spec: Spec,
    packages: Mapping[str, Sequence[LockedPackage]],
    rules: LockRules,
    content_hashes: ContentHashes,
    *,
    sizes: Mapping[str, int] | None = None,
    as_it_is: tuple[bytes, tuple[str, ...]] | None = None,
) -> Adopted:
    """Return the lock of *spec* that has these packages.

    *as_it_is* are the bytes of a conda-lock file that says the same, and its channels: they are
    kept instead of being written anew.
    """
    work = LockWork(
        spec=spec,
        old=None,
        why=(),
        request=request_hash(spec, rules.config),
        platforms=wanted_platforms(spec, rules.config),
        packages={
            platform: tuple(sorted(found, key=lambda p: (p.manager, p.name)))
            for platform, found in packages.items()
        },
        channels=locked_channels(spec, rules.config),
        sizes=dict(sizes or {}),
    )
    lock, written = lock_files(work, content_hashes)
    conda_lock = written.conda_lock
    if as_it_is is not None:
        conda_lock = as_it_is[0]
        own = sha256_hex(conda_lock)
        image = replace(lock.image, conda_lock=own)
        lock = replace(lock, image=image, conda_lock=own, channels=as_it_is[1])
    stale, based = _judged(spec, lock, rules)
    if stale:
        lock = replace(lock, image=replace(lock.image, request=_NO_REQUEST))
    folder = f"{LOCKS}/{spec.name}"
    files = {f"{folder}/{IMAGE_FILE}": render_image(lock.image)}
    if conda_lock is not None:
        files[f"{folder}/{LOCK_FILE}"] = conda_lock
    return Adopted(files=files, stale=stale, based=based)


def _judged(spec: Spec, lock: Lock, rules: LockRules) -> tuple[tuple[Stale, ...], bool]:
    """Return why the packages are not what *spec* asks, and whether the base is still unknown."""
    unasked = replace(lock, image=replace(lock.image, request=_NO_REQUEST))
    found = freshness(spec, unasked, rules)
    base = [
        stale
        for stale in found
        if stale.kind == "lock_platform_missing" and stale.platform in lock.packages
    ]
    return tuple(stale for stale in found if stale not in base), bool(base)

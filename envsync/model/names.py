"""Names of environments, versions and platforms, and how they map to registry repositories."""

from __future__ import annotations

import re

from envsync.model.canonical import sha256_hex

NAME_PATTERN = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-_]{0,254}")
"""Azure ML's rule for environment names; case-sensitive."""

VERSION_PATTERN = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_-]|\.(?!\.|lock$|$)){0,126}")
"""A version is text that is valid both as an OCI tag and as the last part of a git tag."""

RESERVED_TAG = re.compile(r"latest|def-.*|git-.*|sha256-[0-9a-f]{64}.*")
"""Registry tags that mean something to envsync or to registries; no version may be called so."""

CURATED_PREFIXES = ("AzureML-", "Microsoft")
"""Names that Azure ML reserves for environments provided by the platform."""

PLATFORMS = ("linux-64", "linux-aarch64", "osx-64", "osx-arm64", "win-64")
"""Platforms that can stand in a lock, in conda's words."""

IMAGE_PLATFORMS = {"linux-64": ("linux", "amd64"), "linux-aarch64": ("linux", "arm64")}
"""Platforms that images can be made for, as OCI's (os, architecture)."""

_REPOSITORY_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")


def is_name(text: str) -> bool:
    """Tell whether *text* can name an environment."""
    return NAME_PATTERN.fullmatch(text) is not None


def readable(path: str) -> str:
    """Return a path as text that can be written; its bytes need not be UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def is_version(text: str) -> bool:
    """Tell whether *text* can be a version of an environment."""
    return VERSION_PATTERN.fullmatch(text) is not None and RESERVED_TAG.fullmatch(text) is None


def repository_component(name: str) -> str:
    """Return the last part of the registry repository for environment *name*.

    OCI repositories are lower case and stricter than environment names. A name that is valid there
    stands as it is; any other is lowered and made unique by a hash of its exact spelling, so that
    ``Train`` and ``train`` never share a repository.
    Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
    """
    if _REPOSITORY_COMPONENT.fullmatch(name) and not re.fullmatch(r".*-x[0-9a-f]{12}", name):
        return name
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:100].rstrip("-") or "env"
    return f"{stem}-x{sha256_hex(name.encode())[:12]}"


def version_order(version: str) -> tuple[int, int, str]:
    """Sort key for versions made at the same moment: numbers by value, then other texts."""
    if version.isascii() and version.isdigit():
        return (0, int(version), version)
    return (1, 0, version)


def content_tag(definition_hash: str) -> str:
    """Return the registry tag that says: this definition is completely published."""
    return f"def-{definition_hash}"


def next_version(versions: frozenset[str]) -> str:
    """Return the highest whole number among *versions* plus one, as text; 1 when there is none."""
    numbers = [int(v) for v in versions if v.isascii() and v.isdigit()]
    return str(max(numbers, default=0) + 1)

"""Wheels that stand in the repository: where they are, what they are called, how locks name them.

A lock names such a wheel by a ``file:`` URL without a leading slash, relative to the repository's
top, so that it is the same on every machine; what counts is its SHA-256.
"""

from __future__ import annotations

import posixpath
from urllib.parse import quote, unquote

from envsync.model.spec import Spec

_SCHEME = "file:"


def wheel_paths(spec: Spec) -> dict[str, str]:
    """Return by its path as written in the pip section each wheel's repository-relative path."""
    if spec.conda is None:
        return {}
    folder = posixpath.dirname(spec.conda.path or spec.path)
    return {path: posixpath.normpath(posixpath.join(folder, path)) for path in spec.conda.wheels}


def wheel_name(path: str) -> str:
    """Return the normalised name of the distribution in a wheel, '' when its file has no such name.

    Source: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    """
    # Loaded for the first wheel: most environments have none.
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        return str(parse_wheel_filename(posixpath.basename(path))[0])
    except InvalidWheelFilename:
        return ""


def url_in_repository(path: str) -> str:
    """Return how a lock names the wheel at a repository-relative path."""
    return f"{_SCHEME}{quote(path)}"


def path_in_repository(url: str) -> str:
    """Return the repository-relative path that a lock's URL names, '' for any other URL."""
    if not url.startswith(_SCHEME) or url.startswith(f"{_SCHEME}/"):
        return ""
    return unquote(url.removeprefix(_SCHEME))

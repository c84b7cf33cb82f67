"""Conda channels as they are written in a spec, and the URLs they stand for."""

from __future__ import annotations

import posixpath
import re

from envsync.model.names import PLATFORMS
from envsync.model.places import without_userinfo

CHANNEL_ALIAS = "https://conda.anaconda.org"
"""Where a channel written as a bare name is found, as in every conda tool."""

_DEFAULTS_HOST = "https://repo.anaconda.com"
_SUBDIRS = frozenset({*PLATFORMS, "noarch", "linux-32", "linux-ppc64le", "win-32", "win-arm64"})
_TOKEN = re.compile(r"/t/[^/]*(?=/)")


def strip_credentials(url: str) -> str:
    """Return *url* without ``user:password@`` and without ``/t/<token>/``."""
    return _TOKEN.sub("", without_userinfo(url), count=1)


def channel_urls(
    channel: str, *, platform: str, root: str, alias: str = CHANNEL_ALIAS
) -> tuple[str, ...]:
    """Return the URLs that *channel* stands for, in priority order, without trailing slash.

    *channel* is a name, a name with a label, a URL or a path; *root* is the absolute POSIX path
    that a relative path starts from. ``defaults`` is several channels.
    Source: https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-channels.html
    """
    text = channel.strip()
    if text == "defaults":
        parts = ("main", "r", "msys2") if platform.startswith("win-") else ("main", "r")
        return tuple(f"{_DEFAULTS_HOST}/pkgs/{part}" for part in parts)
    if "://" in text:
        return (_without_subdir(text.rstrip("/")),)
    if text.startswith((".", "/", "~")):
        return (f"file://{posixpath.normpath(posixpath.join(root, text))}",)
    if text.startswith("pkgs/"):
        return (f"{_DEFAULTS_HOST}/{text.strip('/')}",)
    return (_without_subdir(f"{alias.rstrip('/')}/{text.strip('/')}"),)


def channel_name(url: str) -> str:
    """Return a channel as people call it: ``conda-forge``, or its URL where it stands elsewhere."""
    return strip_credentials(url).removeprefix(f"{CHANNEL_ALIAS}/")


def spec_channel(match_spec: str) -> str:
    """Return the channel in ``channel::package``, '' when there is none."""
    return match_spec.rpartition("::")[0].strip()


def sources_of(channels: tuple[str, ...], dependencies: tuple[str, ...]) -> tuple[str, ...]:
    """Return all channels that a request reads: its own, then those its dependencies name."""
    return tuple(dict.fromkeys([*channels, *filter(None, map(spec_channel, dependencies))]))


def _without_subdir(url: str) -> str:
    head, _, last = url.rpartition("/")
    return head if last in _SUBDIRS else url

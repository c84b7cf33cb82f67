"""The lines of a conda file's ``pip:`` section: requirements, pip's options, and what is refused.

Locking runs no code of a package: what has to be built first (a source archive, a checkout, an
editable folder) is refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_COMMENT = re.compile(r"(?:^|\s)#.*$")
_VCS = re.compile(r"(?:^|@\s*)(?:git|hg|svn|bzr)\+", re.IGNORECASE)
_URL = re.compile(r"(?:^|@\s*)([a-zA-Z][a-zA-Z0-9+.-]*:[^\s;]+)")
_SOURCE = re.compile(r"(?:^|@\s*)(?:\.{1,2}(?:/|$)|/|~/|file:)|^[\w./-]+\.(?:whl|tar\.gz|zip)$")
_INDEX_OPTIONS = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index")
_IGNORED_OPTIONS = ("--prefer-binary", "--only-binary", "--disable-pip-version-check")
_NEEDS_CODE = "it must be built, and locking runs no code of a package"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipLines:
    """A ``pip:`` section sorted out."""

    requirements: tuple[str, ...]
    options: tuple[str, ...]
    """About indexes, as a requirements file has them."""
    prereleases: bool
    insecure_hosts: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    """Lines that cannot be locked, each with the reason."""


def sort_pip_lines(lines: Iterable[str]) -> PipLines:
    """Sort the lines of a ``pip:`` section out."""
    requirements, options, refused = [], [], []
    hosts = []
    prereleases = False
    for raw in lines:
        line = _COMMENT.sub("", raw).strip()
        if not line:
            continue
        word = re.split(r"[\s=]", line, maxsplit=1)[0]
        if word in _INDEX_OPTIONS:
            options.append(line)
        elif word == "--pre":
            prereleases = True
        elif word == "--trusted-host":
            hosts.append(line[len(word) :].strip(" ="))
        elif word in _IGNORED_OPTIONS:
            continue
        elif reason := _refusal(line, word):
            refused.append((line, reason))
        else:
            requirements.append(line)
    return PipLines(
        requirements=tuple(requirements),
        options=tuple(options),
        prereleases=prereleases,
        insecure_hosts=tuple(hosts),
        refused=tuple(refused),
    )


def _refusal(line: str, word: str) -> str:
    if word in {"-e", "--editable"}:
        return f"an editable requirement: {_NEEDS_CODE}"
    if word == "--no-binary":
        return f"asks for source archives: {_NEEDS_CODE}"
    if word in {"-r", "--requirement", "-c", "--constraint"}:
        return "names another file; write its lines here instead"
    if line.startswith("-"):
        return "an option of pip that locking does not know"
    if _VCS.search(line):
        return f"a checkout of a repository: {_NEEDS_CODE}"
    if _SOURCE.search(line):
        if ".whl" in line:
            return "a wheel file of the repository; serve it from an index for now"
        return f"a folder or an archive of sources: {_NEEDS_CODE}"
    url = _URL.search(line)
    if url and not unquote(urlsplit(url.group(1)).path).endswith(".whl"):
        return f"a source archive: {_NEEDS_CODE}"
    return ""

"""A ``pip:`` section as locking sees it: requirements, options, and lines that are refused.

Locking runs no code of a package: what has to be built first (a source archive, a checkout, an
editable folder) is refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from envsync.model.match_spec import Problem
from envsync.model.requirement_line import read_requirement_line

_INDEX_OPTIONS = {"-i", "--index-url", "--extra-index-url", "-f", "--find-links"}
_IGNORED_OPTIONS = {"--only-binary", "--use-feature"}
_OWN_WHEEL = re.compile(r"[./][^\s;\[]*\.whl\b")
_PATH_ALONE = "a wheel of the repository is named by its path alone, without extras or markers"
_NEEDS_CODE = "it has to be built, and locking runs no code of a package"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipLines:
    """A ``pip:`` section sorted out."""

    requirements: tuple[str, ...]
    options: tuple[str, ...]
    """About indexes, one on each line, as a requirements file has them."""
    prereleases: bool
    insecure_hosts: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    """Lines that cannot be locked, each with the reason."""
    wheels: tuple[str, ...] = ()
    """Wheels of the repository, by their path as written."""


def sort_pip_lines(lines: Iterable[str]) -> PipLines:
    """Sort the lines of a ``pip:`` section out."""
    requirements: list[str] = []
    wheels: list[str] = []
    words: list[str] = []
    refused: list[tuple[str, str]] = []
    for text in lines:
        line = read_requirement_line(text)
        if isinstance(line, Problem):
            refused.append((text, line.message))
        elif line.kind == "requirement":
            requirements.append(line.text)
        elif line.kind == "option":
            words += line.text.replace("=", " ", 1).split()
        elif line.kind == "wheel":
            wheels.append(line.target)
        elif line.kind == "source":
            refused.append((text, _PATH_ALONE if _OWN_WHEEL.match(text) else _NEEDS_CODE))
        else:
            refused.append((text, "names another file; write its lines here instead"))
    options, hosts, prereleases = [], [], False
    position = 0
    while position < len(words):
        word = words[position]
        value = words[position + 1] if position + 1 < len(words) else ""
        position += 2
        if word in _INDEX_OPTIONS:
            options.append(f"{word} {value}")
        elif word == "--trusted-host":
            hosts.append(value)
        elif word == "--no-binary":
            refused.append((f"{word} {value}", _NEEDS_CODE))
        elif word not in _IGNORED_OPTIONS:
            # Options that stand alone: --pre, --no-index, --prefer-binary, --require-hashes.
            position -= 1
            prereleases = prereleases or word == "--pre"
            options += [word] if word == "--no-index" else []
    return PipLines(
        requirements=tuple(requirements),
        options=tuple(options),
        prereleases=prereleases,
        insecure_hosts=tuple(hosts),
        refused=tuple(refused),
        wheels=tuple(wheels),
    )

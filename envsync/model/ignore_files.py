"""Which files of a build context do not count: ``.amlignore``, ``.gitignore``, ``.dockerignore``.

``.amlignore`` wins over ``.gitignore``, as for Azure ML: where both stand, only the first is read.
Both have git's rules. ``.dockerignore`` has its own, and is applied besides.
Sources: https://git-scm.com/docs/gitignore, https://docs.docker.com/build/concepts/context/ and
https://github.com/moby/patternmatcher
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

from envsync.errors import Position
from envsync.model.document import Faults, shown

AMLIGNORE, GITIGNORE, DOCKERIGNORE = ".amlignore", ".gitignore", ".dockerignore"

Ignored = Callable[[str], bool]
"""Whether a path, relative to the context, is left out."""


def git_rules(text: str, path: str, faults: Faults) -> Ignored:
    """Return the rules of a ``.gitignore`` or ``.amlignore``."""
    from pathspec import GitIgnoreSpec  # few environments have a build context

    try:
        spec = GitIgnoreSpec.from_lines(text.splitlines())
    except ValueError as error:
        faults.add(Position(file=path), f"A rule cannot be read: {error}")
        return lambda _: False

    def ignored(path: str) -> bool:
        # git does not look into a folder that is left out, whatever a later rule says of its files.
        parts = path.split("/")
        above = ("/".join(parts[:count]) + "/" for count in range(1, len(parts)))
        return any(map(spec.match_file, above)) or bool(spec.match_file(path))

    return ignored


def docker_rules(text: str, path: str, faults: Faults) -> Ignored:
    """Return the rules of a ``.dockerignore``: the last one that fits a path decides."""
    rules: list[tuple[re.Pattern[str], bool]] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        pattern = line.strip()
        if not pattern or line.startswith("#"):
            continue
        again = pattern.startswith("!")
        pattern = pattern[1:].strip() if again else pattern
        where = Position(file=path, line=number, column=1)
        if not pattern:
            faults.add(where, "There is nothing after '!'", "Write '!path'.")
            continue
        pattern = posixpath.normpath(pattern).lstrip("/")
        try:
            rules.append((re.compile(_expression(pattern), re.DOTALL), again))
        except (re.error, ValueError):
            faults.add(where, f"{shown(line)} is no pattern", "Look at its brackets.")

    def ignored(path: str) -> bool:
        parts = path.split("/")
        ways = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        out = False
        for pattern, again in rules:
            # A rule for a folder is one for all that is in it.
            if out == again and any(map(pattern.fullmatch, ways)):
                out = not again
        return out

    return ignored


def _expression(pattern: str) -> str:
    """Return the regular expression of a pattern of Go's filepath.Match, with ``**`` besides."""
    found, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*" and pattern[at : at + 1] == "*":
            at += 1
            if pattern[at : at + 1] == "/":
                at += 1
            found.append(".*" if at >= len(pattern) else "(?:.*/)?")
        elif char == "*":
            found.append("[^/]*")
        elif char == "?":
            found.append("[^/]")
        elif char == "[":
            end = pattern.index("]", at + 1)
            inside = pattern[at:end]
            negated = inside.startswith("^")
            found.append(f"[{'^' if negated else ''}{_class(inside.removeprefix('^'))}]")
            at = end + 1
        elif char == "\\":
            found.append(re.escape(pattern[at : at + 1]))
            at += 1
        else:
            found.append(re.escape(char))
    return "".join(found)


def _class(inside: str) -> str:
    return re.sub(r"([\[\]&~|^])", r"\\\1", inside)

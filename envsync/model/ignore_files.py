"""Which files of a build context do not count: ``.amlignore``, ``.gitignore``, ``.dockerignore``.

``.amlignore`` wins over ``.gitignore``, as for Azure ML: where both stand, only the first is read.
Both have git's rules. ``.dockerignore`` has its own, and is applied besides.
A branch of a stranger has such files too, so patterns are matched in time that grows with the text
and not with the number of ways to match it: a star takes the nearest place where what follows it
stands, and gives it up for no other (https://swtch.com/glob says why that is enough).
Sources: https://git-scm.com/docs/gitignore, https://docs.docker.com/build/concepts/context/ and
https://github.com/moby/patternmatcher
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence

from envsync.errors import Position
from envsync.model.document import Faults, shown

AMLIGNORE, GITIGNORE, DOCKERIGNORE = ".amlignore", ".gitignore", ".dockerignore"

Ignored = Callable[[str], bool]
"""Whether a path, relative to the context, is left out."""


_LONGEST = 4096
"""Characters of a rule: no path has more."""
_DIRS = None
"""A part of a pattern that stands for any number of folders, none too."""
_Part = list[str] | None
"""A name's atoms, ``*`` or a regular expression of one character; or `_DIRS`."""
_INNER_LIMIT = 4
"""How often ``**`` may stand within a name in one pattern of Docker's: each is tried both ways."""
_NEVER = "(?!)"
_ATOM = re.compile(r"\\.?|\[[!^]?\]?(?:\[:[a-z]+:\]|\\.|[^]\\])*\]|.", re.DOTALL)
"""An escaped character, a class, or a character of a pattern of git's."""
_IN_CLASS = re.compile(r"\[:(?P<posix>[a-z]+):\]|(?P<one>\\.|.)(?:-(?P<last>\\.|.))?", re.DOTALL)
_POSIX = {
    "alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "blank": r" \t", "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~",
    "space": r"\s", "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}  # fmt: skip


def git_rules(text: str, path: str, faults: Faults) -> Ignored:
    """Return the rules of a ``.gitignore`` or ``.amlignore``: the last one that fits decides."""
    rules: list[tuple[re.Pattern[str], bool, bool]] = []
    lines = _short(text.removeprefix("\ufeff").split("\n"), path, faults)
    for number, line in enumerate(lines, start=1):
        pattern = _trimmed(line.removesuffix("\r"))
        if pattern.startswith("#"):
            continue
        again = pattern.startswith("!")
        pattern = pattern[1:] if again else pattern
        folder = pattern.endswith("/")
        pattern = pattern.removesuffix("/")
        if not pattern:
            continue
        try:
            rules.append((re.compile(_git_expression(pattern), re.DOTALL), again, folder))
        except re.error:
            where = Position(file=path, line=number, column=1)
            faults.add(where, f"{shown(line)} is no pattern", "Look at its brackets.")
    rules.reverse()

    def decided(path: str, *, folder: bool) -> bool:
        for pattern, again, only_folders in rules:
            if (folder or not only_folders) and pattern.fullmatch(path):
                return not again
        return False

    def ignored(path: str) -> bool:
        # git does not look into a folder that is left out, whatever a later rule says of its files.
        parts = path.split("/")
        above = ("/".join(parts[:count]) for count in range(1, len(parts)))
        return any(decided(way, folder=True) for way in above) or decided(path, folder=False)

    return ignored


def _short(lines: list[str], path: str, faults: Faults) -> list[str]:
    """Return the lines of a file, one that is too long to be a rule being empty."""
    for number, line in enumerate(lines, start=1):
        if len(line) > _LONGEST:
            where = Position(file=path, line=number, column=1)
            faults.add(where, f"This rule has {len(line)} characters", "No path has so many.")
    return [line if len(line) <= _LONGEST else "" for line in lines]


def _trimmed(line: str) -> str:
    """Return a line without the spaces at its end, but for one that a backslash keeps."""
    kept = line.rstrip(" ")
    escapes = len(kept) - len(kept.rstrip("\\"))
    return f"{kept} " if escapes % 2 and kept != line else kept


def _git_expression(pattern: str) -> str:
    # Of stars more than two are two where they are all of a name.
    names = [re.sub(r"\*{2,}", "**", name) for name in pattern.removeprefix("/").split("/")]
    if "/" not in pattern:
        return _expression([_DIRS, list(_git_atoms(pattern))])
    # "**" at the end is all that is in a folder, and not the folder.
    end = ".+" if names[-1] == "**" else ""
    names = names[:-1] if end else names
    parts: list[_Part] = [_DIRS if name == "**" else list(_git_atoms(name)) for name in names]
    return _expression([*parts, []] if end else parts, end)


def _git_atoms(name: str) -> Iterator[str]:
    for match in _ATOM.finditer(name):
        atom = match[0]
        if atom == "*":
            yield atom
        elif atom == "?":
            yield "[^/]"
        elif atom in {"[", "\\"}:
            yield _NEVER  # a class that does not end, or a backslash before nothing
        elif atom.startswith("["):
            inside = atom[1:-1]
            negated = "^" if inside.startswith(("!", "^")) else ""
            yield f"(?!/)[{negated}{_class(inside[len(negated) :])}]"
        else:
            yield re.escape(atom[-1])


def _class(inside: str) -> str:
    """Return what stands in a class, as a class of `re`.

    A hyphen makes a range only between two characters, and neither is of another range.

    Source: https://github.com/git/git/blob/master/wildmatch.c
    """
    return "".join(
        _POSIX.get(m["posix"], "")
        if m["posix"]
        else "-".join(
            re.escape(m[side].removeprefix("\\") or "\\") for side in ("one", "last") if m[side]
        )
        for m in _IN_CLASS.finditer(inside)
    )


def docker_rules(text: str, path: str, faults: Faults) -> Ignored:
    """Return the rules of a ``.dockerignore``: the last one that fits a path decides."""
    rules: list[tuple[list[re.Pattern[str]], bool]] = []
    lines = _short(text.removeprefix("\ufeff").splitlines(), path, faults)
    for number, line in enumerate(lines, start=1):
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
            found = [re.compile(one, re.DOTALL) for one in _docker_expressions(pattern)]
            rules.append((found, again))
        except (re.error, ValueError):
            faults.add(where, f"{shown(line)} is no pattern", "Look at its brackets.")

    def ignored(path: str) -> bool:
        parts = path.split("/")
        ways = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        out = False
        for patterns, again in rules:
            # A rule for a folder is one for all that is in it.
            if out == again and any(any(map(one.fullmatch, ways)) for one in patterns):
                out = not again
        return out

    return ignored


def _docker_expressions(pattern: str) -> Iterator[str]:
    """Yield regular expressions of a pattern of Go's filepath.Match, with ``**`` besides.

    Elsewhere than at the start of a name ``**`` is nothing, or the rest of the name and folders.
    """
    atoms = list(_docker_atoms(pattern))
    end = ".*" if atoms[-1:] == ["**"] else ""
    ways: list[list[_Part]] = [[[]]]
    for atom in atoms[:-1] if end else atoms:
        further: list[list[_Part]] = []
        for way in ways:
            *before, name = way
            if atom == "/":
                further.append([*way, []])
            elif atom != "**":
                further.append([*before, [*(name or ()), atom]])
            elif not name:
                further.append([*before, _DIRS, []])
            else:
                further += [way, [*before, [*name, "*"], _DIRS, []]]
        ways = further
        if len(ways) > 1 << _INNER_LIMIT:
            raise ValueError("too many ** within names")
    for way in ways:
        yield _expression(way, end)


def _docker_atoms(pattern: str) -> Iterator[str]:
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*" and pattern[at : at + 1] == "*":
            at += 2 if pattern[at + 1 : at + 2] == "/" else 1
            yield "**"
        elif char in "*/":
            yield char
        elif char == "?":
            yield "[^/]"
        elif char == "[":
            end = pattern.index("]", at + 1)
            inside = pattern[at:end]
            negated = "^" if inside.startswith("^") else ""
            yield f"(?!/)[{negated}{_class(inside[len(negated) :])}]"
            at = end + 1
        elif char == "\\":
            yield re.escape(pattern[at : at + 1])
            at += 1
        else:
            yield re.escape(char)


def _expression(parts: Sequence[_Part], end: str = "") -> str:
    """Return the regular expression of names with ``/`` between them, and what follows them."""
    found, group, below = "", "", False
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part is not _DIRS:
            group += _name(part) + ("" if last else "/")
            continue
        if not below:
            found += group
        elif group:
            # The nearest folders that fit leave the most for the rest: no others need be tried.
            found += f"(?>(?:[^/]*/)*?{group})"
        group, below = "", True
    return f"{found}{'(?:[^/]*/)*' if below else ''}{group}{end}"


def _name(atoms: Sequence[str]) -> str:
    """Return the regular expression of one name."""
    pieces = [""]
    for atom in atoms:
        if atom == "*":
            pieces.append("")
        else:
            pieces[-1] += atom
    first, *inner = pieces
    if not inner:
        return first
    nearest = "".join(f"(?>[^/]*?{piece})" for piece in inner[:-1] if piece)
    return f"{first}{nearest}[^/]*{inner[-1]}"

"""Dockerfiles, as far as envsync has to understand them: which images one starts from, and where.

Everything else in it is the engine's business.
Source: https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from envsync.errors import InvalidInput, Position
from envsync.model.document import Faults, shown
from envsync.model.names import IMAGE_PLATFORMS
from envsync.model.reference import parse_image_reference
from envsync.model.spec import SCRATCH

# Where an instruction ends must be known exactly as BuildKit knows it: an image that is taken for a
# part of another instruction's text would not be locked. Source:
# https://github.com/moby/buildkit/tree/master/frontend/dockerfile/parser
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_SYNTAX = re.compile(r"(?:#|//)\s*syntax\s*=\s*(.*)", re.IGNORECASE)
_WORD = re.compile(r"\S+")
_SHELL_WORD = re.compile(r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\])+""")
_HEREDOC = re.compile(r"[0-9]*<<(-?)([^<]+)")
_FILLED_MAX = 4096
"""Characters that variables may add to a text; no name of an image is as long."""
_UNBRACED = re.compile(r"\\(?P<escaped>.)|\$(?P<plain>[A-Za-z_][A-Za-z0-9_]*)")
_VARIABLE = re.compile(
    rf"{_UNBRACED.pattern}"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<how>:[-+])(?P<word>[^}]*))?\}"
)
_ARGUMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:=(\"[^\"]*\"|'[^']*'|\S*))?")
_SOURCE = re.compile(r"(?:^|(?<=[\s,]))(?:--)?from=([^\s,]+)")
_NEWER = re.compile(r"--(?:mount|network|security|link|parents|exclude|checksum|chmod)\b")
_HERE = {"BUILDPLATFORM", "TARGETPLATFORM"}
_PLATFORM = re.compile(r"([a-z0-9]+)/([a-z0-9]+)(?:/[a-z0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction: its lines, counted from 1, and its text with the lines joined."""

    line: int
    last: int
    keyword: str
    """In capitals."""
    rest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One place where a Dockerfile takes another image."""

    instruction: Instruction
    written: str
    """The reference as it stands there, variables and all."""
    image: str
    """The reference with its variables filled in."""
    platform: str = ""
    """The platform that ``--platform=`` asks for; '' for that of the build."""

    @property
    def key(self) -> str:
        """What a lock calls it: the reference, and the platform where one is asked for."""
        return f"{self.image} {self.platform}".rstrip()


def instructions(text: str) -> tuple[Instruction, ...]:
    """Return the instructions of a Dockerfile in their order."""
    return tuple(_instructions(text))


def uses(text: str, arguments: Mapping[str, str], path: str, faults: Faults) -> tuple[Use, ...]:
    """Return the places where a Dockerfile takes an image, `SCRATCH` and its own stages left out.

    *arguments* win over the defaults of ``ARG``. What is wrong goes to *faults*, at *path*.
    """
    found: list[Use] = []
    stages: set[str] = set()
    known: dict[str, str] = {}
    for one in instructions(text):
        where = Position(file=path, line=one.line, column=1)
        if one.keyword == "ARG" and not stages:
            _define(one.rest, arguments, known)
        elif one.keyword == "FROM":
            if (use := _from(one, known, stages, where, faults)) is not None:
                found.append(use)
            stages.add(_stage(one))
        elif one.keyword in {"COPY", "RUN"} and stages:
            for source in _SOURCE.findall(_flags(one.rest)):
                if not source.isdigit() and source.lower() not in stages:
                    _check(source, where, faults)
                    found.append(Use(instruction=one, written=source, image=source))
    if not stages:
        faults.add(
            Position(file=path), "There is no FROM in the Dockerfile", "Begin with 'FROM …'."
        )
    return tuple(found)


def needs_buildkit(text: str) -> bool:
    """Tell whether a Dockerfile has what the engine's older builder does not know."""
    return any(
        one.keyword in {"RUN", "COPY", "ADD"}
        and (_heredocs(one.rest) or _NEWER.search(_flags(one.rest)))
        for one in instructions(text)
    )


def pinned(text: str, found: tuple[Use, ...], digests: Mapping[str, str]) -> str:
    """Return the Dockerfile with the images of *found* replaced by those of *digests*.

    *digests* are by `Use.key`. Every instruction keeps its line. A ``syntax`` directive becomes a
    comment: it would let the engine fetch a program that nothing has locked.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines):
        head = line.removeprefix("\ufeff").strip()
        if head and not head.startswith(("#", "//")):
            break
        if directive := _SYNTAX.fullmatch(head):
            lines[number] = f"# not used: {directive[1]}"
    for use in found:
        reference = parse_image_reference(use.image)
        exact = f"{reference.registry}/{reference.repository}@{digests[use.key]}"
        one = use.instruction
        word = re.compile(rf"(?<=[\s=\"']){re.escape(use.written)}(?=[\s,\"']|$)")
        for number in range(one.line - 1, one.last):
            line = lines[number]
            if not line.lstrip().startswith("#") and word.search(line):
                lines[number] = word.sub(exact, line, count=1)
                break
    return "\n".join(lines)


def _instructions(text: str) -> Iterator[Instruction]:
    escape, directives = "\\", True
    lines = text.removeprefix("\ufeff").split("\n")
    number = 0
    while number < len(lines):
        line = lines[number].rstrip("\r")
        number += 1
        directive = _DIRECTIVE.fullmatch(line.lstrip()) if directives else None
        if directive is not None:
            escape = directive[2] if directive[1].lower() == "escape" else escape
            continue
        directives = False
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        first, parts = number, [line.strip()]
        while parts[-1].endswith(escape) and number < len(lines):
            parts[-1] = parts[-1][: -len(escape)]
            following = lines[number].strip()
            number += 1
            # Comments and empty lines inside an instruction are not part of it.
            parts.append(f"{following}" if following and not following.startswith("#") else escape)
        joined = " ".join(part.removesuffix(escape).strip() for part in parts).strip()
        keyword, _, rest = joined.partition(" ")
        keyword = keyword.upper()
        if keyword in {"RUN", "COPY", "ADD"}:
            for tabs, end in _heredocs(rest):
                while number < len(lines) and not _ends(lines[number], tabs, end):
                    number += 1
                number += 1
        last = min(number, len(lines))
        yield Instruction(line=first, last=last, keyword=keyword, rest=rest.strip())


def _ends(line: str, tabs: str, end: str) -> bool:
    return (line.rstrip("\r").lstrip("\t") if tabs else line.rstrip("\r")) == end


def _heredocs(rest: str) -> list[tuple[str, str]]:
    """Return what begins the lines of each heredoc that is left out, and the line that ends it."""
    found = []
    for word in _SHELL_WORD.findall(rest):
        if match := _HEREDOC.fullmatch(word):
            found.append(("\t" if match[1] else "", match[2].replace('"', "").replace("'", "")))
    return found


def _flags(rest: str) -> str:
    """Return the flags at the start of an instruction's text."""
    flags = []
    for word in _WORD.findall(rest):
        if not word.startswith("--"):
            break
        flags.append(word)
    return " ".join(flags)


def _define(rest: str, arguments: Mapping[str, str], known: dict[str, str]) -> None:
    for name, default in _ARGUMENT.findall(rest):
        value = default[1:-1] if default[:1] in {'"', "'"} else default
        if name in arguments:
            known[name] = arguments[name]
        elif f"{name}={default}" in rest:
            known[name] = _filled(value, known, [])


def _stage(one: Instruction) -> str:
    """Return the name that a FROM gives its stage, '' for none."""
    rest = [word for word in _WORD.findall(one.rest) if not word.startswith("--")]
    return rest[2].lower() if len(rest) == 3 and rest[1].upper() == "AS" else ""


def _from(
    one: Instruction,
    known: Mapping[str, str],
    earlier: Collection[str],
    where: Position,
    faults: Faults,
) -> Use | None:
    words = _WORD.findall(one.rest)
    flags = [word for word in words if word.startswith("--")]
    rest = [word for word in words if not word.startswith("--")]
    if not rest or (len(rest) > 1 and not _stage(one)):
        faults.add(where, "This FROM cannot be read", "Write 'FROM image' or 'FROM image AS name'.")
        return None
    missing: list[str] = []
    platform = ""
    for flag in flags:
        name, _, value = flag.partition("=")
        if name == "--platform":
            platform = _platform(value, known, missing, where, faults)
    image = _filled(rest[0].strip("\"'"), known, missing)
    for variable in dict.fromkeys(missing):
        faults.add(
            where,
            f"{shown(variable)} has no value here",
            f"Write 'ARG {variable}=…' before the first FROM, or give it in 'build_arguments:'.",
        )
    if missing or image.lower() == SCRATCH or image.lower() in earlier:
        return None
    _check(image, where, faults)
    return Use(instruction=one, written=rest[0], image=image, platform=platform)


def _platform(
    text: str, known: Mapping[str, str], missing: list[str], where: Position, faults: Faults
) -> str:
    if text.strip("${}") in _HERE:
        return ""
    value = _filled(text, known, missing)
    found = _PLATFORM.fullmatch(value)
    pair = (found[1], found[2]) if found else ("", "")
    names = [name for name, system in IMAGE_PLATFORMS.items() if system == pair]
    if not names and value:
        faults.add(where, f"{shown(value)} is no platform that images are made for")
    return names[0] if names else ""


def _check(image: str, where: Position, faults: Faults) -> None:
    try:
        parse_image_reference(image)
    except InvalidInput as error:
        faults.add(where, error.summary, error.hint)


def _filled(text: str, known: Mapping[str, str], missing: list[str]) -> str:
    """Return *text* with the values of variables; what is too long for an image is cut off.

    Else each ARG that names the one before twice would double it.
    """
    room = _FILLED_MAX

    def value(match: re.Match[str]) -> str:
        nonlocal room
        found = chosen(match)[:room]
        room -= len(found)
        return found

    def chosen(match: re.Match[str]) -> str:
        if match["escaped"]:
            return match["escaped"]
        braced = match.groupdict(default="")
        name = match["plain"] or braced["name"]
        found = known.get(name, "")
        if braced.get("how") == ":-":
            return found or braced["word"]
        if braced.get("how") == ":+":
            return braced["word"] if found else ""
        if not found:
            missing.append(name)
        return found

    # Behind the last brace nothing ends: each beginning there would search all the rest for an end.
    end = text.rfind("}") + 1
    return _VARIABLE.sub(value, text[:end]) + _UNBRACED.sub(value, text[end:])

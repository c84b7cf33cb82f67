"""The syntax of conda match specs, as far as people can get it wrong.

Whether a solver can satisfy one is the solver's business; here only what cannot be a match spec is
found, and said in words. Source: https://conda.org/learn/specs/cep-0029
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from envsync.model.document import nearest, shown
from envsync.model.places import carries_credentials, is_url, placeholder

_OPERATORS = ("==", "!=", ">=", "<=", "~=", "=", ">", "<")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?")
_HEAD = re.compile(r"(?P<name>[^\s=<>!~|,\[\]]*)\s*(?P<rest>.*)", re.DOTALL)
_AROUND_OPERATORS = re.compile(r"\s*([=<>!~|,]+)\s*")
_OPERATOR = re.compile(r"[=<>!~]+")
_VERSION = re.compile(r"\^[^\s,|]+\$|\*|[0-9A-Za-z][0-9A-Za-z_.!+*-]*")
_BUILD = re.compile(r"[0-9A-Za-z_.+*!-]+|\^\S+\$")
_SIMPLE = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]*[A-Za-z0-9_]"
    r"(?: ?(?:==|>=|<=|=|>|<) ?[0-9][0-9A-Za-z]*(?:\.[0-9A-Za-z]+)*)?"
)
"""What most match specs are; it saves the closer look."""
_SPACED_BUILD = re.compile(r"[^\s,|(=<>!~]\s+=[^=]")
_PAIR = re.compile(r"\s*(?P<key>[a-z_0-9]+)\s*=\s*(?:'[^']*'|\"[^\"]*\"|[^\s,'\"\[\]]+)\s*")
_BRACKET_KEYS = {
    "build", "build_number", "channel", "extras", "features", "fn", "license", "license_family",
    "md5", "namespace", "name", "sha256", "subdir", "track_features", "url", "version", "when",
}  # fmt: skip
_FILES = (".conda", ".tar.bz2", ".whl", ".tar.gz", ".zip", ".txt", ".yml", ".yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a text is not what it should be, and what would be right."""

    message: str
    hint: str = ""


def match_spec_name(text: str) -> str:
    """Return the package's name in a match spec, in lower case as conda compares it."""
    head = _HEAD.match(text.strip().rpartition("::")[2])
    return head["name"].lower() if head else ""


def squeezed(text: str) -> str:
    """Return *text* without white space around operators, other runs of it being one space.

    What a match spec or a requirement means does not change.
    """
    return _AROUND_OPERATORS.sub(r"\1", " ".join(text.split()))


def match_spec_problem(text: str) -> Problem | None:
    """Return what is wrong with a match spec; None when it can be handed to a solver."""
    text = text.strip()
    if _SIMPLE.fullmatch(text):
        return None
    if found := _foreign(text):
        return found
    channel, separator, rest = text.rpartition("::")
    if separator:
        if not channel or "::" in channel or any(c.isspace() for c in channel):
            return Problem(
                message=f"{shown(text)} does not name one channel",
                hint="Write channel::package, such as conda-forge::numpy.",
            )
        if carries_credentials(channel):
            return Problem(
                message="The channel of a package holds credentials",
                hint="Remove them; they come from the login of the machine that locks.",
            )
    rest, bracket, inside = rest.partition("[")
    head = _HEAD.match(rest)
    name, version = (head["name"], head["rest"]) if head else ("", "")
    if not name:
        return Problem(
            message=f"{shown(text)} does not start with a package's name",
            hint="Write package=version, such as python=3.11.",
        )
    if not _NAME.fullmatch(name):
        return _bad_name(text, name)
    if bracket and (problem := _bracket_problem(text, name, inside)):
        return problem
    if _SPACED_BUILD.search(version):
        return Problem(
            message=f"{shown(text)} has a space before the '=' of the build",
            hint=f"Write {name}=version=build without spaces.",
        )
    return _version_problem(text, name, squeezed(version))


def _foreign(text: str) -> Problem | None:
    """Recognise what belongs somewhere else: templates, pip's options, markers and URLs."""
    pip = "Write it in the list of '- pip:'."
    if not text:
        return Problem(message="A dependency is empty", hint="Remove the line.")
    if left := placeholder(text):
        return Problem(
            message=f"{shown(left)} is a placeholder of a template", hint="Fill it in first."
        )
    if not text.isprintable():
        return Problem(message=f"{shown(text)} has a character in it that cannot be printed")
    if text.startswith("-"):
        return Problem(message=f"{shown(text)} is an option of pip, not a package", hint=pip)
    if text.startswith(("git+", "hg+", "svn+", "bzr+")) or re.search(r"\s@\s|@\s*[a-z+]+:", text):
        return Problem(message=f"{shown(text)} is a requirement of pip", hint=pip)
    if ";" in text:
        return Problem(
            message=f"{shown(text)} has a ';' in it: conda has no environment markers", hint=pip
        )
    if "::" not in text and is_url(text) and "//" in text:
        return Problem(
            message=f"{shown(text)} is the URL of a package",
            hint="Write package=version=build, and the channel in 'channels:'.",
        )
    return None


def _bad_name(text: str, name: str) -> Problem:
    if name.endswith(_FILES) or "/" in name or name.startswith("."):
        return Problem(
            message=f"{shown(text)} is a file, not a package",
            hint="Name packages of a channel; a wheel can stand in the list of '- pip:'.",
        )
    if ":" in name:
        return Problem(
            message=f"{shown(text)} has one ':' after the channel; two are needed",
            hint=f"Write {text.replace(':', '::', 1)}",
        )
    return Problem(
        message=f"{shown(name)} is not a package's name",
        hint="Names have letters, digits, '-', '_' and '.'.",
    )


def _bracket_problem(text: str, name: str, inside: str) -> Problem | None:
    body, closed, after = inside.rpartition("]")
    if not closed:
        return Problem(message=f"{shown(text)} has a '[' that is not closed", hint="Close it.")
    if "=" not in body:
        return Problem(
            message=f"{shown(text)} asks for extras, which only pip knows",
            hint=f"Write {name} without them, or the line in the list of '- pip:'.",
        )
    if after.strip():
        return Problem(
            message=f"{shown(after.strip())} stands after the ']'",
            hint="The version stands before the '[', or inside as version='…'.",
        )
    position = 0
    while position < len(body):
        pair = _PAIR.match(body, position)
        if pair is None:
            return Problem(
                message=f"{shown(body[position:])} is not key=value",
                hint=f"Write {name}[version='>=1', build='py*'].",
            )
        if pair["key"] not in _BRACKET_KEYS:
            near = nearest(pair["key"], _BRACKET_KEYS)
            return Problem(
                message=f"{shown(pair['key'])} is not a key of a match spec",
                hint=f"Did you mean '{near}'?" if near else "",
            )
        position = pair.end()
        if body[position : position + 1] == ",":
            position += 1
    return None


def _version_problem(text: str, name: str, version: str) -> Problem | None:
    """Check ``>=1,<2``, ``=1.2=build``, ``1.2 build``; white space is gone around operators."""
    if not version:
        return None
    rest = version
    while True:
        rest = rest.lstrip("(")
        operator = _OPERATOR.match(rest)
        if operator and operator[0] not in _OPERATORS:
            return _bad_operator(text, operator[0])
        rest = rest[operator.end() :] if operator else rest
        found = _VERSION.match(rest)
        if found is None:
            if not rest:
                return Problem(
                    message=f"{shown(text)} ends where a version should stand",
                    hint=f"Write {name} alone for any version, or {name}=1.2.",
                )
            return Problem(message=f"{shown(rest)} in {shown(text)} is not a version")
        rest = rest[found.end() :].lstrip(")")
        if not rest.startswith((",", "|")):
            break
        rest = rest[1:]
    if version.count("(") != version.count(")"):
        return Problem(message=f"{shown(text)} has a bracket that is not closed")
    if not rest:
        return None
    if _OPERATOR.match(rest) and not re.match(r"=[^=<>!~]", rest):
        return Problem(
            message=f"{shown(text)} has two conditions with nothing between them",
            hint="Put a comma between them, as in numpy>=1,<2.",
        )
    if rest[0] in " =" and _BUILD.fullmatch(rest[1:]):
        return None
    return Problem(
        message=f"{shown(rest.strip(' ='))} in {shown(text)} is not a build",
        hint="Write package=version or package=version=build.",
    )


def _bad_operator(text: str, operator: str) -> Problem:
    right = {"=>": ">=", "=<": "<=", "===": "==", "=!": "!=", "=~": "~=", "<>": "!="}.get(operator)
    return Problem(
        message=f"{shown(operator)} in {shown(text)} is not an operator",
        hint=f"Write {right}" if right else f"Operators are {', '.join(_OPERATORS)}.",
    )

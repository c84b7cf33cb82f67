"""Lines of a pip section or a requirements file: what kind of thing each one is.

Source: https://pip.pypa.io/en/stable/reference/requirements-file-format/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement

from envsync.model.document import nearest, shown
from envsync.model.match_spec import Problem
from envsync.model.places import carries_credentials, is_url, placeholder

LineKind = Literal["requirement", "include", "constraints", "wheel", "source", "option"]

_PINNED = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:\s*(?:==|>=|<=|~=|!=|<|>)\s*[0-9]+(?:\.[0-9]+)*)?"
)
"""What most lines are; it saves the full parser."""
_OPTION = re.compile(r"(?P<option>--?[A-Za-z][A-Za-z-]*?)(?:[=\s]\s*(?P<value>\S.*))?")
_SHORT = re.compile(r"(?P<option>-[rcefi])(?P<value>[^\s=-].*)")
_LONG = {
    "-r": "--requirement", "-c": "--constraint", "-e": "--editable", "-f": "--find-links",
    "-i": "--index-url", "--pypi-url": "--index-url",
}  # fmt: skip
_WITH_VALUE = {
    "--extra-index-url", "--find-links", "--index-url", "--no-binary", "--only-binary",
    "--trusted-host", "--use-feature",
}  # fmt: skip
_ALONE = {"--no-index", "--pre", "--prefer-binary", "--require-hashes"}
_KNOWN = {*_WITH_VALUE, *_ALONE, "--requirement", "--constraint", "--editable"}
_VCS = re.compile(r"(?:git|hg|svn|bzr)(?:\+|://)")
_ARCHIVES = (".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz", ".tar")
_HASHES = re.compile(r"(?:\s+--hash[=\s]\s*[a-z0-9]+:[0-9A-Fa-f]+)+")
_TEXT_LIMIT = 4096
_CREDENTIALS = Problem(
    message="A URL holds a user, a password or a token",
    hint="Remove them; they come from the login of the machine that locks.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementLine:
    """One line and its kind."""

    kind: LineKind
    text: str
    """As written, without white space around it."""
    target: str = ""
    """The file that an include, constraints, a wheel or a local source names; '' otherwise."""


def read_requirement_line(text: str) -> RequirementLine | Problem:
    """Tell what a line of a pip section is, or what is wrong with it."""
    text = text.strip()
    if len(text) > _TEXT_LIMIT:
        return Problem(message=f"{shown(text)} has more than {_TEXT_LIMIT:,} characters")
    if _PINNED.fullmatch(text) and not text.endswith((".whl", *_ARCHIVES)):
        return RequirementLine(kind="requirement", text=text)
    if not text:
        return Problem(message="A requirement is empty", hint="Remove the line.")
    if not text.isprintable():
        return Problem(message=f"{shown(text)} has a character in it that cannot be printed")
    if carries_credentials(text):
        return _CREDENTIALS
    if "${" in text:
        # pip and uv put variables of the machine there: what is secret would go to any host.
        return Problem(
            message=f"{shown(text)} names a variable of the machine that locks",
            hint="Write the value out; logins come from the machine's own settings.",
        )
    if text.startswith("-"):
        return _option(text)
    if "::" in text:
        return Problem(
            message=f"{shown(text)} names a conda channel",
            hint="Write it in 'dependencies:', outside of '- pip:'.",
        )
    if _VCS.match(text):
        return RequirementLine(kind="source", text=text)
    if is_url(text):
        if text.startswith("file:"):
            return Problem(
                message=f"{shown(text)} is a path of one machine",
                hint="Put the wheel beside the file and write ./wheels/name.whl",
            )
        address, rest = _without_hashes(text)
        if rest:
            return _more_than_one(text)
        whole = address.partition("#")[0].endswith(".whl") and len(address.split()) == 1
        return RequirementLine(kind="requirement" if whole else "source", text=text)
    bare = text.partition("#")[0].strip().partition(" --")[0].rstrip()
    if bare.endswith(".whl") and "@" not in bare:
        return RequirementLine(kind="wheel", text=text, target=bare)
    if " @ " not in text and (
        text.startswith((".", "/", "~")) or "\\" in text or bare.endswith(_ARCHIVES)
    ):
        return RequirementLine(kind="source", text=text, target=_without_extras(bare))
    return _requirement(text)


def requirement_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that say something in a requirements file.

    Comments are gone and continued lines are joined; the number is that of the first line.
    """
    start, held = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        start = start or number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            held += f"{line[:-1].strip()} "
            continue
        whole = held + (line.lstrip() if held else line)
        comment = re.search(r"(?:^|\s)#", whole)
        cut = whole[: comment.start() if comment else None].strip()
        if cut:
            yield start, cut
        start, held = 0, ""
    if held.strip():
        yield start, held.strip()


def _without_extras(path: str) -> str:
    return re.sub(r"\[[^\]]*\]$", "", path)


def _option(text: str) -> RequirementLine | Problem:
    found = _SHORT.fullmatch(text) or _OPTION.fullmatch(text)
    if found is None:
        return Problem(message=f"{shown(text)} is neither an option of pip nor a requirement")
    option = _LONG.get(found["option"], found["option"])
    value = (found["value"] or "").strip()
    if option not in _KNOWN:
        near = nearest(option, _KNOWN)
        return Problem(
            message=f"{shown(found['option'])} is not an option that envsync knows",
            hint=f"Did you mean '{near}'?" if near else f"Known: {', '.join(sorted(_KNOWN))}.",
        )
    if option in {"--requirement", "--constraint", "--editable"}:
        value = value.strip("\"'")
        if not value:
            return Problem(message=f"{shown(found['option'])} needs a file after it")
    if option == "--requirement":
        return RequirementLine(kind="include", text=text, target=value)
    if option == "--constraint":
        return RequirementLine(kind="constraints", text=text, target=value)
    if option == "--editable":
        local = "" if _VCS.match(value) or is_url(value) else _without_extras(value)
        return RequirementLine(kind="source", text=text, target=local)
    return _options(text)


def _options(text: str) -> RequirementLine | Problem:
    """Check a line of one or several options: ``--pre --index-url URL``."""
    words = text.replace("=", " ", 1).split() if "=" in text.split()[0] else text.split()
    position = 0
    while position < len(words):
        word, equals, _ = words[position].partition("=")
        option = _LONG.get(word, word)
        position += 1
        if option in _ALONE:
            continue
        if option not in _WITH_VALUE:
            return Problem(
                message=f"{shown(word)} cannot stand in {shown(text)}",
                hint="Write each option on a line of its own.",
            )
        if equals:
            continue
        if position == len(words) or words[position].startswith("-"):
            return Problem(message=f"{shown(word)} needs a value after it")
        position += 1
    return RequirementLine(kind="option", text=text)


def _requirement(text: str) -> RequirementLine | Problem:
    bare, rest = _without_hashes(text)
    if rest:
        return _more_than_one(text)
    try:
        requirement = Requirement(bare)
    except (InvalidRequirement, RecursionError):
        return _bad_requirement(text)
    url = requirement.url or ""
    if url.startswith("file:") or (url and not is_url(url)):
        return Problem(
            message=f"{shown(text)} names a path after the '@'",
            hint="Put the wheel beside the file and write ./wheels/name.whl",
        )
    if url and not url.partition("#")[0].endswith(".whl"):
        return RequirementLine(kind="source", text=text)
    return RequirementLine(kind="requirement", text=text)


def _without_hashes(text: str) -> tuple[str, str]:
    """Return a requirement without its hashes, and what else follows it, which may be nothing.

    Whatever uv reads as an option of the requirement must have been understood here: ``-r`` would
    make it read another file.
    """
    found = re.search(r"\s-", text)
    if found is None:
        return text, ""
    options = text[found.start() :]
    return text[: found.start()], "" if _HASHES.fullmatch(options) else options.strip()


def _more_than_one(text: str) -> Problem:
    return Problem(
        message=f"{shown(text)} has more than a requirement in it",
        hint="Only '--hash=sha256:…' can follow; write anything else on a line of its own.",
    )


def _bad_requirement(text: str) -> Problem:
    if left := placeholder(text):
        return Problem(
            message=f"{shown(left)} is a placeholder of a template", hint="Fill it in first."
        )
    single = re.fullmatch(r"([A-Za-z0-9._-]+(?:\[[^\]]*\])?)\s*=\s*([^=<>!~\s].*)", text)
    if single:
        return Problem(
            message=f"{shown(text)} has one '='; pip needs two",
            hint=f"Write {single[1]}=={single[2]}",
        )
    for wrong, right in (("=>", ">="), ("=<", "<=")):
        if wrong in text:
            return Problem(
                message=f"{shown(wrong)} in {shown(text)} is not an operator",
                hint=f"Write {right}",
            )
    if "/" in text:
        return Problem(
            message=f"{shown(text)} is not a requirement of pip",
            hint=f"A folder or file of the repository starts with './': ./{text}",
        )
    return Problem(
        message=f"{shown(text)} is not a requirement of pip",
        hint="After the ';' stands a marker, such as python_version < '3.12'."
        if ";" in text
        else "Write a name and, if needed, versions: numpy, numpy==1.26.4, numpy>=1,<2.",
    )

"""What a YAML syntax error means, in words for people who do not know YAML's grammar."""

from __future__ import annotations

import re

import yaml

from envsync.errors import Fault, Position
from envsync.model.document import shown

_OTHER = "Name a YAML file."
_PLACEHOLDER = re.compile(r"\{\{.*?\}\}|\{\{[^}]*$|\{%.*?%\}")


def explain(error: yaml.YAMLError, text: str, path: str) -> Fault:
    """Return the fault that says what PyYAML's or libyaml's *error* in *text* means."""
    if path.endswith(".toml"):
        return Fault(
            where=Position(file=path), message="The file is TOML, and must be YAML", hint=_OTHER
        )
    if isinstance(error, yaml.reader.ReaderError):
        return _unprintable(error, text, path)
    if not isinstance(error, yaml.MarkedYAMLError):
        # libyaml's Cython layer raises a bare YAMLError only when memory runs out.
        return Fault(where=Position(file=path), message=f"The file is not YAML: {error}")
    mark = error.problem_mark or error.context_mark
    if error.context_mark and _opens(error):
        mark = error.context_mark  # where it opens says more than where the file ends
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    lines = text.split("\n")
    source = lines[line - 1] if 0 < line <= len(lines) else ""
    message, hint = _words(error, source, column)
    return Fault(where=Position(file=path, line=line, column=column), message=message, hint=hint)


def _opens(error: yaml.MarkedYAMLError) -> bool:
    """Tell whether *error* is about something left open: brackets, a quote, a key."""
    context = error.context or ""
    if "quoted scalar" in context:
        return "unexpected end" in (error.problem or "")
    return "flow" in context or "could not find expected ':'" in (error.problem or "")


def _unprintable(error: yaml.reader.ReaderError, text: str, path: str) -> Fault:
    # libyaml counts bytes here and PyYAML characters, so the place is found again in the text.
    found = re.search("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    start = found.start() if found else 0
    code = ord(found[0]) if found else 0
    return Fault(
        where=Position(
            file=path,
            line=text.count("\n", 0, start) + 1,
            column=start - text.rfind("\n", 0, start),
        ),
        message=f"The character U+{code:04X} is not allowed in YAML",
        hint="Remove it; an editor that shows invisible characters helps.",
    )


def _words(error: yaml.MarkedYAMLError, source: str, column: int) -> tuple[str, str]:
    problem = error.problem or ""
    context = error.context or ""
    rest = source[column - 1 :] if column else source
    if placeholder := _PLACEHOLDER.search(source):
        return (
            f"{shown(placeholder[0])} is a placeholder of a template, not YAML",
            "Fill it in, or quote it."
            if placeholder[0].startswith("{{")
            else "Fill the template in first.",
        )
    if rest.startswith("\t") or ("\t" in source[: len(source) - len(source.lstrip())]):
        return ("A tab cannot indent YAML", "Use spaces.")
    if "mapping values are not allowed" in problem:
        return (
            "A ': ' cannot stand here: a second one on its line, or the line is indented too deep",
            "Put text that contains ': ' in quotes, or correct the indentation.",
        )
    if rest.startswith("@EXPLICIT"):
        return (
            "This is an explicit list of packages, not a conda environment file",
            "Write a file with 'dependencies:'; 'envsync lock' makes the exact list.",
        )
    if "cannot start any token" in problem:
        return (
            f"A value cannot start with {shown(rest[:1])}",
            "Put the value in quotes.",
        )
    if "alias" in context or "anchor" in context:
        return (
            f"A value cannot start with {shown(rest[:1] or source.strip()[:1])}"
            if rest[:1] in {"*", "&"}
            else "A value that starts with '*' or '&' must be quoted",
            "Put the value in quotes.",
        )
    if "could not find expected ':'" in problem:
        return ("This is neither 'key: value' nor '- item'", "Is a ':' missing?")
    if "quoted scalar" in context:
        if _opens(error):
            return ("The quote that opens here is not closed", "Close it.")
        return (
            "There is an unknown '\\' escape in text in double quotes",
            "Write '\\\\' for a backslash, or use single quotes.",
        )
    if "flow" in context:
        opened = f"The {shown(rest[:1])} that opens here" if rest[:1] in {"[", "{"} else "A bracket"
        return (f"{opened} is not closed properly", "Check commas and brackets.")
    if "block scalar" in context:
        return ("After '|' or '>' the text must start on the next line", "")
    if rest[:1] in {"]", "}", ","}:
        return (f"The {shown(rest[:1])} closes or divides nothing", "Check commas and brackets.")
    if "block" in context:
        return (
            "The line does not fit the lines before it",
            "Lines of one list or map start in the same column: 'key: value' or '- item'.",
        )
    if "document start" in problem:
        return ("Something follows the end of the YAML document", "Remove it, or quote it.")
    return (f"The file is not YAML: {problem or context or error}", "")

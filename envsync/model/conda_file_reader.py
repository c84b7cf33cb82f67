"""From the nodes of a conda environment file to a `CondaFile`, with every fault found.

Source: https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from envsync.errors import Position
from envsync.model.document import (
    Faults,
    Mapping,
    Node,
    Scalar,
    Sequence,
    absent,
    as_mapping,
    as_text,
    as_text_map,
    as_texts,
    check_keys,
    described,
    nearest,
    shown,
)
from envsync.model.match_spec import match_spec_problem
from envsync.model.places import carries_credentials, placeholder
from envsync.model.spec import CondaFile

KEYS = ("name", "channels", "dependencies", "variables", "prefix")
_ADVICE = {
    "platforms": "Write it in environment.yaml: under 'envsync:', as 'platforms:'.",
    "platform": "Write it in environment.yaml: under 'envsync:', as 'platforms:'.",
    "category": "It is conda-lock's, and means nothing to conda; remove it.",
    "environment_variables": "A conda file calls them 'variables'.",
    "pip": "Write it as the last item of 'dependencies:', as '- pip:'.",
    "package": "This is a lock file of conda-lock; conda_file names the file it was made from.",
    "image": "This belongs to the environment file, which names this file as 'conda_file:'.",
}
_PIP_LIST = (
    "Write 'dependencies:' first; a list of pip requirements is named there, below '- pip:', as"
    " '- -r requirements.txt'."
)
_NEEDS = "Write 'dependencies:' and below it '- python=3.11', for example."
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[0-9.]+")
NODEFAULTS = "nodefaults"


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaDraft:
    """A conda file by itself: the lines of its pip section are not read yet."""

    file: CondaFile
    """Without `CondaFile.pip` and what follows from it."""
    pip: tuple[Scalar, ...] = ()


def read_conda_file(root: Node, faults: Faults, *, path: str | None) -> CondaDraft:
    """Read a conda environment file, or the same inline (*path* is None)."""
    document = as_mapping(root, "A conda file", faults, _PIP_LIST)
    if document is not None and _is_another(document, faults):
        return CondaDraft(file=CondaFile(path=path))
    if document is None:
        if absent(root):
            faults.add(Position(file=root.where.file), "The file is empty", _NEEDS)
        return CondaDraft(file=CondaFile(path=path))
    check_keys(document, KEYS, "a conda file", faults, _ADVICE)
    as_text(document.get("name"), "'name'", faults)
    as_text(document.get("prefix"), "'prefix'", faults)
    channels = read_channels(document.get("channels"), faults)
    dependencies, pip = _dependencies(document, faults)
    return CondaDraft(
        file=CondaFile(
            channels=tuple(channel for channel in channels if channel != NODEFAULTS),
            nodefaults=NODEFAULTS in channels,
            dependencies=dependencies,
            variables=read_variables(document.get("variables"), "'variables'", faults),
            path=path,
        ),
        pip=pip,
    )


def _is_another(document: Mapping, faults: Faults) -> bool:
    """Tell whether this is a file of another kind, and then say so and nothing more."""
    if document.key("dependencies") is not None:
        return False
    for keys, kind, hint in (
        (
            ("image", "build", "conda_file"),
            "an environment file",
            "'conda_file' names another file, which has 'dependencies:'.",
        ),
        (
            ("package", "metadata"),
            "a lock file of conda-lock",
            "'conda_file' names the file that it was made from.",
        ),
    ):
        key = next((name for name, _ in document.entries if name.text in keys), None)
        if key is not None:
            faults.add(
                key.where, f"{shown(key.text)} stands here: this is {kind}, not a conda file", hint
            )
            return True
    return False


def read_channels(node: Node | None, faults: Faults) -> tuple[str, ...]:
    """Read a list of channels, in priority order."""
    channels = []
    for item in as_texts(node, "'channels'", faults):
        channel = item.text.strip()
        if carries_credentials(channel):
            faults.add(
                item.where,
                "A channel holds a user, a password or a token",
                "Remove them; they come from the login of the machine that locks.",
            )
        elif left := placeholder(channel):
            faults.add(
                item.where,
                f"{shown(left)} is a placeholder; nothing fills it in",
                "Write the channel itself.",
            )
        elif not channel.isprintable() or " " in channel:
            faults.add(item.where, f"{shown(channel)} is not a channel")
        elif channel in channels:
            faults.add(item.where, f"The channel {shown(channel)} stands twice", "Keep the first.")
        else:
            channels.append(channel)
    return tuple(channels)


def read_variables(node: Node | None, what: str, faults: Faults) -> dict[str, str]:
    """Read environment variables: text by name."""
    variables = {}
    mapping = as_text_map(node, what, faults)
    for key, value in mapping.items():
        if not _VARIABLE.fullmatch(key):
            faults.add(
                value.where,
                f"{shown(key)} in {what} is not the name of an environment variable",
                "Names have letters, digits and '_', and do not start with a digit.",
            )
        elif "\0" in value.text:
            faults.add(value.where, f"The value of {shown(key)} has a NUL character in it")
        else:
            variables[key] = "" if value.is_null else value.text
    return variables


def _dependencies(document: Mapping, faults: Faults) -> tuple[tuple[str, ...], tuple[Scalar, ...]]:
    node = document.get("dependencies")
    if node is None or absent(node) or (isinstance(node, Sequence) and not node.items):
        key = document.key("dependencies")
        unknown = [name.text for name, _ in document.entries if name.text not in KEYS]
        if key is None and any(nearest(text, KEYS) == "dependencies" for text in unknown):
            return (), ()  # told of already, as a key that is not known
        faults.add(
            key.where if key else document.where,
            "The conda file lists no dependencies",
            _NEEDS,
        )
        return (), ()
    if not isinstance(node, Sequence):
        faults.add(
            node.where,
            f"'dependencies' is {described(node)}; it must be a list",
            "Write '- ' before each package.",
        )
        return (), ()
    specs: list[str] = []
    pip: list[Node] = []
    for item in node.items:
        if isinstance(item, Scalar):
            if _is_match_spec(item, faults):
                specs.append(item.text.strip())
        elif isinstance(item, Mapping):
            pip.extend(_pip_sections(item, faults))
        else:
            faults.add(
                item.where,
                "A dependency is a list; it must be text",
                "Remove one of the '- ' before it.",
            )
    for second in pip[1:]:
        faults.add(second.where, "A second '- pip:' section", "Write one, with all requirements.")
    return tuple(specs), as_texts(pip[0] if pip else None, "'pip'", faults)


def _is_match_spec(item: Scalar, faults: Faults) -> bool:
    text = item.text.strip()
    if item.style == "plain" and _NUMBER.fullmatch(text):
        faults.add(
            item.where,
            f"{text} is a number; the name of a package must stand before it",
            f"Write python={text} if Python is meant.",
        )
        return False
    problem = match_spec_problem("" if item.is_null else text)
    if problem is not None:
        faults.add(item.where, problem.message, problem.hint)
    return problem is None


def _pip_sections(item: Mapping, faults: Faults) -> list[Node]:
    """Return the value of ``pip:`` in an item of the dependencies; other keys are faults."""
    sections = []
    for key, value in item.entries:
        if key.text == "pip":
            sections.append(value)
        elif isinstance(value, Scalar):
            version = "" if value.is_null else value.text.strip()
            faults.add(
                key.where,
                f"{shown(f'{key.text}: {version}'.strip())} is a map; a dependency is one text",
                f"Write {key.text}={version}"
                if _NUMBER.match(version)
                else "Write each package as one text, such as '- python=3.11'.",
            )
        else:
            faults.add(
                key.where,
                f"{shown(key.text)} cannot hold {described(value)}: only 'pip' can hold a list",
                "Write the packages as items of 'dependencies:'.",
            )
    return sections

"""A conda file put together by a program, as the older SDK of Azure ML has it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from envsync.errors import Fault, InvalidInput, Position
from envsync.model.conda_file_reader import NODEFAULTS, CondaDraft, read_channels, read_conda_file
from envsync.model.document import Faults, Scalar, Sequence
from envsync.model.match_spec import Problem, match_spec_name, match_spec_problem
from envsync.model.requirement_line import read_requirement_line
from envsync.model.spec import CondaFile
from envsync.model.yaml_text import Plain, render_yaml

SAVED_AS = "conda_dependencies.yml"
_HERE = Position(file="conda_dependencies")


@dataclass(slots=True, kw_only=True)
class CondaDependencies:
    """Channels and packages, in the order in which they stand in a conda file.

    Unlike the other values of envsync it changes: that is what its methods are for. What is added
    is checked at once, and InvalidInput says what would be right.
    """

    channels: list[str] = field(default_factory=list)
    """The first one is preferred; none means the repository's default channels."""
    conda_packages: list[str] = field(default_factory=list)
    """Match specs, such as ``python=3.11``."""
    pip_packages: list[str] = field(default_factory=list)
    """Lines as in a requirements file, such as ``flask>=3`` or ``./wheels/own-1-py3-none-any.whl``.
    """
    variables: dict[str, str] = field(default_factory=dict)
    """Environment variables that are set in the image."""

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> CondaDependencies:
        """Read a conda file; InvalidInput has every fault of it."""
        from envsync.adapters.git.worktree import WorkTree

        file = Path(path)
        data = WorkTree(file.parent).read(file.name)
        if data is None:
            raise InvalidInput(f"There is no file {file}")
        return cls._parsed(data, str(file))

    @classmethod
    def from_string(cls, text: str) -> CondaDependencies:
        """Read the text of a conda file; InvalidInput has every fault of it."""
        return cls._parsed(text.encode(), "conda.yaml")

    @classmethod
    def of(cls, conda: CondaFile) -> CondaDependencies:
        """Return what a conda file of a spec says; requirements files stand with their lines."""
        return cls(
            channels=[*conda.channels, *([NODEFAULTS] if conda.nodefaults else [])],
            conda_packages=list(conda.dependencies),
            pip_packages=list(conda.pip),
            variables=dict(conda.variables),
        )

    @classmethod
    def _parsed(cls, data: bytes, name: str) -> CondaDependencies:
        from envsync.adapters.files.strict_yaml import parse_document

        faults = Faults()
        root = parse_document(data, name, faults)
        draft = CondaDraft(file=CondaFile())
        if root is not None:
            draft = read_conda_file(root, faults, path=name)
        faults.check(f"{name} cannot be used")
        found = cls.of(draft.file)
        found.pip_packages = [item.text for item in draft.pip]
        return found

    def add_channel(self, channel: str) -> None:
        """Add a channel behind the others; one that is there stays where it is."""
        faults = Faults()
        read_channels(
            Sequence(where=_HERE, items=(Scalar(where=_HERE, text=channel, style="double"),)),
            faults,
        )
        _refuse(f"{channel!r} is not a channel", faults)
        if channel not in self.channels:
            self.channels.append(channel)

    def add_conda_package(self, package: str) -> None:
        """Add a package by its match spec; it takes the place of an earlier one of its name."""
        problem = match_spec_problem(package)
        if problem is not None:
            raise _refused("a conda package", package, problem)
        _put(self.conda_packages, package, match_spec_name)

    def add_pip_package(self, package: str) -> None:
        """Add a line to the pip section; it takes the place of an earlier one of its name."""
        line = read_requirement_line(package)
        if isinstance(line, Problem):
            raise _refused("a pip package", package, line)
        _put(self.pip_packages, package, _pip_name)

    def serialize_to_string(self) -> str:
        """Return the conda file as YAML."""
        document: dict[str, Plain] = {}
        if self.channels:
            document["channels"] = list(self.channels)
        dependencies: list[Plain] = [*self.conda_packages]
        if self.pip_packages:
            dependencies.append({"pip": list(self.pip_packages)})
        document["dependencies"] = dependencies
        if self.variables:
            document["variables"] = dict(self.variables)
        return render_yaml(document)

    def save(self, path: str | os.PathLike[str] = SAVED_AS) -> Path:
        """Write the conda file and return its path; a file that is there is replaced."""
        from envsync.adapters.files.new_files import NewFiles

        file = Path(path)
        NewFiles(file.parent).replace(file.name, self.serialize_to_string().encode())
        return file


def _put(items: list[str], text: str, name_of: Callable[[str], str]) -> None:
    name = name_of(text)
    places = [number for number, item in enumerate(items) if name_of(item) == name]
    if places:
        items[places[0]] = text
    else:
        items.append(text)


def _pip_name(text: str) -> str:
    """Return what a line of a pip section is about: a distribution, or the line itself."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return canonicalize_name(Requirement(text).name)
    except InvalidRequirement:
        return text


def _refused(what: str, text: str, problem: Problem) -> InvalidInput:
    fault = Fault(where=_HERE, message=problem.message, hint=problem.hint)
    return InvalidInput(
        f"{text!r} cannot be {what}", detail=problem.message, hint=problem.hint, faults=(fault,)
    )


def _refuse(summary: str, faults: Iterable[Fault]) -> None:
    found = tuple(faults)
    if found:
        raise InvalidInput(summary, detail=found[0].message, hint=found[0].hint, faults=found)

"""Load: from a tree of files to the repository's settings and specs, faults kept apart by name."""

from __future__ import annotations

import difflib
import fnmatch
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from envsync.errors import Fault, InvalidInput, Position
from envsync.model.conda_file_reader import CondaDraft, read_conda_file
from envsync.model.config import CONFIG_FILE, ENVIRONMENTS, Config
from envsync.model.config_reader import read_config
from envsync.model.dockerfile import uses
from envsync.model.document import Faults, Node, shown
from envsync.model.names import is_name
from envsync.model.spec import BuildContext, CondaFile, Spec
from envsync.model.spec_reader import SpecDraft, read_spec, reserved
from envsync.ports.documents import ParseDocument
from envsync.ports.tree import Tree

SPEC_FILES = ("environment.yaml", "environment.yml")
DOCKERFILE_LIMIT = 1024 * 1024
"""Azure ML's limit for a Dockerfile, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """What a tree says: settings and environments; a broken environment blocks no other."""

    config: Config
    specs: Mapping[str, Spec] = field(default_factory=dict)
    """By name, sorted."""
    broken: Mapping[str, InvalidInput] = field(default_factory=dict)
    """By name of the folder, sorted: what is wrong with the environments that did not load."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All faults of all environments, by file and place."""
        faults = Faults()
        for error in self.broken.values():
            faults.extend(error.faults)
        return tuple(faults)

    def check(self) -> None:
        """Raise one InvalidInput with all faults when any environment is broken."""
        if self.broken:
            total = len(self.broken) + len(self.specs)
            raise InvalidInput(
                f"{len(self.broken)} of {total} environments cannot be used", faults=self.faults
            )


def load_repository(tree: Tree, parse: ParseDocument, names: Sequence[str] = ()) -> Repository:
    """Load settings and the environments that *names* (globs too) select; none selects all.

    Raises InvalidInput when the settings are wrong or a name selects nothing.
    """
    faults = Faults()
    config = load_config(tree, parse, faults)
    faults.check(f"{CONFIG_FILE} cannot be used")
    specs: dict[str, Spec] = {}
    broken: dict[str, InvalidInput] = {}
    for name in select(environment_names(tree), names):
        try:
            specs[name] = load_environment(tree, parse, name)
        except InvalidInput as error:
            broken[name] = error
    return Repository(config=config, specs=specs, broken=broken)


def load_config(tree: Tree, parse: ParseDocument, faults: Faults) -> Config:
    """Load ``envsync.yaml``; a repository without one has the defaults."""
    data = _read(tree, CONFIG_FILE, Position(file=CONFIG_FILE), faults)
    root = None if data is None else parse(data, CONFIG_FILE, faults)
    return Config() if root is None else read_config(root, faults)


def environment_names(tree: Tree) -> tuple[str, ...]:
    """Return the names of the folders below ``environments/``; hidden ones do not count."""
    return tuple(
        entry.removesuffix("/")
        for entry in tree.list(ENVIRONMENTS)
        if entry.endswith("/") and not entry.startswith(".")
    )


def select(known: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the *known* names that *names*, globs or plain, select; without any, all of them.

    Raises InvalidInput, with the nearest known names, for each that selects nothing.
    """
    if not names:
        return tuple(known)
    selected = set[str]()
    hints = []
    unknown = []
    for name in names:
        found = (
            {name} if name in known else {one for one in known if fnmatch.fnmatchcase(one, name)}
        )
        selected |= found
        if not found:
            unknown.append(name)
            hints += difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if unknown:
        listed = ", ".join(map(shown, unknown))
        near = ", ".join(dict.fromkeys(hints))
        raise InvalidInput(
            f"There is no environment {listed}",
            detail="" if known else f"There is no folder below {ENVIRONMENTS}/ at all.",
            hint=f"Did you mean: {near}?" if near else "",
        )
    return tuple(name for name in known if name in selected)


def load_environment(tree: Tree, parse: ParseDocument, name: str) -> Spec:
    """Load the environment of the folder *name*; InvalidInput has every fault of its files."""
    faults = Faults()
    folder = f"{ENVIRONMENTS}/{name}"
    here = Position(file=folder)
    if not is_name(name):
        faults.add(
            Position(file=ENVIRONMENTS),  # the folder's own name may not be fit to print
            f"The folder {shown(name)} has no name that an environment can have",
            "Names have letters, digits, '-' and '_', at most 255, and start with a letter or"
            " digit.",
        )
    elif problem := reserved(name):
        faults.add(here, problem, "Choose another name; images of Azure ML can be used.")
    files = [file for file in SPEC_FILES if file in tree.list(folder)]
    if not files:
        faults.add(
            here,
            f"There is no {SPEC_FILES[0]} in this folder",
            f"Add one, or keep what is shared outside of {ENVIRONMENTS}/.",
        )
    elif len(files) > 1:
        faults.add(here, f"There are {' and '.join(files)} in this folder", "Keep one of them.")
    faults.check(_summary(name))
    return load_spec(tree, parse, f"{folder}/{files[0]}", name=name)


def load_spec(tree: Tree, parse: ParseDocument, path: str, *, name: str | None) -> Spec:
    """Load an environment YAML and what it names; *name* None takes the file's own.

    Raises InvalidInput with every fault of the environment YAML and of the files that it names.
    """
    faults = Faults()
    root = _document(tree, parse, path, Position(file=path), faults)
    if root is None:
        faults.check(_summary(name or path))
        raise AssertionError("a document that does not parse has a fault")
    draft = read_spec(root, faults, path=path, name=name)
    conda = _conda(tree, parse, draft, faults)
    spec = replace(draft.spec, conda=conda, build=_build(tree, draft, faults))
    faults.check(_summary(name or path))
    return spec


def _summary(name: str) -> str:
    return f"The environment {shown(name)} cannot be used"


def _read(tree: Tree, path: str, named_at: Position, faults: Faults) -> bytes | None:
    try:
        return tree.read(path)
    except InvalidInput as error:
        detail = f": {error.detail}" if error.detail else ""
        faults.add(named_at, f"{error.summary}{detail}".removesuffix("."), error.hint)
        return None


def _document(
    tree: Tree, parse: ParseDocument, path: str, named_at: Position, faults: Faults
) -> Node | None:
    before = len(faults)
    data = _read(tree, path, named_at, faults)
    if data is not None:
        return parse(data, path, faults)
    if len(faults) == before:
        folder, name = posixpath.split(path)
        listed = tree.list(folder)
        if f"{name}/" in listed:
            faults.add(named_at, f"{path} is a folder", "Name the file in it.")
            return None
        near = difflib.get_close_matches(name, [n for n in listed if not n.endswith("/")], n=1)
        faults.add(
            named_at,
            f"There is no file {path} in {tree.label}",
            f"Did you mean {near[0]}?"
            if near
            else "Paths are relative to the file that they stand in.",
        )
    return None


def _conda(tree: Tree, parse: ParseDocument, draft: SpecDraft, faults: Faults) -> CondaFile | None:
    conda: CondaDraft | None = draft.conda
    if draft.conda_path:
        named_at = draft.named_at or Position(file=draft.spec.path)
        root = _document(tree, parse, draft.conda_path, named_at, faults)
        if root is None:
            return None
        conda = read_conda_file(root, faults, path=draft.conda_path)
    if conda is None:
        return None
    base = posixpath.dirname(draft.conda_path or draft.spec.path)
    # It takes a library that a plan of unchanged specs does not need.
    from envsync.operations.requirements import read_pip_section

    section = read_pip_section(tree, conda.pip, base, faults)
    return replace(
        conda.file,
        pip=section.requirements,
        pip_constraints=section.constraints,
        wheels=section.wheels,
    )


def _build(tree: Tree, draft: SpecDraft, faults: Faults) -> BuildContext | None:
    """Read the Dockerfile that a build context of the repository has."""
    build = draft.spec.build
    if build is None or build.remote:
        return build
    named_at = draft.named_at or Position(file=draft.spec.path)
    path = build.file
    before = len(faults)
    data = _read(tree, path, named_at, faults)
    if data is not None and len(data) > DOCKERFILE_LIMIT:
        faults.add(
            named_at,
            f"{path} has {len(data):,} bytes; a Dockerfile has at most {DOCKERFILE_LIMIT:,}",
            "Is it the right file? What an image needs can be copied with COPY.",
        )
    if data is None and len(faults) == before:
        faults.add(
            named_at,
            f"There is no file {path} in {tree.label}",
            "'path' is the folder of the build context, 'dockerfile_path' a file in it.",
        )
    if data is None:
        return build
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        faults.add(named_at, f"{path} is not UTF-8 text (byte {error.start})")
        return build
    uses(text, draft.spec.settings.build_arguments, path, faults)
    return replace(build, dockerfile=text)

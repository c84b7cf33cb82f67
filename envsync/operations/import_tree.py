"""Import: a whole tree of Azure ML YAML files into ``environments/``, with an account of it.

Each environment is written whole or not at all, nothing is overwritten, and what is not taken over
is reported with its place and the reason.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace

from envsync.errors import Fault, InvalidInput, Position
from envsync.model.conda_file_reader import CondaDraft
from envsync.model.config import ENVIRONMENTS
from envsync.model.document import Faults, Mapping, Scalar, shown
from envsync.model.names import is_name
from envsync.model.places import is_url, placeholder
from envsync.model.spec import Spec
from envsync.model.spec_reader import SpecDraft, read_spec, reserved
from envsync.model.yaml_text import Plain, plain_of, render_yaml, replaced
from envsync.operations.copied_files import SourceFile, copied_conda, copy_line
from envsync.operations.import_found import Found, all_files, harvest
from envsync.operations.load import SPEC_FILES, environment_names, load_environment, load_repository
from envsync.operations.new import SCHEMA
from envsync.operations.new_saved import Carried, carry_saved
from envsync.operations.overlay import Overlay
from envsync.ports.documents import ParseDocument
from envsync.ports.files import FileWriter
from envsync.ports.tree import Tree

_CONTEXT = "context"
_CONTEXT_LIMIT = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportChoices:
    """What an import takes."""

    jobs: bool = False
    """Also environments that stand within jobs, components and deployments."""
    inside: str | None = None
    """Path of the imported folder in the repository; None when it is elsewhere. Build contexts of
    the repository are used where they are, others are copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """An environment that was written."""

    name: str
    where: Position
    files: tuple[str, ...]
    renamed: str = ""
    """Why it is not called as it was; '' when it is."""
    notes: tuple[Fault, ...] = ()
    """What of it is not carried over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Same:
    """An environment that says what an imported one says already."""

    where: Position
    name: str


@dataclass(slots=True, kw_only=True)
class ImportReport:
    """What became of a tree."""

    files: int = 0
    imported: list[Imported] = field(default_factory=list)
    same: list[Same] = field(default_factory=list)
    skipped: list[Fault] = field(default_factory=list)
    failed: int = 0
    """How many of the environments that were found could not be imported."""
    uses: dict[str, list[Position]] = field(default_factory=dict)
    """References to environments that stand elsewhere: curated ones, and those of a workspace."""


def import_tree(
    source: Tree, tree: Tree, parse: ParseDocument, files: FileWriter, choices: ImportChoices
) -> ImportReport:
    """Import what *source* holds into *tree*, and tell what became of each part."""
    own = {".": frozenset({ENVIRONMENTS, "locks"})}.get(choices.inside or "", frozenset[str]())
    crop = harvest(source, parse, own)
    report = ImportReport(files=crop.files, uses=dict(sorted(crop.uses.items())))
    work = _Import(source, tree, parse, choices)
    inline = [found for found in crop.found if found.kind == "inline"]
    # What has a name of its own comes first, so that it keeps it.
    wanted = [f for f in crop.found if f.kind != "inline"] + (inline if choices.jobs else [])
    for found in sorted(wanted, key=lambda f: (not f.named, f.kind == "inline", f.where)):
        try:
            result = work.take(found)
        except InvalidInput as error:
            report.failed += 1
            report.skipped += _reasons(error, found)
            continue
        if isinstance(result, Same):
            report.same.append(result)
            continue
        imported, content = result
        files.create(content)
        report.imported.append(imported)
    report.skipped += crop.unreadable
    if inline and not choices.jobs:
        hint = "Import them too: --jobs"
        report.skipped += [
            Fault(where=f.where, message="An environment within a job", hint=hint) for f in inline
        ]
    used = work.conda_files
    report.skipped += [
        Fault(
            where=Position(file=path),
            message="A conda file that no imported environment names",
            hint="envsync new NAME --conda FILE --image IMAGE",
        )
        for path in crop.conda_files
        if path not in used
    ]
    return report


def _reasons(error: InvalidInput, found: Found) -> Iterator[Fault]:
    if error.faults:
        yield from error.faults
    else:
        message = " ".join(filter(None, (error.summary, error.detail)))
        yield Fault(where=found.where, message=message, hint=error.hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What an environment says: two that say the same are one."""

    spec: Spec
    """Without its name and place."""
    context: Map[str, bytes | None]
    """Files of a copied build context."""


class _Import:
    """Knows the names that are taken, and by what."""

    def __init__(
        self, source: Tree, tree: Tree, parse: ParseDocument, choices: ImportChoices
    ) -> None:
        self._source = source
        self._tree = tree
        self._parse = parse
        self._choices = choices
        self._taken: dict[str, tuple[_Said, str]] = {}
        self._names_there = {name.lower(): name for name in environment_names(tree)}
        self._folders = dict(self._names_there)
        self._there = load_repository(tree, parse).specs if self._folders else {}
        self.conda_files: set[str] = set()

    def take(self, found: Found) -> tuple[Imported, dict[str, bytes]] | Same:
        """Return the files of an environment, or the one that says the same already."""
        if left := placeholder(found.named):
            raise InvalidInput(f"{shown(left)} in its name is a placeholder of a template")
        name = self._free(found.names)
        carried = self._carried(found, name)
        said = self._said(name, carried)
        for other, (says, was) in self._taken.items():
            if said == says and found.named in {"", other, was}:
                return Same(where=found.where, name=other)
        for other, spec in self._there.items():
            called = not found.named or other in found.names or _numbered(other, found.names[0])
            if called and said == self._there_says(other, spec, said):
                return Same(where=found.where, name=other)
        if found.named and (folder := self._names_there.get(found.named.lower())):
            raise InvalidInput(
                f"{ENVIRONMENTS}/{folder} exists already, and says something else",
                hint="It is left as it is.",
            )
        self._taken[name] = (said, found.named)
        self._folders[name.lower()] = name
        imported = Imported(
            name=name,
            where=found.where,
            files=tuple(sorted(carried.files)),
            renamed=_why_renamed(found, name),
            notes=carried.notes,
        )
        return imported, dict(carried.files)

    def _said(self, name: str, carried: Carried) -> _Said:
        folder = f"{ENVIRONMENTS}/{name}/"
        spec = load_environment(Overlay(self._tree, carried.files), self._parse, name)
        context = {
            path.removeprefix(folder): data
            for path, data in carried.files.items()
            if path.startswith(f"{folder}{_CONTEXT}/")
        }
        return _Said(spec=_without_name(spec), context=context)

    def _there_says(self, name: str, spec: Spec, like: _Said) -> _Said:
        """Return what an environment of the repository says, of the files that *like* has."""
        folder = f"{ENVIRONMENTS}/{name}"
        context = {path: self._tree.read(f"{folder}/{path}") for path in like.context}
        return _Said(spec=_without_name(spec), context=context)

    def _free(self, names: tuple[str, ...]) -> str:
        for name in names:
            if name.lower() not in self._folders:
                return name
        numbered = (f"{names[0]}-{number}" for number in itertools.count(2))
        return next(name for name in numbered if name.lower() not in self._folders)

    def _carried(self, found: Found, name: str) -> Carried:
        if found.kind == "saved":
            source = SourceFile(tree=self._source, path=found.path)
            return carry_saved(self._tree, self._parse, name, source)
        faults = Faults()
        entries = tuple(entry for entry in found.node.entries if entry[0].text != "name")
        # Its name is looked at elsewhere: one that is not allowed here is changed.
        nameless = replace(found.node, entries=entries)
        draft = read_spec(nameless, faults, path=found.path, name=None)
        faults.check(f"The environment in {found.path} cannot be used")
        changed: dict[str, str] = {"name": name}
        files: dict[str, bytes] = {}
        notes: list[Fault] = []
        if draft.conda_path:
            source = SourceFile(tree=self._source, path=draft.conda_path)
            files["conda.yaml"] = copied_conda(self._parse, source, files)
            changed["conda_file"] = "conda.yaml"
            self.conda_files.add(draft.conda_path)
        elif draft.conda is not None:
            _copy_inline(self._source, found, draft.conda, files)
        if draft.spec.build is not None and not _is_remote(draft.spec.build.path):
            changed["path"] = self._context(draft, name, files, notes)
        files[SPEC_FILES[0]] = self._text(found, changed)
        folder = f"{ENVIRONMENTS}/{name}"
        return Carried(
            files={f"{folder}/{path}": data for path, data in files.items()}, notes=tuple(notes)
        )

    def _context(
        self, draft: SpecDraft, name: str, files: dict[str, bytes], notes: list[Fault]
    ) -> str:
        """Return the path of a build context; it is copied unless it is in the repository."""
        path = draft.spec.build.path if draft.spec.build else ""
        where = draft.named_at or Position(file=draft.spec.path)
        if self._choices.inside is not None:
            inside = posixpath.normpath(posixpath.join(self._choices.inside, path))
            return posixpath.relpath(inside, f"{ENVIRONMENTS}/{name}")
        dockerfile = draft.spec.build.dockerfile_path if draft.spec.build else ""
        missing = posixpath.normpath(posixpath.join(path, dockerfile))
        if self._source.read(missing) is None:
            fault = Fault(
                where=where,
                message=f"There is no file {missing} in {self._source.label}",
                hint="'path' is the folder of the Dockerfile, relative to the file it stands in.",
            )
            raise InvalidInput("The build context is not there", faults=(fault,))
        size = 0
        for file in sorted(all_files(self._source, path)):
            data = self._source.read(file)
            if data is None:
                continue
            size += len(data)
            if size > _CONTEXT_LIMIT:
                raise InvalidInput(
                    f"The build context {path} has more than {_CONTEXT_LIMIT:,} bytes",
                    hint="Copy it into the repository, and import from there.",
                )
            target = f"{_CONTEXT}/{posixpath.relpath(file, path)}"
            files[target] = data
            if data.startswith(b"#!"):
                notes.append(
                    Fault(
                        where=Position(file=file),
                        message="It is a script, and copied without its permissions",
                        hint=f"chmod +x {ENVIRONMENTS}/{name}/{target}",
                    )
                )
        return _CONTEXT

    def _text(self, found: Found, changed: dict[str, str]) -> bytes:
        """Return the environment YAML: the file with its comments, but for what has to change."""
        edits: list[tuple[Scalar, str]] = []
        build = found.node.get("build")
        for key, value in changed.items():
            mapping = build if key == "path" and isinstance(build, Mapping) else found.node
            old = mapping.get(key)
            if isinstance(old, Scalar) and not old.is_null and old.text != value:
                edits.append((old, value))
        if found.kind == "file":
            data = self._source.read(found.path) or b""
            text = replaced(data.decode("utf-8-sig"), edits) if edits else data.decode("utf-8-sig")
            if text is not None:
                return text.encode()
        document: dict[str, Plain] = {"$schema": SCHEMA, "name": changed["name"]}
        for name, node in found.node.entries:
            if name.text not in document:
                document[name.text] = plain_of(node)
        if "conda_file" in changed:
            document["conda_file"] = changed["conda_file"]
        if "path" in changed and isinstance(build, Mapping):
            plain = {key.text: plain_of(node) for key, node in build.entries}
            document["build"] = {**plain, "path": changed["path"]}
        return render_yaml(document).encode()


def _copy_inline(source: Tree, found: Found, draft: CondaDraft, files: dict[str, bytes]) -> None:
    """Copy what the pip section of an inline conda file names: paths start at the YAML file."""
    for item in draft.pip:
        copy_line(SourceFile(tree=source, path=found.path), item.text, "", files)


def _is_remote(path: str) -> bool:
    return is_url(path) or path.startswith("git@")


def _numbered(name: str, stem: str) -> bool:
    return name.startswith(f"{stem}-") and name.removeprefix(f"{stem}-").isdigit()


def _without_name(spec: Spec) -> Spec:
    """Return what an environment says, wherever it stands."""
    conda = replace(spec.conda, path=None) if spec.conda else None
    build = spec.build
    if build is not None and not _is_remote(build.path):
        build = replace(build, path=posixpath.relpath(build.path, posixpath.dirname(spec.path)))
    return replace(spec, name="", path="", conda=conda, build=build)


def _why_renamed(found: Found, name: str) -> str:
    if name == found.named or not found.named:
        return ""
    if problem := reserved(found.named):
        return problem
    if not is_name(found.named):
        return f"{shown(found.named)} is not a name that an environment can have"
    return f"another environment is called {found.named}"

"""New, from packages that somebody has already: a conda prefix, or a lock of another tool."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from envsync.errors import Fault, InvalidInput, Position
from envsync.model.conda_file_reader import CondaDraft, read_conda_file
from envsync.model.conda_pins import channels_of, pin, roots
from envsync.model.config import ENVIRONMENTS
from envsync.model.document import Faults
from envsync.model.document import Mapping as MapNode
from envsync.model.explicit_text import ExplicitLock, is_explicit, parse_explicit
from envsync.model.lock import LockedPackage
from envsync.model.match_spec import match_spec_name
from envsync.model.names import IMAGE_PLATFORMS, PLATFORMS
from envsync.model.prefix import Prefix
from envsync.model.yaml_text import Plain, render_yaml
from envsync.operations.adopt import adopt
from envsync.operations.copied_files import SourceFile, copied_conda, read_file
from envsync.operations.load import SPEC_FILES, load_environment
from envsync.operations.new import BASE_IMAGE, SCHEMA, require_new
from envsync.operations.overlay import Overlay
from envsync.planning.freshness import LockRules, Stale
from envsync.ports.documents import ParseDocument
from envsync.ports.locks import ContentHashes, LockSources, ReadCondaLock
from envsync.ports.tree import Tree

Packages = Mapping[str, Sequence[LockedPackage]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What making a locked environment needs."""

    tree: Tree
    parse: ParseDocument
    rules: LockRules
    content_hashes: ContentHashes
    read_lock: ReadCondaLock
    sources: LockSources


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How the new environment is called and what it stands on."""

    name: str
    image: str = ""
    description: str = ""
    pinned: bool = False
    """Write the versions that are there, not what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFiles:
    """The files of a new environment and its lock, and what has to be said about them."""

    files: Mapping[str, bytes]
    locked: bool
    stale: tuple[Stale, ...] = ()
    """Why the lock does not satisfy the spec yet."""
    based: bool = False
    """Whether only the digest of the base image is missing."""
    notes: tuple[Fault, ...] = ()


def from_prefix(desk: Desk, wanted: Wanted, prefix: Prefix, place: str) -> LockedFiles:
    """Return an environment with exactly the packages of a conda prefix at *place*."""
    require_new(desk.tree, wanted.name)
    notes = []
    where = Position(file=place)
    hashed = not prefix.unhashed and prefix.platform in IMAGE_PLATFORMS
    if prefix.unhashed:
        names = ", ".join(package.name for package in prefix.unhashed[:5])
        message = f"{len(prefix.unhashed)} packages have no SHA-256 in their records ({names} …)"
        notes.append(Fault(where=where, message=message, hint="They are chosen anew, by version."))
    if prefix.platform not in IMAGE_PLATFORMS:
        message = f"It is for {prefix.platform}, which no image can be made for: no lock"
        notes.append(Fault(where=where, message=message, hint="Its versions are in the spec."))
    for name in prefix.variables:
        message = f"The variable {name}: its value may be a secret, and is not copied"
        hint = "Write it under 'envsync:', in 'environment_variables:', if it is none."
        notes.append(Fault(where=where, message=message, hint=hint))
    for channel in channels_of(prefix.packages):
        if channel.startswith("file:"):
            message = f"The channel {channel} is a folder of this machine"
            hint = "Serve it, or write the channel that others can reach."
            notes.append(Fault(where=where, message=message, hint=hint))
    pip = []
    for found in prefix.pip:
        if found.origin:
            message = f"{found.name} {found.version}, which pip installed from {found.origin}"
            hint = "Put its wheel on an index, and write it into the pip section."
            notes.append(Fault(where=where, message=message, hint=hint))
        else:
            pip.append(f"{found.name}=={found.version}")
    # Without a lock, versions are what keeps the new environment near the old one.
    exact = wanted.pinned or not hashed
    dependencies = _asked(prefix, desk.rules, exact=exact)
    installed = {package.name for package in prefix.packages}
    if pip and "pip" in installed and "pip" not in map(match_spec_name, dependencies):
        dependencies.append("pip")
    conda: dict[str, Plain] = {
        "channels": list(channels_of(prefix.packages)),
        "dependencies": [*dependencies, *([{"pip": pip}] if pip else [])],
    }
    platforms = (prefix.platform,) if hashed else ()
    files = _spec_files(desk, wanted, {"conda.yaml": render_yaml(conda).encode()}, platforms)
    if not hashed:
        return LockedFiles(files=files, locked=False, notes=tuple(notes))
    packages = {prefix.platform: prefix.packages}
    return _locked(desk, wanted, files, packages, tuple(notes), sizes=prefix.sizes)


def from_lock(desk: Desk, wanted: Wanted, source: SourceFile, platform: str = "") -> LockedFiles:
    """Return an environment that takes over a lock: conda-lock's, or an explicit one.

    *platform* is that of an explicit lock that does not say it.
    """
    require_new(desk.tree, wanted.name)
    data = read_file(source.tree, source.path)
    text = data.decode("utf-8", "replace")
    faults = Faults()
    if is_explicit(text):
        lock = parse_explicit(text, source.path, faults, platform)
        faults.check(f"{source.path} cannot be used")
        return _from_explicit(desk, wanted, lock, source.path)
    packages, channels = desk.read_lock(data, source.path, faults)
    if len(faults):
        raise InvalidInput(
            f"{source.path} cannot be adopted",
            faults=tuple(faults),
            hint="Use what it was made from, and lock that:\n    envsync new NAME --conda FILE",
        )
    if not any(packages.values()):
        raise InvalidInput(f"{source.path} has no packages")
    known = {p: found for p, found in packages.items() if p in PLATFORMS}
    if known.keys() != packages.keys():
        odd = ", ".join(sorted(packages.keys() - known.keys()))
        raise InvalidInput(
            f"{source.path} is also for {odd}", hint=f"Known: {', '.join(PLATFORMS)}."
        )
    notes: list[Fault] = []
    written = _from_sources(desk, source, data, notes)
    if written is not None:
        files = _spec_files(desk, wanted, written, tuple(sorted(known)))
        kept = _locked(desk, wanted, files, known, tuple(notes), as_it_is=(data, channels))
        if not kept.stale:
            return kept
        message = f"What it was made from says something else now: {kept.stale[0]}"
        notes.append(Fault(where=Position(file=source.path), message=message))
    return _pinned(desk, wanted, source, (data, channels), known, notes)


def _from_explicit(desk: Desk, wanted: Wanted, lock: ExplicitLock, path: str) -> LockedFiles:
    files = _spec_files(desk, wanted, {"conda.yaml": _all_pinned(lock.packages)}, (lock.platform,))
    if not lock.unhashed:
        return _locked(desk, wanted, files, {lock.platform: lock.packages}, ())
    message = f"{len(lock.unhashed)} of its packages have no SHA-256: it cannot be adopted"
    hint = "The spec has their exact versions; lock it to find the hashes."
    note = Fault(where=Position(file=path), message=message, hint=hint)
    return LockedFiles(files=files, locked=False, notes=(note,))


def _pinned(
    desk: Desk,
    wanted: Wanted,
    source: SourceFile,
    as_it_is: tuple[bytes, tuple[str, ...]],
    packages: Packages,
    notes: list[Fault],
) -> LockedFiles:
    """Adopt with a spec that pins every package, for one platform: no spec fits several."""
    platform = next((p for p in IMAGE_PLATFORMS if p in packages), "")
    if not platform:
        raise InvalidInput(f"{source.path} is for no platform that an image can be made for")
    listed = packages[platform]
    files = _spec_files(desk, wanted, {"conda.yaml": _all_pinned(listed)}, (platform,))
    alone = len(packages) == 1
    if not alone:
        others = ", ".join(sorted(packages.keys() - {platform}))
        message = f"What it has for {others}: a spec that pins every package is for one platform"
        notes.append(Fault(where=Position(file=source.path), message=message))
    channels = channels_of(listed)
    kept = as_it_is if alone and tuple(as_it_is[1]) == channels else None
    return _locked(desk, wanted, files, {platform: listed}, tuple(notes), as_it_is=kept)


def _from_sources(
    desk: Desk, source: SourceFile, data: bytes, notes: list[Fault]
) -> dict[str, bytes] | None:
    """Return the conda file that a lock was made from; None when it cannot be had."""
    found = desk.sources(data, source.path)
    where = Position(file=source.path)
    paths = [posixpath.normpath(posixpath.join(posixpath.dirname(source.path), p)) for p in found]
    if len(paths) != 1:
        message = f"It was made from {len(paths)} files" if paths else "It names no sources"
        hint = "The spec pins all its packages instead."
        notes.append(Fault(where=where, message=message, hint=hint))
        return None
    faults = Faults()
    read = None if paths[0].startswith(("..", "/")) else source.tree.read(paths[0])
    root = desk.parse(read, paths[0], faults) if read is not None else None
    if root is None or not isinstance(root, MapNode) or not root.key("dependencies"):
        message = f"Its source {found[0]} cannot be read here"
        notes.append(Fault(where=where, message=message, hint="The spec pins all its packages."))
        return None
    own = {"platforms", "platform", "category", "pip-repositories"}
    entries = tuple(entry for entry in root.entries if entry[0].text not in own)
    files: dict[str, bytes] = {}
    if len(entries) == len(root.entries):
        files["conda.yaml"] = copied_conda(
            desk.parse, SourceFile(tree=source.tree, path=paths[0]), files
        )
        return files
    draft = read_conda_file(replace(root, entries=entries), faults, path=paths[0])
    faults.check(f"{paths[0]} cannot be used")
    files["conda.yaml"] = render_yaml(_conda_document(draft)).encode()
    return files


def _conda_document(draft: CondaDraft) -> dict[str, Plain]:
    channels = [*draft.file.channels, *(["nodefaults"] if draft.file.nodefaults else [])]
    pip: list[Plain] = [{"pip": [item.text for item in draft.pip]}] if draft.pip else []
    document: dict[str, Plain] = {"channels": channels} if channels else {}
    return {**document, "dependencies": [*draft.file.dependencies, *pip]}


def _all_pinned(packages: Sequence[LockedPackage]) -> bytes:
    conda = [pin(package) for package in packages if package.manager == "conda"]
    pip = [pin(package) for package in packages if package.manager == "pip"]
    section: list[Plain] = [{"pip": sorted(pip)}] if pip else []
    document: dict[str, Plain] = {
        "channels": list(channels_of(packages)),
        "dependencies": [*sorted(conda), *section],
    }
    return render_yaml(document).encode()


def _asked(prefix: Prefix, rules: LockRules, *, exact: bool) -> list[str]:
    """Return what to ask for: what people asked for, and what nothing else would bring."""
    installed = {package.name: package for package in prefix.packages}
    asked = {name: text for name, text in prefix.asked.items() if name in installed}
    # Records of some tools say nothing of who asked; what nothing needs was asked for.
    if "python" in installed and not asked:
        asked["python"] = f"python={'.'.join(installed['python'].version.split('.')[:2])}"
    asked |= dict.fromkeys(roots(prefix.packages, asked), "")
    found = []
    for name, text in sorted(asked.items()):
        package = installed[name]
        plain = f"{name}={package.version}"
        fits = bool(text) and rules.matches(text, package)
        found.append(text if fits and not exact else plain)
    return found


def _spec_files(
    desk: Desk, wanted: Wanted, files: Mapping[str, bytes], platforms: tuple[str, ...]
) -> dict[str, bytes]:
    document: dict[str, Plain] = {"$schema": SCHEMA, "name": wanted.name}
    if wanted.description:
        document["description"] = wanted.description
    document["image"] = wanted.image or BASE_IMAGE
    document["conda_file"] = "conda.yaml"
    if platforms and {*platforms} != {*desk.rules.config.platforms}:
        document["envsync"] = {"platforms": list(platforms)}
    written = {**files, SPEC_FILES[0]: render_yaml(document).encode()}
    return {f"{ENVIRONMENTS}/{wanted.name}/{path}": data for path, data in written.items()}


def _locked(
    desk: Desk,
    wanted: Wanted,
    files: Mapping[str, bytes],
    packages: Packages,
    notes: tuple[Fault, ...],
    *,
    sizes: Mapping[str, int] | None = None,
    as_it_is: tuple[bytes, tuple[str, ...]] | None = None,
) -> LockedFiles:
    spec = load_environment(Overlay(desk.tree, files), desk.parse, wanted.name)
    adopted = adopt(spec, packages, desk.rules, desk.content_hashes, sizes=sizes, as_it_is=as_it_is)
    found = [package for listed in packages.values() for package in listed]
    if any("__cuda" in package.depends for package in found) and adopted.stale:
        message = "Its packages need a GPU, and locking again would choose others"
        hint = "Write under 'envsync:'\n    virtual_packages: {__cuda: \"12.4\"}"
        notes = (Fault(where=Position(file=spec.path), message=message, hint=hint), *notes)
    return LockedFiles(
        files={**files, **adopted.files},
        locked=True,
        stale=adopted.stale,
        based=adopted.based,
        notes=notes,
    )

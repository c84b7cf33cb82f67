"""Reading lock files: conda-lock's ``conda-lock.yml`` (format v1) and our ``image.yaml``.

A lock comes out of a pull request, so nothing in it is believed: a URL must agree with the package
it is said to be, every package has a sha256, no package stands twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote, urlsplit

from packaging.utils import (
    InvalidWheelFilename,
    canonicalize_name,
    canonicalize_version,
    parse_wheel_filename,
)

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.locks.image_lock_file import LOCK_LIMITS, check_number, decoded, read_image
from envsync.errors import Position
from envsync.model.canonical import sha256_hex
from envsync.model.channels import strip_credentials
from envsync.model.document import (
    Faults,
    Mapping,
    absent,
    as_mapping,
    as_text,
    as_text_map,
    as_texts,
    described,
    shown,
)
from envsync.model.document import Sequence as Items
from envsync.model.lock import IMAGE_FILE, LOCK_FILE, Lock, LockedPackage
from envsync.model.lock_text import (
    LOCK_VERSION,
    PlainEntry,
    split_packages,
)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_ARCHIVES = (".conda", ".tar.bz2")
# What nearly every URL is; it saves taking the others apart.
_PLAIN_URL = re.compile(
    r"(?:https?|file)://[A-Za-z0-9.-]*(?::[0-9]+)?(?:/[A-Za-z0-9_.~+=-]+)*"
    r"/([a-z0-9-]+)/([A-Za-z0-9_.+!~=-]+)"
)
_SCHEMES = frozenset({"https", "http", "file", "s3", "gcs", "oci"})


def parse_lock(conda_lock: bytes | None, image: bytes | None, folder: str) -> Lock | None:
    """Read a lock's two files; implements `envsync.ports.locks.ParseLock`."""
    if image is None:
        return None
    faults = Faults()
    image_lock = read_image(image, f"{folder}/{IMAGE_FILE}", faults)
    packages: tuple[dict[str, tuple[LockedPackage, ...]], tuple[str, ...]] = ({}, ())
    if conda_lock is not None:
        packages = read_conda_lock(conda_lock, f"{folder}/{LOCK_FILE}", faults)
    faults.check("The lock cannot be used")
    return Lock(
        image=image_lock,
        packages=packages[0],
        channels=packages[1],
        sha256=sha256_hex((conda_lock or b"") + image),
        conda_lock=sha256_hex(conda_lock) if conda_lock is not None else "",
    )


def read_conda_lock(
    data: bytes, file: str, faults: Faults
) -> tuple[dict[str, tuple[LockedPackage, ...]], tuple[str, ...]]:
    """Return the packages by platform, and the channels, of a conda-lock v1 file."""
    found: dict[tuple[str, str, str], LockedPackage] = {}
    text = decoded(data, file, faults)
    ours = split_packages(text) if text is not None else None
    if ours is not None:
        root = parse_document(ours[0].encode(), file, faults, LOCK_LIMITS)
        header = as_mapping(root, "The lock", faults)
        entries: Iterator[_Entry] = (_plain_entry(*pair) for pair in enumerate(ours[1]))
    else:
        root = parse_document(data, file, faults, LOCK_LIMITS) if text is not None else None
        header = as_mapping(root, "The lock", faults)
        entries = _yaml_entries(header, faults)
    if header is None:
        if not len(faults):
            faults.add(Position(file=file), "The lock is empty", "envsync lock")
        return {}, ()
    channels, platforms = _metadata(header, file, faults)
    categories: set[tuple[str, str, str, str]] = set()
    for entry in entries:
        where = Position(file=file, line=entry.line, column=1)
        package, problems = _package(entry)
        for problem in problems:
            faults.add(where, f"{entry.label}: {problem}")
        if package is None:
            continue
        key = (package.manager, package.name, package.platform)
        # conda-lock writes a package of two categories twice; the same category twice is a fault.
        if (*key, entry.category) in categories or found.get(key, package) != package:
            faults.add(where, f"{entry.label}: stands twice for {package.platform}", "envsync lock")
        categories.add((*key, entry.category))
        found[key] = package
        if package.platform not in platforms:
            faults.add(
                where,
                f"{entry.label}: {shown(package.platform)} is not among the lock's platforms",
            )
    by_platform: dict[str, list[LockedPackage]] = {platform: [] for platform in platforms}
    for (_, _, platform), package in sorted(found.items()):
        by_platform.setdefault(platform, []).append(package)
    return {platform: tuple(packages) for platform, packages in by_platform.items()}, channels


class _Entry:
    """One package's entry as text, whichever way it was read."""

    __slots__ = ("category", "depends", "index", "line", "values")

    def __init__(
        self, *, index: int, line: int, values: dict[str, str], depends: dict[str, str]
    ) -> None:
        self.line = line
        self.values = values
        self.depends = depends
        self.category = values.get("category", "main")
        self.index = index

    @property
    def label(self) -> str:
        return f"package[{self.index}] ({self.values.get('name') or 'without a name'})"


def _plain_entry(index: int, entry: PlainEntry) -> _Entry:
    return _Entry(index=index, line=entry.line, values=entry.values, depends=entry.depends)


def _yaml_entries(header: Mapping | None, faults: Faults) -> Iterator[_Entry]:
    node = header.get("package") if header else None
    if node is None or absent(node):
        return
    if not isinstance(node, Items):
        faults.add(node.where, f"'package' is {described(node)}; it must be a list")
        return
    for index, item in enumerate(node.items):
        if not isinstance(item, Mapping):
            faults.add(item.where, f"package[{index}] is {described(item)}; it must be a map")
            continue
        values = {}
        for key in ("name", "version", "manager", "platform", "url", "build", "category"):
            if text := as_text(item.get(key), f"'{key}' of package[{index}]", faults):
                values[key] = text.text
        for key, value in as_text_map(item.get("hash"), "'hash'", faults).items():
            values[key] = value.text
        if not absent(item.get("source")):
            values["source"] = "yes"
        depends = as_text_map(item.get("dependencies"), "'dependencies'", faults)
        yield _Entry(
            index=index,
            line=item.where.line,
            values=values,
            depends={key: value.text for key, value in depends.items()},
        )


def _package(entry: _Entry) -> tuple[LockedPackage | None, list[str]]:
    """Return the package, or what is wrong with its entry."""
    values = entry.values
    problems = [
        f"has no {key}"
        for key in ("name", "version", "manager", "platform", "url")
        if not values.get(key)
    ]
    if values.get("manager") not in {"conda", "pip", None}:
        problems.append(f"manager is {shown(values['manager'])}; it must be conda or pip")
    if not _SHA256.fullmatch(values.get("sha256", "")):
        form = "sha256 is not 64 digits of 0-9 and a-f"
        problems.append(form if values.get("sha256") else "has no sha256")
    if values.get("md5") and not _MD5.fullmatch(values["md5"]):
        problems.append("md5 is not 32 digits")
    build, problem = "", ""
    if not problems and values["manager"] == "conda":
        build, problem = _conda_build(values)
    elif not problems:
        problem = _wheel_problem(values)
    if problem:
        problems.append(problem)
    if problems:
        return None, problems
    manager = values["manager"]
    name = values["name"].lower() if manager == "conda" else canonicalize_name(values["name"])
    package = LockedPackage(
        manager="conda" if manager == "conda" else "pip",
        name=name,
        version=values["version"],
        build=build,
        platform=values["platform"],
        url=values["url"],
        sha256=values["sha256"],
        md5=values.get("md5", ""),
        depends=entry.depends,
    )
    return package, []


def _split_url(url: str) -> tuple[str, str, str]:
    """Return the last folder and the file that a URL names, and what is wrong with the URL."""
    plain = _PLAIN_URL.fullmatch(url)
    if plain and "/t/" not in url and "/../" not in url:
        return plain[1], plain[2], ""
    if not url.isprintable() or " " in url or "\\" in url:
        return "", "", f"{shown(url)} is not the URL of a package"
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        return "", "", f"{shown(url)} is not the URL of a package"
    if strip_credentials(url) != url:
        return "", "", "its URL holds credentials"
    path = unquote(parts.path).split("/")
    # What one program takes for a folder another takes for the end of the path.
    if parts.query or parts.fragment or ".." in path or "%2f" in url.lower():
        return "", "", f"{shown(url)} is not the plain URL of a package"
    return path[-2] if len(path) > 2 else "no platform", path[-1], ""


def _conda_build(values: dict[str, str]) -> tuple[str, str]:
    """Return the build in a conda package's URL, and what in the URL is wrong."""
    subdir, file, problem = _split_url(values["url"])
    if problem:
        return "", problem
    stem = next((file.removesuffix(end) for end in _ARCHIVES if file.endswith(end)), "")
    pieces = stem.rsplit("-", 2)
    if len(pieces) != 3:
        return "", f"{shown(file)} is not the name of a conda package"
    name, version, build = pieces
    if (name.lower(), version) != (values["name"].lower(), values["version"]):
        wanted = f"{values['name']} {values['version']}"
        return "", f"its URL is that of {name} {version}, not of {wanted}"
    if values.get("build", build) != build:
        return "", f"its URL is that of build {build}, not of {values['build']}"
    if subdir not in {values["platform"], "noarch"}:
        return "", f"its URL is for {subdir}, not for {values['platform']}"
    return build, ""


def _wheel_problem(values: dict[str, str]) -> str:
    if "source" in values or values["url"].startswith(("git+", "hg+", "svn+", "bzr+")):
        return "needs code to run to be built; lock a wheel instead"
    _, file, problem = _split_url(values["url"])
    if problem:
        return problem
    try:
        name, version, _, _ = parse_wheel_filename(file)
    except InvalidWheelFilename:
        return f"{shown(file)} is not a wheel; lock a wheel instead"
    wanted = canonicalize_name(values["name"]), canonicalize_version(values["version"])
    if (name, canonicalize_version(version)) != wanted:
        return f"its URL is that of {name} {version}, not of {values['name']} {values['version']}"
    return ""


def _metadata(
    header: Mapping, file: str, faults: Faults
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    check_number(header, "version", LOCK_VERSION, file, faults)
    metadata = as_mapping(header.get("metadata"), "'metadata'", faults)
    if metadata is None:
        faults.add(Position(file=file), "The lock has no 'metadata'", "envsync lock")
        return (), ()
    channels = []
    node = metadata.get("channels")
    for item in node.items if isinstance(node, Items) else ():
        url = item.get("url") if isinstance(item, Mapping) else item
        if text := as_text(url, "A channel", faults):
            channels.append(text.text)
    platforms = as_texts(metadata.get("platforms"), "'platforms'", faults)
    return tuple(channels), tuple(text.text for text in platforms)


__all__: Sequence[str] = ["LOCK_LIMITS", "parse_lock", "read_conda_lock"]

"""The text of our lock files: the one spelling that `envsync lock` writes, and its fast reading.

A lock is plain conda-lock v1 YAML. PyYAML reads it at about 3 MB/s, too slow for a plan over a
thousand environments, so what has exactly our own spelling is read with one regular expression per
package (about 30 times faster). Anything else is left to the YAML reader: both must agree, and a
test says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from envsync.model.lock import ImageLock, Lock, LockedPackage

LOCK_VERSION = 1
"""Version of the conda-lock file format that is written and read."""

IMAGE_FORMAT = 1
"""Version of ``image.yaml``."""

_LOCK_HEADER = """\
# The exact packages of this environment, per platform, with their hashes.
# Written by `envsync lock`; conda-lock, micromamba and pixi can install from it.
# Change the spec and lock again instead of editing this file.
"""
PLAIN_LICENSE = re.compile(r"[ -~]{1,200}")
"""What of an index's words can stand in a lock, where everybody can read it."""

_IMAGE_HEADER = """\
# The base image this environment was locked on, and what is known of its packages.
# Written by `envsync lock`, together with conda-lock.yml; the two belong to each other.
"""

# What reads as text in YAML 1.1 and 1.2 alike without quotes.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+~=@%-]*(?:://?[A-Za-z0-9_./+~=@%!:-]+)?")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"})

_SCALAR = r"([A-Za-z_/][^\s:'\"#]*(?::[^\s'\"#]+)*|'(?:[^'\n]|'')*')"
_ENTRY = re.compile(
    rf"""- name: {_SCALAR}
  version: {_SCALAR}
  manager: (conda|pip)
  platform: {_SCALAR}
  dependencies:(?: {{}}|((?:\n    {_SCALAR}: {_SCALAR})+))
  url: {_SCALAR}
  hash:
(?:    md5: '([0-9a-f]{{32}}|)'
)?    sha256: '([0-9a-f]{{64}})'
  category: main
  optional: false
"""
)
_DEPENDENCY = re.compile(rf"\n    {_SCALAR}: {_SCALAR}")
_PACKAGES = "\npackage:\n"
_PAIR = re.compile(rf"  {_SCALAR}: ([0-9]+|'(?:[^'\n]|'')*')\n")
_TABLES = re.compile(r"(?<=\n)(sizes|licenses|released):\n")


def render_conda_lock(
    lock: Lock, *, content_hash: Mapping[str, str], sources: Sequence[str]
) -> bytes:
    """Return the bytes of ``conda-lock.yml``, a function of its arguments only.

    *content_hash* is conda-lock's own, by platform; *sources* are relative to the lock's folder.
    """
    lines = [f"{_LOCK_HEADER}version: {LOCK_VERSION}", "metadata:"]
    lines += _mapping("  content_hash", {p: content_hash[p] for p in lock.platforms}, indent=4)
    lines.append("  channels:" if lock.channels else "  channels: []")
    for channel in lock.channels:
        lines += [f"  - url: {scalar(channel)}", "    used_env_vars: []"]
    lines.append("  platforms:" if lock.platforms else "  platforms: []")
    lines += [f"  - {scalar(platform)}" for platform in lock.platforms]
    lines.append("  sources:" if sources else "  sources: []")
    lines += [f"  - {scalar(source)}" for source in sources]
    packages = sorted(
        (package for platform in lock.platforms for package in lock.packages[platform]),
        key=lambda package: (package.manager, package.name, package.platform),
    )
    lines.append("package:" if packages else "package: []")
    for package in packages:
        lines += _package(package)
    return ("\n".join(lines) + "\n").encode()


def render_image(image: ImageLock) -> bytes:
    """Return the bytes of ``image.yaml``, a function of the value only."""
    lines = [
        f"{_IMAGE_HEADER}format: {IMAGE_FORMAT}",
        f"request: {scalar(image.request)}",
        *([] if image.bases else [f"image: {scalar(image.image)}"]),
    ]
    if image.source:
        lines.append(f"source: {scalar(image.source)}")
    if image.digest:
        lines.append(f"digest: {scalar(image.digest)}")
    if image.conda_lock:
        lines.append(f"conda_lock: {scalar(image.conda_lock)}")
    if image.chosen:
        lines.append(f"chosen: {_quoted(image.chosen)}")
    if image.bases:
        lines.append("bases:")
        for platform in sorted(image.bases):
            lines += _mapping(f"  {scalar(platform)}", image.bases[platform], indent=4)
        return ("\n".join(lines) + "\n").encode()
    lines.append("platforms:" if image.platforms else "platforms: {}")
    for platform in sorted(image.platforms):
        base = image.platforms[platform]
        lines += [f"  {scalar(platform)}:", f"    digest: {scalar(base.digest)}"]
        lines.append(f"    glibc: {scalar(base.glibc)}")
    if image.virtual_packages:
        lines += _mapping("virtual_packages", image.virtual_packages, indent=2)
    if image.sizes:
        lines.append("sizes:")
        lines += [f"  {scalar(name)}: {image.sizes[name]}" for name in sorted(image.sizes)]
    if image.licenses:
        lines += _mapping("licenses", image.licenses, indent=2)
    if image.released:
        lines += _mapping("released", image.released, indent=2)
    return ("\n".join(lines) + "\n").encode()


def scalar(text: str) -> str:
    """Return *text* as a YAML scalar of one line, quoted unless it cannot be misread."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    if not text.isprintable():
        raise ValueError(f"{text!r} cannot stand in a lock")
    return "'" + text.replace("'", "''") + "'"


@dataclass(slots=True)
class PlainEntry:
    """One package of a lock in our own spelling: its line, scalars and dependencies."""

    line: int
    values: dict[str, str]
    """Every scalar of the entry, those of ``hash`` among them, by key."""
    depends: dict[str, str]


def split_packages(text: str) -> tuple[str, list[PlainEntry]] | None:
    """Return what stands before the packages, and the packages as YAML would give them.

    None when the text is not in our own spelling, and must be read as YAML.
    """
    start = text.find(_PACKAGES)
    if start < 0:
        return None
    position, end = start + len(_PACKAGES), len(text)
    line = text.count("\n", 0, position) + 1
    packages = []
    while position < end:
        match = _ENTRY.match(text, position)
        if match is None:
            return None
        name, version, manager, platform, depends, _, _, url, md5, sha256 = match.groups()
        values = {
            "name": _text(name),
            "version": _text(version),
            "manager": manager,
            "platform": _text(platform),
            "url": _text(url),
            "md5": md5 or "",
            "sha256": sha256,
        }
        packages.append(PlainEntry(line=line, values=values, depends=_pairs(_DEPENDENCY, depends)))
        line += text.count("\n", position, match.end())
        position = match.end()
    return text[: start + 1], packages


def split_tables(text: str) -> tuple[str, dict[str, dict[str, str]]] | None:
    """Return what stands before the sizes, licences and days of release, and these as texts.

    None as in `split_packages`.
    """
    match = _TABLES.search(text)
    if match is None:
        return text, {}
    head = text[: match.start()]
    tables: dict[str, dict[str, str]] = {}
    while match is not None and match[1] not in tables:
        table = tables.setdefault(match[1], {})
        position = match.end()
        while (pair := _PAIR.match(text, position)) is not None:
            if (name := _text(pair[1])) in table:
                return None
            table[name] = _text(pair[2])
            position = pair.end()
        if position == len(text):
            return head, tables
        match = _TABLES.match(text, position)
    return None


def _package(package: LockedPackage) -> Iterable[str]:
    yield f"- name: {scalar(package.name)}"
    # Versions and hashes are always quoted: 1.10 and 12e4 are numbers to some reader.
    yield f"  version: {_quoted(package.version)}"
    yield f"  manager: {package.manager}"
    yield f"  platform: {package.platform}"
    yield from _mapping("  dependencies", package.depends, indent=4)
    yield f"  url: {scalar(package.url)}"
    yield "  hash:"
    if package.manager == "conda":
        yield f"    md5: {_quoted(package.md5)}"
    yield f"    sha256: {_quoted(package.sha256)}"
    yield "  category: main"
    yield "  optional: false"


def _mapping(key: str, values: Mapping[str, str], *, indent: int) -> list[str]:
    if not values:
        return [f"{key}: {{}}"]
    pairs = [f"{' ' * indent}{scalar(name)}: {_quoted(values[name])}" for name in sorted(values)]
    return [f"{key}:", *pairs]


def _quoted(text: str) -> str:
    plain = scalar(text)
    return plain if plain.startswith("'") else f"'{plain}'"


def _text(found: str) -> str:
    if found[0] != "'":
        return found
    return found[1:-1].replace("''", "'") if "''" in found else found[1:-1]


def _pairs(pattern: re.Pattern[str], text: str | None) -> dict[str, str]:
    return {_text(key): _text(value) for key, value in pattern.findall(text or "")}

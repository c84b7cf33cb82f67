"""What a conda package says of itself, judged before any of its files is placed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envsync.errors import InvalidInput
from envsync.model.definition import PackageIdentity
from envsync.model.json_text import read_json
from envsync.model.lock import LockedPackage
from envsync.oci.entry import CONSTANT_TIME, MAX_TIME, ROOT, parents, path_fault, sort_key
from envsync.oci.installed import is_record, record_path
from envsync.oci.inventory import Inventory, Python, is_variables, python_of
from envsync.oci.linking import EntryPoint, Mode, placed

_INDEX, _PATHS, _FILES, _LINK = "info/index.json", "info/paths.json", "info/files", "info/link.json"
_HAS_PREFIX, _NO_LINK = "info/has_prefix", "info/no_link"
_ENTRY_POINT = re.compile(
    r"\s*(?P<name>[\w.+-]+)\s*=\s*(?P<module>[\w.]+)\s*:\s*(?P<attribute>[\w.]+)\s*"
)
_PREFIX_LINE = re.compile(
    r'(?:(?P<prefix>"(?:[^"\\]|\\.)*"|\S+)\s+(?P<mode>text|binary)\s+)?'
    r'(?P<path>"(?:[^"\\]|\\.)*"|\S+)',
    re.IGNORECASE,
)
# Split, so that nothing that moves this module takes it for a prefix to be replaced.
_OLD_PLACEHOLDER = "/opt/" + "anaconda1" + "anaconda2" + "anaconda3"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHOWN = 200
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escape that may be half of a surrogate pair."""
_PLAIN = ("arch", "features", "license", "license_family", "platform")
_MILLISECONDS = 253402300799  # the last second of the year 9999: what is larger is in milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file, link or folder that a package lists; *path* is that in the archive."""

    path: str
    kind: str = "hardlink"
    """``hardlink``, ``softlink`` or ``directory``."""
    sha256: str = ""
    """Of the file as the archive has it; '' when the package does not say."""
    size: int | None = None
    placeholder: str = ""
    """The prefix that stands in the file and is to be replaced; '' for none."""
    mode: Mode = "text"
    no_link: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageInfo:
    """A package's ``info/index.json``, the size of its archive in bytes, and what it places."""

    package: LockedPackage
    size: int
    index: Mapping[str, Any]
    listed: tuple[Listed, ...]
    points: tuple[EntryPoint, ...] = ()
    """Programs that are made when the package is linked."""

    @property
    def time(self) -> int:
        """When the package was made, in seconds since 1970 UTC."""
        stamp = self.index.get("timestamp")
        if not isinstance(stamp, int) or stamp <= 0:
            return CONSTANT_TIME
        return min(stamp // 1000 if stamp > _MILLISECONDS else stamp, MAX_TIME)

    @property
    def identity(self) -> PackageIdentity:
        """What identifies the package."""
        return PackageIdentity.of(self.package)

    @property
    def is_python(self) -> bool:
        """Whether its files go where the interpreter wants them."""
        return self.index.get("noarch") == "python"

    def where(self, path: str, python: Python | None) -> str:
        """Return where a listed path goes, relative to the prefix."""
        return placed(path, python) if self.is_python else path

    def inventory(self, python: Python | None) -> Inventory | None:
        """Return what the package places; None when that needs the contents of its files."""
        own = record_path(self.identity)
        files = {self.where(one.path, python) for one in self.listed if one.kind != "directory"}
        paths = {f"{ROOT}/{path}" for path in (*files, *(p.path for p in self.points), own)}
        if any(map(is_variables, paths)):
            return None
        return Inventory(
            package=self.identity,
            archive_size=self.size,
            paths=tuple(sorted(paths, key=sort_key)),
            folders=self.folders(python),
            depends=tuple(str(text) for text in self.index.get("depends") or ()),
            python=python_of(self.identity, self.index),
        )

    def folders(self, python: Python | None) -> tuple[str, ...]:
        """Return the listed folders as paths of entries, sorted."""
        listed = {self.where(one.path, python) for one in self.listed if one.kind == "directory"}
        return tuple(sorted((f"{ROOT}/{path}" for path in listed), key=sort_key))


def package_info(package: LockedPackage, size: int, files: Mapping[str, bytes]) -> PackageInfo:
    """Read a package's own description; *files* are those of ``info/``, *size* the archive's.

    Raises InvalidInput when the archive is not the package that the lock names, or would put a file
    outside of the prefix.
    """
    try:
        index = _json(files[_INDEX])
        listed = _listed(files)
        links = _json(files.get(_LINK)).get("noarch") or {}
        points = [str(point) for point in links.get("entry_points") or ()]
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise broken(package, error) from error
    faults = [
        *_identity_faults(package, index),
        *_type_faults(index),
        *_path_faults([one.path for one in listed]),
        *_point_faults(points),
    ]
    if site := index.get("python_site_packages_path"):
        fault = path_fault(str(site).rstrip("/"))
        faults += [f"its site-packages {site!r} {fault}"] if fault else []
    if faults:
        raise unusable(package, faults)
    return PackageInfo(
        package=package,
        size=size,
        index=index,
        listed=tuple(listed),
        points=_points(points) if index.get("noarch") == "python" else (),
    )


def check_placed(info: PackageInfo, python: Python | None) -> None:
    """Refuse a python package without an interpreter, and one path that is another's folder."""
    if info.is_python and python is None:
        raise InvalidInput(
            f"{info.package.name} {info.package.version} needs a python",
            detail="It is a python package, and the lock has no package python.",
        )
    paths = [info.where(one.path, python) for one in info.listed if one.kind != "directory"]
    folders = set(parents([*paths, *(point.path for point in info.points)]))
    if clash := sorted(folders.intersection(paths)):
        raise unusable(info.package, [f"{path!r} is a file and a folder" for path in clash])


def broken(package: LockedPackage, error: Exception) -> InvalidInput:
    """Say that an archive cannot be read."""
    return unusable(package, [f"its archive cannot be read: {error}"])


def unusable(package: LockedPackage, faults: Sequence[str]) -> InvalidInput:
    """Say why a package cannot be used."""
    shown = [*faults[:20], *([f"and {len(faults) - 20} more"] if len(faults) > 20 else [])]
    return InvalidInput(
        f"the package {package.name} {package.version} cannot be used", detail="\n".join(shown)
    )


def _json(raw: bytes | None) -> dict[str, Any]:
    document = read_json(raw) if raw else {}
    if not isinstance(document, dict):
        raise TypeError("a JSON object was expected")
    if raw and _HALF.search(raw):
        json.dumps(document, ensure_ascii=False).encode()  # half of a pair is not text
    return document


def _listed(files: Mapping[str, bytes]) -> list[Listed]:
    if files.get(_PATHS):
        return [_path(entry) for entry in _json(files[_PATHS])["paths"]]
    # Packages before conda-build 3 list their files one per line, and apart from them those that
    # have a prefix.
    prefixes = {one.path: one for one in map(_prefix_line, _lines(files.get(_HAS_PREFIX)))}
    kept = set(_lines(files.get(_NO_LINK)))
    return [
        Listed(
            path=path,
            placeholder=prefixes[path].placeholder if path in prefixes else "",
            mode=prefixes[path].mode if path in prefixes else "text",
            no_link=path in kept,
        )
        for path in _lines(files.get(_FILES))
    ]


def _lines(raw: bytes | None) -> list[str]:
    return [line for line in (raw or b"").decode().split("\n") if line]


def _path(entry: Mapping[str, Any]) -> Listed:
    sha256, size = entry.get("sha256"), entry.get("size_in_bytes")
    placeholder, mode = entry.get("prefix_placeholder"), entry.get("file_mode")
    if sha256 is not None and not _SHA256.fullmatch(str(sha256)):
        raise ValueError(f"{sha256!r} is not a sha256")
    kind = str(entry.get("path_type", "hardlink"))
    if kind not in {"hardlink", "softlink", "directory"}:
        raise ValueError(f"{kind!r} is not a type of path")
    if placeholder and mode not in {None, "text", "binary"}:
        raise ValueError(f"{mode!r} is not a mode of a file")
    return Listed(
        path=str(entry["_path"]),
        kind=kind,
        sha256=str(sha256 or ""),
        size=None if size is None else _size(size),
        placeholder=str(placeholder) if placeholder and mode else "",
        mode="binary" if mode == "binary" else "text",
        no_link=bool(entry.get("no_link", False)),
    )


def _size(value: object) -> int:
    size = int(str(value))
    if size < 0:
        raise ValueError(f"{size} is not a number of bytes")
    return size


def _prefix_line(line: str) -> Listed:
    match = _PREFIX_LINE.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"has_prefix has the line {line!r}")
    prefix = _unquoted(match["prefix"]) if match["prefix"] else _OLD_PLACEHOLDER
    binary = (match["mode"] or "").lower() == "binary"
    return Listed(
        path=_unquoted(match["path"]), placeholder=prefix, mode="binary" if binary else "text"
    )


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def _points(texts: Sequence[str]) -> tuple[EntryPoint, ...]:
    found = [match for text in texts if (match := _ENTRY_POINT.fullmatch(text))]
    return tuple(
        EntryPoint(name=m["name"], module=m["module"], attribute=m["attribute"]) for m in found
    )


def _identity_faults(package: LockedPackage, index: Mapping[str, Any]) -> list[str]:
    found = tuple(str(index.get(key, "")) for key in ("name", "version", "build"))
    if found == (package.name, package.version, package.build):
        return []
    wanted = f"{package.name} {package.version} {package.build}"
    return [f"the lock says {wanted}, and it calls itself {' '.join(map(_shown, found))}"]


def _shown(text: str) -> str:
    return text if text.isprintable() and len(text) < _SHOWN else repr(text[:_SHOWN])


def _type_faults(index: Mapping[str, Any]) -> list[str]:
    expected: dict[str, tuple[type, ...]] = {
        "build_number": (int,),
        "depends": (list,),
        "noarch": (str, bool),
        "python_site_packages_path": (str,),
        "timestamp": (int,),
        **dict.fromkeys(_PLAIN, (str, bool, int)),
        "constrains": (list,),
        "track_features": (str, list),
    }
    faults = [
        f"{key} of its index.json is {str(index[key])[:_SHOWN]!r}"
        for key, types in expected.items()
        if index.get(key) is not None and not isinstance(index[key], types)
    ]
    faults += [
        f"{key} of its index.json has {str(item)[:_SHOWN]!r}"
        for key in ("depends", "constrains", "track_features")
        if isinstance(index.get(key), list)
        for item in index[key]
        if not isinstance(item, str)
    ]
    return faults


def _path_faults(paths: Sequence[str]) -> list[str]:
    faults = [f"{path!r} {fault}" for path in paths if (fault := path_fault(path))]
    faults += [f"{path!r} is not a package's to bring" for path in paths if is_record(path)]
    counted = Counter(paths)
    faults += [f"{path!r} is listed twice" for path, count in counted.items() if count > 1]
    return faults


def _point_faults(points: Sequence[str]) -> list[str]:
    return [
        f"{point!r} is not an entry point"
        for point in points
        if not (match := _ENTRY_POINT.fullmatch(point)) or path_fault(f"bin/{match['name']}")
    ]

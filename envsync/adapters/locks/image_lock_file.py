"""Reading ``image.yaml``: what a lock says of its base image, and what is known of its packages."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping as Map

from envsync.adapters.files.strict_yaml import Limits, parse_document
from envsync.errors import InvalidInput, Position
from envsync.model.config_reader import fault_of
from envsync.model.document import (
    Faults,
    Mapping,
    Node,
    Scalar,
    as_mapping,
    as_text,
    as_text_map,
    shown,
)
from envsync.model.lock import BasePlatform, ImageLock
from envsync.model.lock_text import IMAGE_FORMAT, PLAIN_LICENSE, split_tables
from envsync.model.reference import names_environment, parse_image_reference

LOCK_LIMITS = Limits(size=64 * 1024 * 1024, depth=8, nodes=2_000_000)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SIZE = re.compile(r"[0-9]{1,15}")
_DAY = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")
_TABLES = {
    "sizes": (_SIZE, "a number of bytes"),
    "licenses": (PLAIN_LICENSE, "a licence of at most 200 plain characters"),
    "released": (_DAY, "a day such as 2025-03-31"),
}
"""What image.yaml says of packages by their file names: the form of a value, and its name."""


def read_image(data: bytes, file: str, faults: Faults) -> ImageLock:
    """Return what ``image.yaml`` says; what is wrong goes to *faults*."""
    text = decoded(data, file, faults)
    ours = split_tables(text) if text is not None else None
    head, tables = ours if ours is not None else (data.decode(errors="replace"), {})
    node: Node | None = parse_document(head.encode(), file, faults, LOCK_LIMITS)
    header = as_mapping(node, "The file", faults)
    if header is None:
        if not len(faults):
            faults.add(Position(file=file), "The file is empty", "envsync lock")
        return ImageLock(request="", image="")
    check_number(header, "format", IMAGE_FORMAT, file, faults)
    texts = {}
    for key in ("request", "image", "source", "digest", "conda_lock", "chosen"):
        if value := as_text(header.get(key), f"'{key}'", faults):
            texts[key] = value.text
    for key, pattern in (("request", _SHA256), ("digest", _DIGEST), ("conda_lock", _SHA256)):
        if (key in texts or key == "request") and not pattern.fullmatch(texts.get(key, "")):
            faults.add(Position(file=file), f"'{key}' is {shown(texts.get(key, ''))}, not a hash")
    _check_source(texts, Position(file=file), faults)
    here = Position(file=file)
    if "chosen" in texts and not _is_day(texts["chosen"]):
        faults.add(here, f"'chosen' is {shown(texts['chosen'])}, not a day such as 2025-03-31")
    for table, (form, problem) in _TABLES.items():
        read = as_text_map(header.get(table), f"'{table}'", faults)
        tables[table] = tables.get(table, {}) | {key: node.text for key, node in read.items()}
        for key, text in tables[table].items():
            if not form.fullmatch(text):
                where = read[key].where if key in read else here
                faults.add(where, f"{table} of {shown(key)}: {shown(text)} is not {problem}")
    return ImageLock(
        request=texts.get("request", ""),
        image=texts.get("image", ""),
        source=texts.get("source", ""),
        digest=texts.get("digest", ""),
        conda_lock=texts.get("conda_lock", ""),
        platforms=_base_platforms(header, faults),
        bases=_bases(header, faults),
        virtual_packages={
            key: value.text
            for key, value in as_text_map(
                header.get("virtual_packages"), "'virtual_packages'", faults
            ).items()
        },
        sizes={key: int(v) for key, v in tables["sizes"].items() if _SIZE.fullmatch(v)},
        licenses=tables["licenses"],
        released=tables["released"],
        chosen=texts.get("chosen", ""),
    )


def _is_day(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _check_source(texts: Map[str, str], where: Position, faults: Faults) -> None:
    """An environment as base stands in the lock with the image that it was."""
    source = texts.get("source", "")
    if not source and names_environment(texts.get("image", "")):
        faults.add(where, f"'source' does not say where {shown(texts['image'])} is", "envsync lock")
    if source:
        try:
            parse_image_reference(source)
        except InvalidInput as error:
            fault_of(error, where, faults)


def _base_platforms(header: Mapping, faults: Faults) -> dict[str, BasePlatform]:
    found = {}
    mapping = as_mapping(header.get("platforms"), "'platforms'", faults)
    for key, value in mapping.entries if mapping else ():
        base = as_text_map(value, f"'{key.text}'", faults)
        digest = base["digest"].text if "digest" in base else ""
        if not _DIGEST.fullmatch(digest):
            faults.add(key.where, f"The base of {shown(key.text)} has no digest")
        found[key.text] = BasePlatform(
            digest=digest, glibc=base["glibc"].text if "glibc" in base else ""
        )
    return found


def _bases(header: Mapping, faults: Faults) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    mapping = as_mapping(header.get("bases"), "'bases'", faults)
    for key, value in mapping.entries if mapping else ():
        images = as_text_map(value, f"'{key.text}'", faults)
        found[key.text] = {image: digest.text for image, digest in images.items()}
        for image, digest in images.items():
            if not _DIGEST.fullmatch(digest.text):
                faults.add(digest.where, f"The digest of {shown(image)} is {shown(digest.text)}")
    return found


def check_number(header: Mapping, key: str, known: int, file: str, faults: Faults) -> None:
    """Note it when a file is not of the version *known*, as *key* says it."""
    node = header.get(key)
    where = node.where if node is not None else Position(file=file)
    found = node.text if isinstance(node, Scalar) else ""
    if found != str(known):
        faults.add(
            where,
            f"{key} of the file is {shown(found)}; this envsync reads {key} {known}"
            if found
            else f"The file has no {key}; this envsync reads {key} {known}",
            "Upgrade envsync, or lock again: envsync lock",
        )


def decoded(data: bytes, file: str, faults: Faults) -> str | None:
    """Return the text of a file; None, with a fault, when it is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        faults.add(Position(file=file), f"The file is not UTF-8 text (byte {error.start})")
        return None

"""From the nodes of ``envsync.yaml`` to a `Config`, with every fault found."""

from __future__ import annotations

import re
from dataclasses import replace

from envsync.errors import InvalidInput, Position
from envsync.model.conda_file_reader import read_channels
from envsync.model.config import Compression, Config
from envsync.model.document import (
    Faults,
    Node,
    Scalar,
    absent,
    as_bool,
    as_mapping,
    as_text,
    as_texts,
    check_keys,
    nearest,
    shown,
)
from envsync.model.names import IMAGE_PLATFORMS, PLATFORMS
from envsync.model.places import carries_login
from envsync.model.policy_reader import read_policy
from envsync.model.reconcile import read_reconcile
from envsync.model.reference import is_azure_registry, parse_registry_location

KEYS = (
    "registry", "platforms", "channels", "remote", "copy_images", "allow_link_scripts",
    "registries", "compression", "policy", "reconcile", "referrers",
)  # fmt: skip
_ADVICE = {
    "namespace": "Write it after the registry: 'registry: host/namespace'.",
    "environments": "Environments stand in the folder environments/, one folder each.",
}
_ELSEWHERE = {
    "linux-arm64": "linux-aarch64", "linux/arm64": "linux-aarch64", "linux/amd64": "linux-64",
    "linux-amd64": "linux-64", "linux-x86_64": "linux-64", "macos-arm64": "osx-arm64",
    "darwin-arm64": "osx-arm64", "macos": "osx-arm64", "windows": "win-64",
}  # fmt: skip
"""What others call the platforms."""
_WHERE = "Write host[:port]/namespace, such as localhost:5000/curated."
_REMOTE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_PACKAGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def read_config(root: Node, faults: Faults) -> Config:
    """Read ``envsync.yaml``; what it does not say has its default."""
    default = Config()
    document = as_mapping(root, "envsync.yaml", faults)
    if document is None:
        return default
    check_keys(document, KEYS, "envsync.yaml", faults, _ADVICE)
    copy_images = as_bool(document.get("copy_images"), "'copy_images'", faults)
    referrers = as_bool(document.get("referrers"), "'referrers'", faults)
    registry = _registry(document.get("registry"), "'registry'", faults)
    return Config(
        registry=registry,
        platforms=read_platforms(document.get("platforms"), faults) or default.platforms,
        channels=read_channels(document.get("channels"), faults) or default.channels,
        remote=_name(document.get("remote"), "'remote'", _REMOTE, faults) or default.remote,
        copy_images=default.copy_images if copy_images is None else copy_images,
        allow_link_scripts=tuple(
            name
            for item in as_texts(document.get("allow_link_scripts"), "'allow_link_scripts'", faults)
            if (name := _name(item, "A package", _PACKAGE, faults))
        ),
        registries=_registries(document.get("registries"), faults),
        referrers=default.referrers if referrers is None else referrers,
        compression=_compression(document.get("compression"), faults),
        reconcile=read_reconcile(document.get("reconcile"), faults),
        policy=replace(read_policy(document.get("policy"), faults), own_registry=registry),
    )


def read_platforms(node: Node | None, faults: Faults) -> tuple[str, ...]:
    """Read a list of platforms; images can be made for at least one of them."""
    platforms: list[str] = []
    for item in as_texts(node, "'platforms'", faults):
        if item.text not in PLATFORMS:
            near = _ELSEWHERE.get(item.text.lower()) or nearest(item.text, PLATFORMS)
            hint = f"Did you mean '{near}'?" if near else f"Known: {', '.join(PLATFORMS)}."
            faults.add(item.where, f"{shown(item.text)} is not a platform", hint)
        elif item.text in platforms:
            faults.add(item.where, f"The platform {shown(item.text)} stands twice")
        else:
            platforms.append(item.text)
    if node is not None and platforms and not IMAGE_PLATFORMS.keys() & set(platforms):
        faults.add(
            node.where,
            "None of these platforms can have an image",
            f"Add {' or '.join(IMAGE_PLATFORMS)}.",
        )
    return tuple(platforms)


def fault_of(error: InvalidInput, where: Position, faults: Faults) -> None:
    """Note an error about a text as a fault of the place where the text stands."""
    detail = f": {error.detail[:1].lower()}{error.detail[1:]}" if error.detail else ""
    faults.add(where, f"{error.summary}{detail}".removesuffix("."), error.hint)


def _compression(node: Node | None, faults: Faults) -> Compression:
    text = as_text(node, "'compression'", faults)
    if text is None or text.text == "gzip":
        return "gzip"
    if text.text == "zstd":
        return "zstd"
    hint = "Write gzip, which every engine reads, or zstd, which Docker reads from 23 on."
    faults.add(text.where, f"{shown(text.text)} is not a way to compress layers", hint)
    return "gzip"


def _registries(node: Node | None, faults: Faults) -> dict[str, str]:
    mapping = as_mapping(node, "'registries'", faults)
    found = {}
    for key, value in mapping.entries if mapping else ():
        if not is_azure_registry(key.text):
            faults.add(
                key.where,
                f"{shown(key.text)} is not the name of a registry of Azure ML",
                "It is the part after azureml://registries/ in references.",
            )
        elif absent(value):
            faults.add(key.where, f"Nothing says where {shown(key.text)} is", _WHERE)
        elif location := _registry(value, shown(key.text), faults):
            found[key.text] = location
    return found


def _registry(node: Node | None, what: str, faults: Faults) -> str:
    text = as_text(node, what, faults)
    if text is None:
        return ""
    if carries_login(text.text):
        faults.add(
            text.where,
            "The registry holds a user, a password or a token",
            "Remove them and log in: docker login.",
        )
        return ""
    try:
        return str(parse_registry_location(text.text.strip()))
    except InvalidInput as error:
        fault_of(error, text.where, faults)
        return ""


def _name(node: Node | None, what: str, pattern: re.Pattern[str], faults: Faults) -> str:
    text = node if isinstance(node, Scalar) and not node.is_null else as_text(node, what, faults)
    if text is None:
        return ""
    if pattern.fullmatch(text.text) is None:
        faults.add(text.where, f"{what} cannot be called {shown(text.text)}")
        return ""
    return text.text

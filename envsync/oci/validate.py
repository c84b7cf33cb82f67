"""A validator of built images: what an engine, a registry or a reader of the format may rely on.

Tests and users call it; it reads everything, so it takes about as long as a pull.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from envsync.model.canonical import canonical_json
from envsync.model.json_text import read_json
from envsync.model.names import IMAGE_PLATFORMS
from envsync.oci.codec import CODECS
from envsync.oci.descriptor import CONFIG, INDEX, MANIFEST, Descriptor, RawManifest
from envsync.oci.entry import ROOT, link_fault, path_fault
from envsync.oci.hiding import MARK, hiding_segment
from envsync.oci.labels import DEFINITION
from envsync.oci.layer import DIFF_ID, KEY, layer_key
from envsync.oci.overlay import Member, members

_EXPAND = {codec.media_type: codec.expand for codec in CODECS.values()}
_HIDING = frozenset(layer_key([hiding_segment(codec).key], codec) for codec in CODECS.values())
"""Keys of the layer that hides a base's environment."""

Open = Callable[[Descriptor], Iterator[bytes]]
"""How to read a blob: base layers, configs and our layers."""


def validate(
    top: RawManifest,
    children: Sequence[RawManifest],
    read: Open,
    *,
    forbidden: tuple[bytes, ...] = (),
) -> tuple[str, ...]:
    """Return everything that is wrong with an image; () when it is good.

    *forbidden* are texts, such as placeholders and build paths, that must be in no file of ours.
    """
    if top.media_type == MANIFEST:
        return tuple(_manifest(top, read, forbidden))
    return tuple(_index(top, children, read, forbidden))


def _index(
    top: RawManifest, children: Sequence[RawManifest], read: Open, forbidden: tuple[bytes, ...]
) -> Iterator[str]:
    document = top.document()
    if document.get("mediaType") != INDEX or canonical_json(document) != top.body:
        yield "the index is not canonical JSON of an OCI index"
    listed = [Descriptor.parse(entry) for entry in document["manifests"]]
    if [d.digest for d in listed] != [child.digest for child in children]:
        yield "the index does not list exactly its manifests, in their order"
    platforms = [(d.platform.get("os"), d.platform.get("architecture")) for d in listed]
    if platforms != sorted(set(platforms), key=str):
        yield "the platforms of the index are not sorted, or one is there twice"
    for descriptor, child in zip(listed, children, strict=False):
        yield from _manifest(child, read, forbidden)
        config = _config(child, read)
        found = (config.get("os"), config.get("architecture"))
        if found != (descriptor.platform.get("os"), descriptor.platform.get("architecture")):
            yield f"the index says {dict(descriptor.platform)} of an image for {found}"


def _config(manifest: RawManifest, read: Open) -> Mapping[str, Any]:
    descriptor = Descriptor.parse(manifest.document()["config"])
    document = read_json(b"".join(read(descriptor)))
    return document if isinstance(document, dict) else {}


def _manifest(manifest: RawManifest, read: Open, forbidden: tuple[bytes, ...]) -> Iterator[str]:
    document = manifest.document()
    if document.get("mediaType") != MANIFEST or canonical_json(document) != manifest.body:
        yield "a manifest is not canonical JSON of an OCI manifest"
    descriptor = Descriptor.parse(document["config"])
    body = b"".join(read(descriptor))
    yield from _bytes_of(descriptor, body)
    if descriptor.media_type != CONFIG:
        yield f"the config is {descriptor.media_type}"
    config = _config(manifest, read)
    layers = [Descriptor.parse(entry) for entry in document["layers"]]
    yield from _config_faults(config, body, document, layers)
    own = _own(layers)
    if len({layer.digest for layer in own}) != len(own):
        yield "a layer of packages is there twice"
    diff_ids = config.get("rootfs", {}).get("diff_ids", [])
    shipped: dict[str, str] = {}
    for at, (layer, diff_id) in enumerate(zip(layers, diff_ids, strict=False)):
        if KEY in layer.annotations and at >= len(layers) - len(own):
            for fault in _layer(layer, diff_id, read, forbidden, shipped):
                yield f"layer {layer.digest}: {fault}"


def _own(layers: Sequence[Descriptor]) -> Sequence[Descriptor]:
    """Return the layers of the environment, at the top; below what hides it is the base's own."""
    keys = [layer.annotations.get(KEY, "") for layer in layers]
    first = next((at for at, key in enumerate(keys) if key), len(keys))
    hiding = [at for at, key in enumerate(keys) if key in _HIDING]
    return layers[max([first, *hiding]) :]


def _bytes_of(descriptor: Descriptor, body: bytes) -> Iterator[str]:
    found = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if (found, len(body)) != (descriptor.digest, descriptor.size):
        yield f"{descriptor.digest} ({descriptor.size} bytes) is {found} ({len(body)} bytes)"


def _config_faults(
    config: Mapping[str, Any],
    body: bytes,
    manifest: Mapping[str, Any],
    layers: Sequence[Descriptor],
) -> Iterator[str]:
    if canonical_json(config) != body:
        yield "the config is not canonical JSON"
    if (config.get("os"), config.get("architecture")) not in IMAGE_PLATFORMS.values():
        yield "the config is for no platform that images are made for"
    if len(config.get("rootfs", {}).get("diff_ids", ())) != len(layers):
        yield "the config has not one diff id for each layer"
    filled = [entry for entry in config.get("history", ()) if not entry.get("empty_layer")]
    if len(filled) != len(layers):
        yield "the config has not one history entry for each layer"
    label = config.get("config", {}).get("Labels", {}).get(DEFINITION)
    if not label or label != manifest.get("annotations", {}).get(DEFINITION):
        yield "label and annotation do not agree on the definition hash"


def _layer(
    layer: Descriptor,
    diff_id: str,
    read: Open,
    forbidden: tuple[bytes, ...],
    shipped: dict[str, str],
) -> Iterator[str]:
    expand = _EXPAND.get(layer.media_type)
    if expand is None:
        yield f"it is {layer.media_type}"
        return
    if layer.annotations.get(DIFF_ID) != diff_id:
        yield "annotation and config do not agree on its diff id"
    packed, plain = _Meter(read(layer)), _Meter(())
    plain.source = expand(iter(packed))
    try:
        yield from _contents(members(plain, forbidden), layer.digest, shipped)
        for _ in plain:  # what stands after the end mark counts too
            pass
    except ValueError as error:
        yield str(error)
        return
    if (packed.digest, packed.size) != (layer.digest, layer.size):
        yield f"its bytes are {packed.digest} ({packed.size} bytes)"
    if plain.digest != diff_id:
        yield f"its uncompressed bytes are {plain.digest}, not {diff_id}"


class _Meter:
    """Counts and hashes what passes."""

    def __init__(self, source: Iterable[bytes]) -> None:
        self.source = source
        self.size = 0
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.source:
            self.size += len(chunk)
            self._hash.update(chunk)
            yield chunk

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _contents(found: Iterator[Member], layer: str, shipped: dict[str, str]) -> Iterator[str]:
    folders = set[str]()
    own: dict[str, Member] = {}
    for member in found:
        path, node = member.path, member.node
        if path in own:
            yield f"/{path} is there twice"
        own[path] = member
        if path != MARK and (fault := path_fault(path)):
            yield f"/{path} {fault}"
        above = path.rpartition("/")[0]
        if above and above not in folders:
            yield f"/{path} comes before its folder"
        if member.owner != (0, 0, "", ""):
            yield f"/{path} belongs to {member.owner}"
        if node.kind == "folder":
            folders.add(path)
            if node.mode != 0o755:
                yield f"/{path} has the mode {node.mode:o}"
            continue
        if path in shipped:
            yield f"/{path} is also in layer {shipped[path]}"
        shipped[path] = layer
        yield from _entry_faults(member, own)


def _entry_faults(member: Member, own: Mapping[str, Member]) -> Iterator[str]:
    path, node = member.path, member.node
    inside = path.removeprefix(f"{ROOT}/")
    if inside == path:
        yield f"/{path} is outside of /{ROOT}"
    if node.kind == "other":
        yield f"/{path} is neither a file nor a folder nor a link"
    elif node.kind == "link":
        if fault := link_fault(inside, node.target):
            yield f"/{path} {fault}"
    elif node.mode not in {0o644, 0o755}:
        yield f"/{path} has the mode {node.mode:o}"
    if member.hard_link and own.get(member.hard_link, member).node.kind != "file":
        yield f"/{path} is a hard link to no file"
    if member.hard_link and member.hard_link not in own:
        yield f"/{path} is a hard link to what is not in its layer"
    for text in member.leftovers:
        yield f"/{path} has {text[:40]!r} left in it"

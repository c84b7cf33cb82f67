"""What an engine built, as an image of ours: its config without what only says how it was built.

Source: https://github.com/moby/docker-image-spec/blob/main/spec.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from envsync.errors import InvalidInput
from envsync.model.canonical import Json, canonical_json
from envsync.model.json_text import read_json
from envsync.model.names import IMAGE_PLATFORMS
from envsync.oci.config import EPOCH
from envsync.oci.descriptor import is_digest

_KEPT = ("author", "variant", "os.version", "os.features")
_BUILD_ONLY = ("Image", "Hostname", "Domainname", "AttachStdin", "AttachStdout",
               "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "ArgsEscaped")  # fmt: skip
_NO_CLOCK = ("created_by", "author", "comment", "empty_layer")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedImage:
    """What the archive of ``docker save`` says of the one image in it."""

    config: str
    """Path of the config in the archive."""
    layers: tuple[str, ...]
    """Paths of the layers, from the lowest."""


def parse_archive_manifest(body: bytes) -> SavedImage:
    """Read ``manifest.json`` of an archive; InvalidInput when it has not exactly one image."""
    try:
        (image,) = read_json(body)
        return SavedImage(
            config=str(image["Config"]), layers=tuple(map(str, image["Layers"] or ()))
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _bad(f"Its archive cannot be read: {error!r}.") from error


def engine_config(
    body: bytes, platform: str, labels: Mapping[str, str]
) -> tuple[bytes, tuple[str, ...]]:
    """Return the config as it is published, and the diff ids of its layers.

    Ids of containers, host names and the clock are left out, so that steps that gave the same files
    give the same image.
    """
    try:
        document = read_json(body)
        found = (document["os"], document["architecture"])
        diff_ids = tuple(map(str, document["rootfs"]["diff_ids"] or ()))
        settings = {
            key: value
            for key, value in (document.get("config") or {}).items()
            if key not in _BUILD_ONLY and value not in (None, "")
        }
        settings["Labels"] = {**(settings.get("Labels") or {}), **labels}
        history = [
            {key: entry[key] for key in _NO_CLOCK if key in entry}
            for entry in document.get("history") or ()
        ]
        if sum(not entry.get("empty_layer") for entry in history) != len(diff_ids):
            history = [{"created_by": "a container engine"} for _ in diff_ids]
        rendered: dict[str, Json] = {
            **{key: document[key] for key in _KEPT if key in document},
            "created": EPOCH,
            "os": found[0],
            "architecture": found[1],
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
            "history": history,
        }
        config = canonical_json(rendered)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _bad(f"Its config cannot be read: {error!r}.") from error
    if found != IMAGE_PLATFORMS[platform]:
        raise _bad(f"It is for {'/'.join(map(str, found))}, not for {platform}.")
    if not all(map(is_digest, diff_ids)):
        raise _bad("Its diff ids are not digests.")
    return config, diff_ids


def _bad(detail: str) -> InvalidInput:
    return InvalidInput("the image that the engine built cannot be used", detail=detail)

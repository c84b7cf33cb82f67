"""What an image's config says of running it.

Source: https://github.com/opencontainers/image-spec/blob/main/config.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envsync.errors import InvalidInput
from envsync.model.json_text import read_json
from envsync.model.names import IMAGE_PLATFORMS
from envsync.oci.descriptor import is_digest

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """How a container of an image starts, and what its layers must come to."""

    platform: str
    """In conda's words, such as linux-64; ``os/architecture`` where conda has none."""
    diff_ids: tuple[str, ...]
    variables: Mapping[str, str]
    entry_point: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    folder: str = "/"
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def program(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """Return what is executed when *command* is asked for; empty asks for the image's own."""
        return (*self.entry_point, *(command or self.command))


def parse_run_config(body: bytes, where: str) -> RunConfig:
    """Read an image's config; InvalidInput when it is none. *where* is for messages."""
    try:
        document = read_json(body)
        system = (str(document["os"]), str(document["architecture"]))
        diff_ids = tuple(map(str, document["rootfs"]["diff_ids"]))
        settings = dict(document.get("config") or {})
        pairs = (str(item).partition("=") for item in settings.get("Env") or ())
        variables = {name: value for name, _, value in pairs if name}
        config = RunConfig(
            platform=next((p for p, s in IMAGE_PLATFORMS.items() if s == system), "/".join(system)),
            diff_ids=diff_ids,
            variables={"PATH": _PATH, **variables},
            entry_point=_words(settings.get("Entrypoint")),
            command=_words(settings.get("Cmd")),
            folder=str(settings.get("WorkingDir") or "/"),
            user=str(settings.get("User") or ""),
            labels={str(k): str(v) for k, v in (settings.get("Labels") or {}).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _bad(where, f"It cannot be read: {error!r}.") from error
    if not all(map(is_digest, diff_ids)):
        raise _bad(where, "Its diff ids are not digests.")
    return config


def _words(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return tuple(map(str, value))


def _bad(where: str, detail: str) -> InvalidInput:
    return InvalidInput("the image's config cannot be used", detail=f"{where}: {detail}")

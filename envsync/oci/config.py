"""The image config: what a container of the image starts with.

Source: https://github.com/opencontainers/image-spec/blob/main/config.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envsync.errors import InvalidInput
from envsync.model.canonical import Json, canonical_json
from envsync.model.definition import FORMAT
from envsync.model.json_text import read_json
from envsync.model.names import IMAGE_PLATFORMS
from envsync.model.spec import InferenceConfig
from envsync.oci.activation import ENTRY_POINT, SETUP, SETUP_LABEL
from envsync.oci.descriptor import is_digest
from envsync.oci.entry import PREFIX
from envsync.oci.labels import BASE_DIGEST, DEFINITION, FORMAT_NUMBER
from envsync.oci.layer import WrittenLayer
from envsync.oci.service import exposed_ports, health_check, route_labels

EPOCH = "1970-01-01T00:00:00Z"
"""When an image without a base was created, for reproducible images have no clock."""

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("author", "variant", "os.version", "os.features")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseConfig:
    """What an image takes over from its base's config; an empty one stands for scratch."""

    created: str = EPOCH
    settings: Mapping[str, Any] | None = None
    """The member ``config``: user, environment, entry point, labels and so on."""
    diff_ids: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    extra: Mapping[str, Any] | None = None
    """Other members that stay as they are, such as ``variant``."""

    @property
    def has_environment(self) -> bool:
        """Whether the base has an environment where ours goes, as images of envsync have."""
        return f"CONDA_PREFIX={PREFIX}" in ((self.settings or {}).get("Env") or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the definition and the packages add to the base's config."""

    platform: str
    definition_hash: str
    base_digest: str
    variables: Mapping[str, str]
    user: str
    entry_point: str
    """Program that runs before the base's entry point; '' for none."""
    inference_config: InferenceConfig | None = None
    """How a web service of the image is reached and watched."""
    python: bool = False
    """Whether the environment has a Python."""
    setup: bool = False
    """Whether the image has a script that prepares a node."""


def parse_base_config(body: bytes, platform: str, layers: int) -> BaseConfig:
    """Read a base image's config; InvalidInput when it does not fit *platform* or its *layers*."""
    wanted = IMAGE_PLATFORMS[platform]
    try:
        document = read_json(body)
        found = (document["os"], document["architecture"])
        diff_ids = tuple(map(str, document["rootfs"]["diff_ids"]))
        history = tuple(dict(entry) for entry in document.get("history") or ())
        settings = dict(document.get("config") or {})
        extra = {key: document[key] for key in _KEPT if key in document}
        _check_settings(settings)
        canonical_json({**extra, "config": settings, "history": history})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _bad(f"It cannot be read: {error!r}.") from error
    if found != wanted:
        raise _bad(f"It is for {'/'.join(map(str, found))}, and {'/'.join(wanted)} is needed.")
    if len(diff_ids) != layers or not all(map(is_digest, diff_ids)):
        raise _bad(f"It lists {len(diff_ids)} diff ids for {layers} layers.")
    if sum(not entry.get("empty_layer") for entry in history) != layers:
        # Some tools write no history; entries and layers must match for those that read it.
        history = tuple({"created_by": "base image"} for _ in range(layers))
    return BaseConfig(
        created=str(document.get("created") or EPOCH),
        settings=settings,
        diff_ids=diff_ids,
        history=history,
        extra=extra,
    )


def render_config(base: BaseConfig, settings: Settings, layers: Sequence[WrittenLayer]) -> bytes:
    """Return the canonical JSON of an image's config."""
    os_name, architecture = IMAGE_PLATFORMS[settings.platform]
    document: dict[str, Json] = {
        **(base.extra or {}),
        "created": base.created,
        "os": os_name,
        "architecture": architecture,
        "config": _container(dict(base.settings or {}), settings),
        "rootfs": {"type": "layers", "diff_ids": [*base.diff_ids, *(la.diff_id for la in layers)]},
        "history": [
            *base.history,
            *(
                {
                    "created": base.created,
                    "created_by": "envsync",
                    "comment": layer.comment,
                }
                for layer in layers
            ),
        ],
    }
    return canonical_json(document)


def marks(settings: Settings) -> dict[str, str]:
    """Return the labels and annotations that say what an image is."""
    return {
        DEFINITION: settings.definition_hash,
        FORMAT_NUMBER: str(FORMAT),
        **({BASE_DIGEST: settings.base_digest} if settings.base_digest else {}),
    }


def environment(base: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """Return ``Env``: the base's variables in their order, ours, then *variables* by name."""
    found = dict(item.partition("=")[::2] for item in base)
    path = found.get("PATH") or _DEFAULT_PATH
    found["PATH"] = f"{PREFIX}/bin:{path.removeprefix(f'{PREFIX}/bin:')}"
    found["CONDA_PREFIX"] = PREFIX
    found["CONDA_DEFAULT_ENV"] = PREFIX
    found.setdefault("LANG", "C.UTF-8")
    for name in sorted(variables):
        found[name] = variables[name]
    return [f"{name}={value}" for name, value in found.items()]


def _container(config: dict[str, Any], settings: Settings) -> dict[str, Json]:
    config["Env"] = environment(config.get("Env") or (), settings.variables)
    config["Labels"] = {**(config.get("Labels") or {}), **marks(settings)}
    if settings.setup:
        config["Labels"][SETUP_LABEL] = SETUP
    if (service := settings.inference_config) is not None:
        config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **exposed_ports(service)}
        config["Labels"].update(route_labels(service))
        if settings.python:
            config["Healthcheck"] = health_check(service)
    if settings.user:
        config["User"] = settings.user
    entry_points = config.get("Entrypoint") or ()
    if ENTRY_POINT in entry_points:
        # The base's own environment is hidden, and what its activation needs with it.
        config["Entrypoint"] = [part for part in entry_points if part != ENTRY_POINT] or None
    if settings.entry_point:
        config["Entrypoint"] = [settings.entry_point, *(config.get("Entrypoint") or ())]
    # What docker leaves behind from its own builds says nothing of this image.
    for key in ("Image", "Hostname", "Domainname", "OnBuild"):
        config.pop(key, None)
    return {key: value for key, value in config.items() if value is not None}


def _check_settings(settings: Mapping[str, Any]) -> None:
    for key in ("Env", "Entrypoint"):
        if not all(isinstance(item, str) for item in settings.get(key) or ()):
            raise TypeError(f"{key} is not a list of texts")
    if not isinstance(settings.get("Labels") or {}, Mapping):
        raise TypeError("Labels is not an object")


def _bad(detail: str) -> InvalidInput:
    return InvalidInput("the base image's config cannot be used", detail=detail)

"""Parts of an environment YAML: envsync's own settings, and the routes of a web service."""

from __future__ import annotations

import re

from envsync.model.conda_file_reader import read_variables
from envsync.model.config_reader import KEYS as CONFIG_KEYS
from envsync.model.config_reader import read_platforms
from envsync.model.document import (
    Faults,
    Mapping,
    Node,
    absent,
    as_mapping,
    as_text,
    as_text_map,
    as_whole_number,
    check_keys,
    shown,
)
from envsync.model.names import is_name
from envsync.model.spec import InferenceConfig, Route, Settings

SETTINGS_KEYS = ("platforms", "virtual_packages", "environment_variables", "user")
_ADVICE = {"variables": "Write 'environment_variables:'."}
_OF_ALL = "It is a setting of the whole repository: write it in envsync.yaml."
ROUTES = ("liveness_route", "readiness_route", "scoring_route")
_ID = r"(?:[a-z_][a-z0-9_-]{0,31}|[0-9]{1,10})"
_USER = re.compile(rf"{_ID}(?::{_ID})?")
_VIRTUAL = re.compile(r"__[a-z0-9_-]+")
_VIRTUAL_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.+-]*")


def read_inference_config(node: Node | None, faults: Faults) -> InferenceConfig | None:
    """Read the three routes of a web service; all of them are needed."""
    mapping = as_mapping(node, "'inference_config'", faults)
    if mapping is None:
        return None
    check_keys(mapping, ROUTES, "'inference_config'", faults, {})
    routes = {name: _route(mapping, name, faults) for name in ROUTES}
    liveness, readiness, scoring = (routes[name] for name in ROUTES)
    if liveness is None or readiness is None or scoring is None:
        return None
    return InferenceConfig(
        liveness_route=liveness, readiness_route=readiness, scoring_route=scoring
    )


def _route(config: Mapping, name: str, faults: Faults) -> Route | None:
    node = config.get(name)
    if absent(node):
        faults.add(
            config.where,
            f"'inference_config' has no '{name}'",
            f"All of {', '.join(ROUTES)} are needed.",
        )
        return None
    mapping = as_mapping(node, f"'{name}'", faults)
    if mapping is None:
        return None
    check_keys(mapping, ("port", "path"), f"'{name}'", faults, {})
    for key in ("port", "path"):
        if absent(mapping.get(key)):
            faults.add(
                mapping.where,
                f"'{name}' has no '{key}'",
                "Write {port: 5001, path: /}, for example.",
            )
    port = as_whole_number(mapping.get("port"), "'port'", faults, low=1, high=65535)
    path = as_text(mapping.get("path"), "'path'", faults)
    if path is not None and not re.fullmatch(r"/[!-~]*", path.text):
        faults.add(
            path.where,
            f"{shown(path.text)} is not the path of a route",
            "Write it as it stands in a URL after the host: '/' first, without spaces.",
        )
        return None
    return Route(port=port, path=path.text) if port is not None and path is not None else None


def read_settings(node: Node | None, faults: Faults) -> Settings:
    """Read envsync's own settings."""
    mapping = as_mapping(node, "'envsync'", faults)
    if mapping is None:
        return Settings()
    advice = {**dict.fromkeys(CONFIG_KEYS, _OF_ALL), **_ADVICE}
    check_keys(mapping, SETTINGS_KEYS, "'envsync'", faults, advice)
    return Settings(
        platforms=read_platforms(mapping.get("platforms"), faults),
        virtual_packages=_virtual_packages(mapping.get("virtual_packages"), faults),
        environment_variables=read_variables(
            mapping.get("environment_variables"), "'environment_variables'", faults
        ),
        user=_user(mapping.get("user"), faults),
    )


def _virtual_packages(node: Node | None, faults: Faults) -> dict[str, str]:
    packages = {}
    for name, version in as_text_map(node, "'virtual_packages'", faults).items():
        if not _VIRTUAL.fullmatch(name):
            faults.add(
                version.where,
                f"{shown(name)} is not a virtual package",
                f"Did you mean '__{name.strip('_')}'?" if is_name(name.strip("_")) else "",
            )
        elif not _VIRTUAL_VERSION.fullmatch(version.text):
            faults.add(
                version.where,
                f"{shown(version.text)} is not the version of {name}",
                f'Write {name}: "12.4", for example.',
            )
        else:
            packages[name] = version.text
    return packages


def _user(node: Node | None, faults: Faults) -> str:
    text = as_text(node, "'user'", faults)
    if text is None:
        return ""
    if not _USER.fullmatch(text.text):
        faults.add(
            text.where,
            f"{shown(text.text)} is not a user",
            "Write a name in lower case or a number, and a group if needed: app:app or 1000.",
        )
        return ""
    return text.text

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
    as_texts,
    as_whole_number,
    check_keys,
    shown,
)
from envsync.model.names import is_name
from envsync.model.places import carries_credentials
from envsync.model.spec import InferenceConfig, Route, Settings

SETTINGS_KEYS = (
    "platforms", "virtual_packages", "environment_variables", "user",
    "build_arguments", "build_secrets", "build_timeout", "setup", "interpreter_path",
)  # fmt: skip
_ADVICE = {
    "variables": "Write 'environment_variables:'.",
    "build_args": "Write 'build_arguments:'.",
    "args": "Write 'build_arguments:'.",
    "secrets": "Write 'build_secrets:'.",
}
_OF_ALL = "It is a setting of the whole repository: write it in envsync.yaml."
ROUTES = ("liveness_route", "readiness_route", "scoring_route")
_ID = r"(?:[a-z_][a-z0-9_-]{0,31}|[0-9]{1,10})"
_USER = re.compile(rf"{_ID}(?::{_ID})?")
_VIRTUAL = re.compile(r"__[a-z0-9_-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INTERPRETER = re.compile(r"(?:/[A-Za-z0-9_.+-]+)+")
_DAY = 24 * 60 * 60
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
        build_arguments=_build_arguments(mapping.get("build_arguments"), faults),
        build_secrets=_build_secrets(mapping, faults),
        build_timeout=as_whole_number(
            mapping.get("build_timeout"), "'build_timeout'", faults, low=1, high=_DAY
        )
        or Settings().build_timeout,
        setup=_setup(mapping.get("setup"), faults),
        interpreter_path=_interpreter_path(mapping.get("interpreter_path"), faults),
    )


def check_settings(document: Mapping, faults: Faults) -> None:
    """Note settings that mean nothing in an environment of this kind."""
    settings = document.get("envsync")
    if not isinstance(settings, Mapping):
        return
    dockerfile = not absent(document.get("build"))
    for key in ("build_arguments", "build_secrets", "build_timeout"):
        if not dockerfile and (found := settings.key(key)) is not None:
            faults.add(
                found.where,
                f"{shown(key)} has no effect here: there is no 'build'",
                "It is for environments that are built from a Dockerfile.",
            )
    if not absent(document.get("conda_file")):
        if (found := settings.key("interpreter_path")) is not None:
            faults.add(
                found.where,
                "'interpreter_path' has no effect here: python is that of 'conda_file'",
                "It is for images that bring their own Python.",
            )
        return
    for key in ("virtual_packages", "environment_variables", "user", "setup"):
        if (found := settings.key(key)) is not None:
            faults.add(
                found.where,
                f"{shown(key)} has no effect here: envsync installs nothing into this image",
                "Write it into the Dockerfile."
                if dockerfile
                else "Add 'conda_file:' to build an image on top of this one.",
            )


def _build_arguments(node: Node | None, faults: Faults) -> dict[str, str]:
    found = {}
    for name, value in as_text_map(node, "'build_arguments'", faults).items():
        if not _VARIABLE.fullmatch(name):
            faults.add(value.where, f"{shown(name)} is not the name of an ARG")
        elif name.startswith("BUILDKIT_"):
            faults.add(
                value.where,
                f"{shown(name)} is for the builder, not for the Dockerfile",
                "It could make the builder run a program that is not locked; remove it.",
            )
        elif value.is_null:
            faults.add(
                value.where,
                f"{name} has no value",
                "An argument's value decides what is built, so it stands in the spec.",
            )
        elif carries_credentials(value.text):
            faults.add(
                value.where,
                f"{name} holds a user, a password or a token",
                "Arguments stand in the image's history. Name a variable in 'build_secrets:'.",
            )
        else:
            found[name] = value.text
    return found


def _build_secrets(settings: Mapping, faults: Faults) -> tuple[str, ...]:
    names: list[str] = []
    arguments = as_mapping(settings.get("build_arguments"), "'build_arguments'", Faults())
    for item in as_texts(settings.get("build_secrets"), "'build_secrets'", faults):
        if not _VARIABLE.fullmatch(item.text):
            faults.add(
                item.where,
                f"{shown(item.text)} is not the name of a variable",
                "Name the environment variable; its value never stands in a file.",
            )
        elif arguments is not None and arguments.get(item.text) is not None:
            faults.add(item.where, f"{item.text} is an argument already; it cannot be a secret")
        elif item.text not in names:
            names.append(item.text)
    return tuple(sorted(names))


def _setup(node: Node | None, faults: Faults) -> str:
    text = as_text(node, "'setup'", faults)
    if text is None:
        return ""
    script = text.text
    if "\0" in script or not script.strip():
        faults.add(text.where, "'setup' is not a script")
        return ""
    if re.fullmatch(r"\s*\S*\.(?:sh|py|bash)\s*", script):
        faults.add(
            text.where,
            f"'setup' is the script itself, and {shown(script.strip())} is a file",
            f"Write 'setup: sh {script.strip()}' to run a file of the working folder.",
        )
        return ""
    return script


def _interpreter_path(node: Node | None, faults: Faults) -> str:
    text = as_text(node, "'interpreter_path'", faults)
    if text is None:
        return ""
    if not _INTERPRETER.fullmatch(text.text) or ".." in text.text.split("/"):
        faults.add(
            text.where,
            f"{shown(text.text)} is not the path of a program in the image",
            "Write it from the root, such as /usr/bin/python3.",
        )
        return ""
    return text.text


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

"""The package indexes a user has configured for pip or uv, as uv's environment variables.

Sources: https://docs.astral.sh/uv/reference/environment/ and
https://pip.pypa.io/en/stable/topics/configuration/
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path

# Everything of uv's that says where packages are and how to get there. What would change the
# choice of versions (UV_RESOLUTION, UV_CONSTRAINT, UV_INDEX_STRATEGY ...) is not passed on: a lock
# may depend on the spec and the indexes only.
_KEPT = frozenset(
    {
        "UV_CACHE_DIR",
        "UV_CONCURRENT_DOWNLOADS",
        "UV_DEFAULT_INDEX",
        "UV_EXTRA_INDEX_URL",
        "UV_FIND_LINKS",
        "UV_HTTP_RETRIES",
        "UV_HTTP_TIMEOUT",
        "UV_INDEX",
        "UV_INDEX_URL",
        "UV_INSECURE_HOST",
        "UV_KEYRING_PROVIDER",
        "UV_NATIVE_TLS",
        "UV_NO_INDEX",
        "UV_OFFLINE",
        "UV_SYSTEM_CERTS",
    }
)
_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}
"""pip's option to the variable that says the same to uv; uv's own variables win."""

_SAME = {
    "UV_DEFAULT_INDEX": "UV_INDEX_URL",
    "UV_INDEX": "UV_EXTRA_INDEX_URL",
}


def uv_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that uv runs in: the user's indexes, none of the other settings."""
    found = {
        name: value
        for name, value in environ.items()
        if not name.startswith(("UV_", "PIP_", "PYTHON", "VIRTUAL_ENV", "CONDA_"))
        or name in _KEPT
        # Names and passwords of indexes that have a name: UV_INDEX_<NAME>_USERNAME.
        or (name.startswith("UV_INDEX_") and name.endswith(("_USERNAME", "_PASSWORD")))
    }
    for option, value in pip_options(environ).items():
        variable = _PIP[option]
        if variable not in found and _SAME.get(variable, variable) not in found:
            found[variable] = _for_uv(option, value)
    return found


def pip_options(environ: Mapping[str, str]) -> dict[str, str]:
    """Return pip's options about indexes, from its files and then its variables."""
    found: dict[str, str] = {}
    for path in _files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            # pip itself says what is wrong with its configuration; here it is as if absent.
            continue
        for section in ("global", "download", "install"):
            if parser.has_section(section):
                found.update({key: parser.get(section, key) for key in parser.options(section)})
    for option in _PIP:
        variable = "PIP_" + option.upper().replace("-", "_")
        if environ.get(variable):
            found[option] = environ[variable]
    return {option: value for option, value in found.items() if option in _PIP and value.strip()}


def _files(environ: Mapping[str, str]) -> list[Path]:
    """Return pip's configuration files, the most important last."""
    if environ.get("PIP_CONFIG_FILE") == "/dev/null":
        return []
    files = [Path("/etc/pip.conf")]
    if home := environ.get("HOME"):
        files.append(Path(home) / ".pip/pip.conf")
        config = Path(environ.get("XDG_CONFIG_HOME") or f"{home}/.config")
        files.append(config / "pip/pip.conf")
    if environ.get("PIP_CONFIG_FILE"):
        files.append(Path(environ["PIP_CONFIG_FILE"]))
    return files


def _for_uv(option: str, value: str) -> str:
    words = value.split()
    if option == "find-links":
        return ",".join(words)
    if option == "no-index":
        return "1" if value.strip().lower() in {"1", "true", "yes", "on"} else "0"
    return " ".join(words)

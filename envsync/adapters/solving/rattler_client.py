"""The HTTP client for conda channels, set up as the user's other rattler-based tools are.

Mirrors, proxies, certificate authorities and logins come from rattler's shared configuration file
and from its authentication store. A mirror only moves where bytes are fetched from: locks keep the
channel's own URL, so that everybody can use them.
Source: https://rattler.prefix.dev (configuration)
"""

from __future__ import annotations

import os

import rattler
from rattler import Config
from rattler.exceptions import ConfigError

from envsync.errors import InvalidInput
from envsync.model.places import without_secrets


def _shared_files() -> list[tuple[str | os.PathLike[str], bool]]:
    """Return the configuration files that all rattler-based tools share, and that exist.

    ``/etc/envsync`` and the like are left out: envsync has its settings in the repository.
    """
    return [
        (path, shared)
        for path, shared in Config.config_search_paths("envsync")
        if shared and path.is_file()
    ]


def open_client() -> rattler.Client:
    """Return a client; InvalidInput when a configuration file is broken."""
    try:
        config = Config.load_from_locations(_shared_files())
    except (ValueError, ConfigError) as error:
        raise InvalidInput(
            "The configuration for conda channels cannot be read",
            detail=without_secrets(str(error)),
        ) from error
    return rattler.Client.from_config(config, max_retries=3)

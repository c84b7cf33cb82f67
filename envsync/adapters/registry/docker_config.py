"""Registry logins as docker users have them: ``config.json`` and credential helpers.

Source: https://docs.docker.com/reference/cli/docker/login/#credential-stores
"""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from envsync.errors import InvalidInput, NotAllowed
from envsync.model.json_text import read_json
from envsync.model.reference import DOCKER_HUB, request_host

_HUB_KEY = "https://index.docker.io/v1/"
_HELPER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*")
_HELPER_SECONDS = 60
_NOT_FOUND = "credentials not found in native keychain"
"""What every helper says when it has no login for a host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A login; neither part is shown by ``repr``."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """An OAuth 2 refresh token that stands in place of the password."""


class CredentialSource(Protocol):
    """Where logins come from."""

    def credentials(self, registry: str) -> Credentials | None:
        """Return the login for a registry as it is written (``docker.io``, ``host:port``)."""


class DockerConfig:
    """The logins of a docker configuration folder, and some given directly."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        logins: Mapping[str, Credentials] | None = None,
        before: Sequence[CredentialSource] = (),
        file: Path | None = None,
    ) -> None:
        """Read ``<folder>/config.json``, or *file*, which need not exist.

        *logins* by registry come first, then what the sources *before* have. Raises InvalidInput
        when the file is not one.
        """
        self._logins = dict(logins or {})
        self._before = tuple(before)
        self._path = file or (folder / "config.json" if folder else None)
        document = _read(self._path) if self._path else {}
        self._helpers = _mapping(document.get("credHelpers"))
        self._store = document.get("credsStore")
        self._auths = {
            _host_of(key): auth
            for key, auth in _mapping(document.get("auths")).items()
            if isinstance(auth, dict)
        }

    def credentials(self, registry: str) -> Credentials | None:
        """Return the login for *registry*; NotAllowed when its helper fails."""
        if registry in self._logins:
            return self._logins[registry]
        for source in self._before:
            found = source.credentials(registry)
            if found is not None:
                return found
        key = request_host(registry)
        helper = next(
            (self._helpers[name] for name in _spellings(registry) if name in self._helpers),
            self._store,
        )
        if helper:
            found = _ask(str(helper), _HUB_KEY if registry == DOCKER_HUB else registry)
            if found is not None:
                return found
        return self._from_file(self._auths.get(key))

    def _from_file(self, auth: Mapping[str, Any] | None) -> Credentials | None:
        if not auth:
            return None
        username, password = str(auth.get("username", "")), str(auth.get("password", ""))
        if auth.get("auth"):
            try:
                pair = base64.b64decode(str(auth["auth"]), validate=True).decode()
            except ValueError:  # not base64, not even ASCII, or not UTF-8 below it
                raise InvalidInput(
                    f"a login in {self._path} cannot be read",
                    detail="Its auth is not base64.",
                    hint="Log in again with `docker login`.",
                ) from None
            username, _, password = pair.partition(":")
            password = password.rstrip("\0")
        token = str(auth.get("identitytoken", ""))
        if not (username or token):
            return None
        return Credentials(username=username, password=password, identity_token=token)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = read_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidInput(f"cannot read {path}", detail=str(error.strerror)) from error
    except ValueError as error:
        # The error's own text quotes nothing of the file, which holds secrets.
        raise InvalidInput(
            f"{path} is not JSON",
            detail=str(error) if type(error) is not UnicodeDecodeError else "",
        ) from None
    if not isinstance(document, dict):
        raise InvalidInput(f"{path} is not a docker configuration")
    return document


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _host_of(key: str) -> str:
    """Return the host a key of ``auths`` means: keys are hosts, or old addresses with a path."""
    return request_host(
        key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]
    )


def _spellings(registry: str) -> tuple[str, ...]:
    return (registry, f"https://{registry}", *((_HUB_KEY,) if registry == DOCKER_HUB else ()))


def _ask(helper: str, server: str) -> Credentials | None:
    """Ask a credential helper; what it prints is never shown, because it may be a secret."""
    program = f"docker-credential-{helper}"

    def refuse(detail: str) -> NotAllowed:
        return NotAllowed(
            f"no login for {server}: the credential helper failed",
            detail=f"{program} get {detail}.",
            hint=f"See why:\n  echo {server} | {program} get",
        )

    if not _HELPER.fullmatch(helper):
        raise InvalidInput(f"{helper!r} cannot be the name of a credential helper")
    try:
        done = subprocess.run(
            [program, "get"],
            input=server.encode(),
            capture_output=True,
            timeout=_HELPER_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise refuse("is not installed, or not on the PATH") from None
    except OSError as error:
        raise refuse(f"cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise refuse(f"gave no answer in {_HELPER_SECONDS} seconds") from None
    if done.returncode:
        if _NOT_FOUND in (done.stdout + done.stderr).decode(errors="replace").lower():
            return None
        raise refuse(f"ended with code {done.returncode}")
    try:
        document = read_json(done.stdout)
        username, secret = str(document["Username"]), str(document["Secret"])
    except (ValueError, KeyError, TypeError):
        raise refuse("printed something that is not a login") from None
    if username == "<token>":
        return Credentials(identity_token=secret)
    return Credentials(username=username, password=secret) if secret else None

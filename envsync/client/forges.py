"""Which pull request on which forge, as options and the environment of a CI job say.

Sources: https://docs.github.com/en/actions/reference/variables-reference and
https://docs.gitlab.com/ci/variables/predefined_variables/
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from envsync.adapters.forges.forge_api import ForgeApi
from envsync.adapters.forges.github import GitHub, github_headers, pull_of_commit
from envsync.adapters.forges.gitlab import GitLab
from envsync.adapters.http.trust import DOCKER_CERTIFICATES, Trust
from envsync.adapters.http.wire import Timeouts, Wire
from envsync.client.registry_settings import registry_settings
from envsync.errors import Misuse, NotAllowed
from envsync.ports.forge import Forge

Provider = Literal["github", "gitlab"]

_REPOSITORY = {
    "github": re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+"),
    "gitlab": re.compile(r"[0-9]+|[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+"),
}
_TOKENS = {
    "github": ("GITHUB_TOKEN", "GH_TOKEN"),
    # A job's own token may not write comments.
    "gitlab": ("GITLAB_TOKEN",),
}
_EVENT_LIMIT = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What options say; what they leave open, the environment may say."""

    provider: Provider | None
    repository: str
    pull: int | None


def open_forge(
    where: Where,
    environ: Mapping[str, str],
    sleep: Callable[[float], None],
    closing: ExitStack,
) -> Forge | None:
    """Return the pull request's comments; None when nobody should be told any more.

    That is so where the run that made the plan is not the newest of its branch: its plan is old, or
    the pull request is closed. Raises Misuse when the place is not known, NotAllowed without token.
    """
    provider = where.provider or _provider(environ)
    names = _TOKENS[provider]
    token = next((environ[name] for name in names if environ.get(name)), "")
    if not token:
        raise NotAllowed(
            "there is no token to write comments with",
            hint=f"Set {' or '.join(names)} in the environment.",
        )
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise NotAllowed("the token has characters that no token has")
    repository = where.repository or environ.get(
        "GITHUB_REPOSITORY" if provider == "github" else "CI_PROJECT_ID", ""
    )
    if _REPOSITORY[provider].fullmatch(repository) is None or ".." in repository:
        raise Misuse(
            f"{repository!r} is not a repository" if repository else "which repository?",
            hint="Write --repository OWNER/NAME.",
        )
    if provider == "gitlab":
        gitlab_headers = (("PRIVATE-TOKEN", token),)
        base = environ.get("CI_API_V4_URL") or "https://gitlab.com/api/v4"
        pull = where.pull or _number(environ.get("CI_MERGE_REQUEST_IID", ""))
        if pull is None:
            raise _which_pull()
        api = _api(base, gitlab_headers, token, environ, sleep, closing)
        return GitLab(api, repository=repository, pull=pull)
    base = environ.get("GITHUB_API_URL") or "https://api.github.com"
    api = _api(base, github_headers(token), token, environ, sleep, closing)
    found = where.pull
    if found is None:
        found = _github_pull(api, repository, environ)
        if found is None:
            return None
    graphql = environ.get("GITHUB_GRAPHQL_URL") or "https://api.github.com/graphql"
    return GitHub(api, repository=repository, pull=found, graphql=graphql)


def _provider(environ: Mapping[str, str]) -> Provider:
    if environ.get("GITHUB_ACTIONS"):
        return "github"
    if environ.get("GITLAB_CI"):
        return "gitlab"
    raise Misuse("where is the pull request?", hint="Write --provider github or gitlab.")


def _api(
    base: str,
    headers: tuple[tuple[str, str], ...],
    token: str,
    environ: Mapping[str, str],
    sleep: Callable[[float], None],
    closing: ExitStack,
) -> ForgeApi:
    settings = registry_settings(environ, sleep)
    wire = Wire(
        trust=Trust(folders=[DOCKER_CERTIFICATES], authorities=settings.authorities),
        timeouts=Timeouts(),
        proxies=settings.proxies,
    )
    closing.callback(wire.close)
    return ForgeApi(
        base=base,
        headers=headers,
        secret=token,
        wire=wire,
        clock=settings.clock,
        deadline=Timeouts().deadline,
    )


def _github_pull(api: ForgeApi, repository: str, environ: Mapping[str, str]) -> int | None:
    """Return the pull request that the event of this run is about.

    The runner writes the event's file, so it can be believed, other than what an earlier job left.
    """
    event = _event(environ.get("GITHUB_EVENT_PATH", ""))
    number = event.get("pull_request", {}).get("number") or event.get("number")
    if isinstance(number, int):
        return number
    run = event.get("workflow_run")
    if not isinstance(run, dict):
        raise _which_pull()
    # The list of pull requests in the event is empty for those that come from a fork.
    try:
        head = f"{run['head_repository']['owner']['login']}:{run['head_branch']}"
        return pull_of_commit(api, repository, head, str(run["head_sha"]))
    except (KeyError, TypeError):
        raise _which_pull() from None


def _event(path: str) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as file:
            event = json.loads(file.read(_EVENT_LIMIT))
    except (OSError, ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,9}", text) else None


def _which_pull() -> Misuse:
    return Misuse("which pull request?", hint="Write --pull NUMBER.")

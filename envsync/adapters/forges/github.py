"""Comments on pull requests of GitHub.

https://docs.github.com/en/rest/issues/comments and
https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from envsync.adapters.forges.forge_api import ForgeApi
from envsync.adapters.http.retries import Again
from envsync.errors import NotAllowed
from envsync.ports.forge import Comment

T = TypeVar("T")

_BOT = "[bot]"


def github_headers(token: str) -> tuple[tuple[str, str], ...]:
    """Return the headers of every request."""
    return (
        ("Authorization", f"Bearer {token}"),
        ("Accept", "application/vnd.github+json"),
        ("X-GitHub-Api-Version", "2022-11-28"),
    )


class GitHub:
    """The comments of one pull request; implements `envsync.ports.forge.Forge`."""

    def __init__(self, api: ForgeApi, *, repository: str, pull: int, graphql: str) -> None:
        """*repository* is ``owner/name``, *graphql* the address of the other API."""
        self._api = api
        self._repository = quote(repository)
        self._pull = pull
        self._graphql = urlsplit(graphql).path
        self._me: tuple[str, bool] | None = None

    def patiently(self, attempt: Callable[[], T]) -> T:
        """Return what *attempt* returns, trying it again as a whole where that may help."""
        return self._api.patiently(attempt)

    def comments(self) -> Iterator[Comment]:
        """Yield all comments, the oldest first."""
        path = f"/repos/{self._repository}/issues/{self._pull}/comments?per_page=100"
        for entry in self._api.pages(path, "list comments"):
            yield self._comment(entry)

    def create(self, body: str) -> Comment:
        """Write a comment."""
        path = f"/repos/{self._repository}/issues/{self._pull}/comments"
        return self._comment(self._api.ask("POST", path, "write a comment", {"body": body}))

    def edit(self, comment: Comment, body: str) -> Comment:
        """Write a comment anew."""
        path = f"/repos/{self._repository}/issues/comments/{comment.id}"
        return self._comment(self._api.ask("PATCH", path, "edit a comment", {"body": body}))

    def _comment(self, entry: Any) -> Comment:
        login, is_bot = self._who()
        try:
            user = entry["user"] or {}  # who left GitHub is nobody
            own = user.get("login") == login and (user.get("type") == "Bot") == is_bot
            return Comment(
                id=int(entry["id"]),
                body=str(entry["body"] or ""),
                own=own,
                url=str(entry.get("html_url", "")),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Again("GitHub answered with something else than a comment") from None

    def _who(self) -> tuple[str, bool]:
        """Return the login that our comments have, and whether it is a bot's."""
        if self._me is None:
            try:
                user = self._api.ask("GET", "/user", "ask who we are")
                self._me = _text(user, "login"), user.get("type") == "Bot"
            except (KeyError, TypeError, AttributeError):
                raise Again("GitHub answered with something else than a user") from None
            except NotAllowed as refused:
                # An app, such as the token of GitHub Actions, has no user; the other API says what
                # its comments are signed with.
                answer = self._api.graph(self._graphql, "query { viewer { login } }")
                try:
                    login = _text(answer["data"]["viewer"], "login")
                except (KeyError, TypeError):
                    raise refused from None
                self._me = f"{login.removesuffix(_BOT)}{_BOT}", True
        return self._me


def pull_of_commit(api: ForgeApi, repository: str, head: str, commit: str) -> int | None:
    """Return the open pull request of *head*, ``owner:branch``, whose newest commit is *commit*."""
    path = f"/repos/{quote(repository)}/pulls?state=open&per_page=100&head={quote(head, safe='')}"

    def look() -> int | None:
        for entry in api.pages(path, "look for the pull request"):
            try:
                if entry["head"]["sha"] == commit:
                    return int(entry["number"])
            except (KeyError, TypeError, ValueError):
                raise Again("GitHub answered with something else than a pull request") from None
        return None

    return api.patiently(look)


def _text(document: Any, key: str) -> str:
    value = document[key]
    if not isinstance(value, str) or not value:
        raise KeyError(key)
    return value

"""Notes on merge requests of GitLab: https://docs.gitlab.com/api/notes/"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

from envsync.adapters.forges.forge_api import ForgeApi
from envsync.adapters.http.retries import Again
from envsync.ports.forge import Comment

T = TypeVar("T")


class GitLab:
    """The notes of one merge request; implements `envsync.ports.forge.Forge`."""

    def __init__(self, api: ForgeApi, *, repository: str, pull: int) -> None:
        """*repository* is a project's path or number."""
        self._api = api
        self._notes = f"/projects/{quote(repository, safe='')}/merge_requests/{pull}/notes"
        self._me: int | None = None

    def patiently(self, attempt: Callable[[], T]) -> T:
        """Return what *attempt* returns, trying it again as a whole where that may help."""
        return self._api.patiently(attempt)

    def comments(self) -> Iterator[Comment]:
        """Yield all notes that people and programs wrote, the oldest first."""
        path = f"{self._notes}?per_page=100&order_by=created_at&sort=asc"
        for entry in self._api.pages(path, "list comments"):
            yield self._comment(entry)

    def create(self, body: str) -> Comment:
        """Write a note."""
        entry = self._api.ask("POST", self._notes, "write a comment", {"body": body})
        return self._comment(entry)

    def edit(self, comment: Comment, body: str) -> Comment:
        """Write a note anew."""
        path = f"{self._notes}/{comment.id}"
        return self._comment(self._api.ask("PUT", path, "edit a comment", {"body": body}))

    def _comment(self, entry: Any) -> Comment:
        try:
            if self._me is None:
                self._me = int(self._api.ask("GET", "/user", "ask who we are")["id"])
            # What GitLab itself notes ("changed the title") is signed with the user too.
            own = entry["author"]["id"] == self._me and not entry.get("system", False)
            return Comment(id=int(entry["id"]), body=str(entry["body"]), own=own)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Again("GitLab answered with something else than a comment") from None

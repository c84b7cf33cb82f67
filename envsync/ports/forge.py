"""Forges: where pull requests are discussed, such as GitHub and GitLab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """A comment on a pull request, as the forge has it."""

    id: int
    body: str
    own: bool
    """Whether the user of our token wrote it."""
    url: str = ""


class Forge(Protocol):
    """The comments of one pull request.

    What its methods raise besides NotAllowed, InvalidInput and Unavailable may pass by itself, and
    is for `patiently`.
    """

    def patiently(self, attempt: Callable[[], T]) -> T:
        """Return what *attempt* returns, trying it again as a whole where that may help."""

    def comments(self) -> Iterator[Comment]:
        """Yield all comments, the oldest first."""

    def create(self, body: str) -> Comment:
        """Write a comment."""

    def edit(self, comment: Comment, body: str) -> Comment:
        """Write a comment anew."""

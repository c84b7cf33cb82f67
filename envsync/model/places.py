"""Paths within the repository, and URLs: which of them a spec may name."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_DRIVE = re.compile(r"[A-Za-z]:")
# What stands before the last '@' of a host; and, where what looks like a port is no number, up to
# the last '@' of all: then it is a password with a '/' or '?' in it.
_BEFORE_HOST = r"(?:[^/?#@\s\[]*:(?!\d*(?:[/?#\s'\"(),;]|$))[^\s'\"]*|[^/?#\s'\"]*)"
_USERINFO = re.compile(rf"//(?P<userinfo>{_BEFORE_HOST})@")
_URL_USERINFO = re.compile(rf"^([a-zA-Z][a-zA-Z0-9+.-]*://){_BEFORE_HOST}@")
_TOKEN = re.compile(r"(?<=/t/)[^/\s]+")
_TOKEN_PATH = re.compile(r"/t/[^/]+(?:/|$)")
_TOKEN_PART = re.compile(r"/t/[^/]+(?=/)")
_WORD = re.compile(r"[^\s'\"]+")
_URL_IN_WORDS = re.compile(r"[^\s'\"()]+")
_LOGIN = re.compile(r"(?:[a-z]+://)?[^/@\s]+@[^/@\s]+/")
_PLACEHOLDER = re.compile(r"\$?\{\{[^{}]*\}\}|\$\{[^{}]*\}|\{[A-Z_]+\}|<[A-Za-z_-]+>")


class BadPath(ValueError):
    """A path that a spec may not name; the message says why, *hint* what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def is_url(text: str) -> bool:
    """Tell whether *text* starts with a scheme, such as ``https:``; a drive letter is none."""
    return _SCHEME.match(text) is not None


def within(folder: str, path: str) -> str:
    """Return *path*, written in a file of *folder*, as a repository-relative POSIX path.

    The result has no ``..`` and is ``.`` for the repository itself. Links are not looked at here:
    a `Tree` does not follow them out. Raises BadPath.
    """
    if not path.strip():
        raise BadPath("is empty", "Name a file or a folder of the repository.")
    if not path.isprintable():
        raise BadPath("has a character in it that cannot be printed")
    if path.startswith(("/", "~")) or _DRIVE.match(path) is not None:
        if is_url(path):
            raise BadPath("is a URL", "Copy the file into the repository and name its path.")
        raise BadPath(
            "is a path of one machine", "Write it relative to the file that it stands in."
        )
    if is_url(path):
        raise BadPath("is a URL", "Copy the file into the repository and name its path.")
    if "\\" in path:
        raise BadPath("has a '\\' in it", f"Write {path.replace(chr(92), '/')}")
    resolved = posixpath.normpath(posixpath.join(folder, path))
    parts = resolved.split("/")
    if parts[0] == "..":
        raise BadPath("leaves the repository", "Only files of the repository can be read.")
    if any(part.lower() == ".git" for part in parts):
        raise BadPath("is in git's own folder", "Only files of the repository can be read.")
    return resolved


def carries_credentials(text: str) -> bool:
    """Tell whether a URL in *text* holds a user's name, password or token.

    A user's name alone is no secret with ssh, where it is ``git``.
    """
    for match in _logins(text):
        if ":" in match["userinfo"] or not text.endswith("ssh:", 0, match.start()):
            return True
    return any(_TOKEN_PATH.search(word.partition("//")[2]) for word in text.split())


def redacted(text: str) -> str:
    """Return *text* with what may be credentials of its URLs replaced by an ellipsis."""
    return _TOKEN.sub("…", _cut(text, [match.span("userinfo") for match in _logins(text)], "…"))


def without_userinfo(url: str) -> str:
    """Return a URL without the user and the password before its host."""
    return _URL_USERINFO.sub(r"\1", url)


def without_secrets(text: str) -> str:
    """Return *text*, which another program wrote, without what may be a secret in its URLs.

    That is users, passwords and tokens, and queries, for a signature in one opens what it signs.
    """
    ends = [
        (match.start("userinfo"), match.end())
        for match in _logins(text)
        if text.endswith(":", 0, match.start())
    ]
    return _URL_IN_WORDS.sub(_without_token_and_query, _cut(text, ends, ""))


def _logins(text: str) -> Iterator[re.Match[str]]:
    """Yield what stands before hosts; looks at a character only a few times, whatever the text."""
    for word in _WORD.finditer(text):
        last = text.rfind("@", word.start(), word.end())
        # Up to the last '@' the pattern never looks ahead in vain.
        yield from _USERINFO.finditer(text, word.start(), last + 1) if last >= 0 else ()


def _cut(text: str, spans: Sequence[tuple[int, int]], by: str) -> str:
    pieces, place = [], 0
    for start, end in spans:
        pieces += [text[place:start], by]
        place = end
    return "".join([*pieces, text[place:]])


def _without_token_and_query(match: re.Match[str]) -> str:
    head, mark, rest = match[0].partition("://")
    path, question, query = rest.partition("?")
    return f"{head}{mark}{_TOKEN_PART.sub('', path)}{question}{'…' if query else ''}"


def carries_login(text: str) -> bool:
    """Tell whether an image or a registry holds a user before its host: ``me:secret@host/…``."""
    return _LOGIN.match(text) is not None


def placeholder(text: str) -> str:
    """Return the part of *text* that a template left to be filled in, '' when there is none."""
    found = _PLACEHOLDER.search(text)
    return found[0] if found else ""

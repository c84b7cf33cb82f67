"""Paths within the repository, and URLs: which of them a spec may name."""

from __future__ import annotations

import posixpath
import re

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_DRIVE = re.compile(r"[A-Za-z]:")
# What stands before the last '@' of a host; and, where what looks like a port is no number, up to
# the last '@' of all: then it is a password with a '/' or '?' in it.
_BEFORE_HOST = r"(?:[^/?#@\s\[]*:(?!\d*(?:[/?#\s'\"(),;]|$))[^\s'\"()]*|[^/?#\s'\"]*)"
_USERINFO = re.compile(rf"(?:\w[\w+.-]*:)?//(?P<userinfo>{_BEFORE_HOST})@")
_TOKEN_PATH = re.compile(r"//[^\s]*/t/[^/\s]+(?:/|$)")
_SECRET = re.compile(rf"(?<=//){_BEFORE_HOST}(?=@)|(?<=/t/)[^/\s]+")
_URL_USERINFO = re.compile(rf"^([a-zA-Z][a-zA-Z0-9+.-]*://){_BEFORE_HOST}@")
_IN_WORDS = re.compile(rf"(?<=://){_BEFORE_HOST}@")
_TOKEN_IN_WORDS = re.compile(r"(://[^\s'\"()]*?)/t/[^/\s'\"()]+(?=/)")
_QUERY = re.compile(r"(://[^\s'\"()?]*\?)[^\s'\"()]+")
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
    for match in _USERINFO.finditer(text):
        if ":" in match["userinfo"] or not text.endswith("ssh:", 0, match.start()):
            return True
    return any(_TOKEN_PATH.search(word.partition("//")[2]) for word in text.split())


def redacted(text: str) -> str:
    """Return *text* with what may be credentials of its URLs replaced by an ellipsis."""
    return _SECRET.sub("…", text)


def without_userinfo(url: str) -> str:
    """Return a URL without the user and the password before its host."""
    return _URL_USERINFO.sub(r"\1", url)


def without_secrets(text: str) -> str:
    """Return *text*, which another program wrote, without what may be a secret in its URLs.

    That is users, passwords and tokens, and queries, for a signature in one opens what it signs.
    """
    return _QUERY.sub(r"\1…", _TOKEN_IN_WORDS.sub(r"\1", _IN_WORDS.sub("", text)))


def carries_login(text: str) -> bool:
    """Tell whether an image or a registry holds a user before its host: ``me:secret@host/…``."""
    return _LOGIN.match(text) is not None


def placeholder(text: str) -> str:
    """Return the part of *text* that a template left to be filled in, '' when there is none."""
    found = _PLACEHOLDER.search(text)
    return found[0] if found else ""

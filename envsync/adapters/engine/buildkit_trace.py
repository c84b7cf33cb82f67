"""What BuildKit says while it builds, as lines: steps, their output, and which one failed.

Source: https://github.com/moby/buildkit/blob/master/api/services/control/control.proto
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from envsync.adapters.engine.protobuf import text_fields

TRACE = "moby.buildkit.trace"
_VERTEX, _LOG = 1, 3
_DIGEST, _NAME, _STARTED, _ERROR = 1, 3, 5, 7
_LOG_VERTEX, _LOG_TEXT = 1, 4
_PLACE = re.compile(r"\[[^\]]*\] ")


class Trace:
    """Follows one build."""

    def __init__(self) -> None:
        self.failed = ""
        """The instruction that failed, as the Dockerfile has it."""
        self._begun = set[bytes]()
        self._rest: dict[bytes, str] = {}

    def lines(self, aux: str) -> Iterator[str]:
        """Yield the lines that a message of the engine adds; ValueError when it is none."""
        for number, value in text_fields(base64.b64decode(aux)):
            found = dict(text_fields(value))
            if number == _VERTEX:
                yield from self._vertex(found)
            elif number == _LOG:
                digest = found.get(_LOG_VERTEX, b"")
                text = self._rest.get(digest, "") + _text(found.get(_LOG_TEXT, b""))
                *whole, self._rest[digest] = text.split("\n")
                yield from whole

    def rest(self) -> Iterator[str]:
        """Yield what programs wrote last, without ending the line."""
        yield from filter(None, self._rest.values())
        self._rest.clear()

    def _vertex(self, found: dict[int, bytes]) -> Iterator[str]:
        digest, name = found.get(_DIGEST, b""), _text(found.get(_NAME, b""))
        if _STARTED in found and digest not in self._begun:
            self._begun.add(digest)
            if not name.startswith("[internal]"):
                yield f"Step {name}"
        if found.get(_ERROR):
            self.failed = _PLACE.sub("", name, count=1)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")

"""Documents: from the bytes of a YAML file to values with positions; changes to such files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from envsync.model.document import Faults, Node
from envsync.model.edit import Edit


class ParseDocument(Protocol):
    """Parses one YAML document."""

    def __call__(self, data: bytes, path: str, faults: Faults) -> Node | None:
        """Return the document's root; what is wrong goes to *faults*.

        None when nothing can be made of it, and then there is at least one fault.
        """


class EditDocument(Protocol):
    """Changes a YAML document that people wrote; comments, quotes and order stay."""

    def __call__(self, data: bytes, path: str, edits: Sequence[Edit]) -> bytes:
        """Return the document with *edits* made, and all else byte for byte as it was.

        InvalidInput when it is written in a way that cannot be edited so.
        """

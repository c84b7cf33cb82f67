"""Documents: from the bytes of a YAML file to a tree of values with positions."""

from __future__ import annotations

from typing import Protocol

from envsync.model.document import Faults, Node


class ParseDocument(Protocol):
    """Parses one YAML document."""

    def __call__(self, data: bytes, path: str, faults: Faults) -> Node | None:
        """Return the document's root; what is wrong goes to *faults*.

        None when nothing can be made of it, and then there is at least one fault.
        """

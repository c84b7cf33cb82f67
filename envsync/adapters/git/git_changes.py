"""Who changed what: what ``git log`` says of commits, their authors and who signed them."""

from __future__ import annotations

import re

from envsync.ports.git import Change

LOG = ("log", "-z", "--no-show-signature", "--format=%H%n%ae%n%G?%n%GS")
"""The command whose output `read_changes` reads; git verifies signatures with the keys it has."""

_ADDRESS = re.compile(r".*<([^<>]*)>")


def read_changes(output: bytes) -> tuple[Change, ...]:
    """Return the commits that `LOG` printed."""
    found = []
    for entry in filter(None, output.decode("utf-8", "replace").split("\0")):
        commit, email, verified, signer = entry.split("\n", 3)
        # G is a good signature by a key that counts; all others prove nothing about who it was.
        proved = _address(signer.strip()) if verified == "G" else ""
        found.append(Change(commit=commit, email=email, signer=proved))
    return tuple(found)


def _address(signer: str) -> str:
    """Return the address in ``Ada <ada@example.org>``, or the principal of an SSH key."""
    match = _ADDRESS.fullmatch(signer)
    return match[1] if match else signer

"""Wheels that stand in the repository, read from a tree for locking and for building."""

from __future__ import annotations

from envsync.errors import InvalidInput
from envsync.model.canonical import sha256_hex
from envsync.model.own_wheels import wheel_paths
from envsync.model.spec import Spec
from envsync.ports.solver import OwnWheel
from envsync.ports.tree import Tree


def own_wheels(tree: Tree, spec: Spec) -> dict[str, OwnWheel]:
    """Return the wheels that a spec names, by their path as written.

    Raises InvalidInput when one is not what it was when the spec was read.
    """
    found = {}
    for written, path in wheel_paths(spec).items():
        content = tree.read(path)
        if content is None or (spec.conda and sha256_hex(content) != spec.conda.wheels[written]):
            raise InvalidInput(
                f"{path} changed while it was read", hint="Run it again when nothing writes it."
            )
        found[written] = OwnWheel(path=path, content=content)
    return found


def wheel_contents(tree: Tree, spec: Spec) -> tuple[bytes, ...]:
    """Return the bytes of the wheels that a spec names, for a build."""
    return tuple(wheel.content for wheel in own_wheels(tree, spec).values())

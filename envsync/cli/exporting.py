"""What exports are made from, for the commands that show them."""

from __future__ import annotations

from envsync.adapters.git.worktree import WorkTree
from envsync.cli.output import warn
from envsync.cli.session import Session
from envsync.model.exports.source import Source
from envsync.model.reference import parse_environment_argument
from envsync.operations.export import read_source


def source_of(session: Session, reference: str) -> Source:
    """Read what an export of *reference*, as it was typed, is made from."""
    parsed = parse_environment_argument(reference)
    config = session.committed_config()
    past, warning = session.past(config)
    if warning:
        warn(warning)
    image = session.image(config, parsed.name) if config.registry else ""
    return read_source(WorkTree(session.root), past, config, parsed, image)

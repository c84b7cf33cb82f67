"""The command ``envsync``: options, wiring, an operation, printing."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    raise SystemExit("envsync: not wired yet")

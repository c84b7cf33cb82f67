"""Where the program starts: what needs no command line library is answered before one is loaded."""

from __future__ import annotations

import os
import sys

from envsync import __version__

HELP = os.path.join(os.path.dirname(__file__), "help.txt")  # noqa: PTH118, PTH120 - pathlib is slow
"""What click prints for ``--help`` on 80 columns; a test compares the two."""


def main() -> None:
    """Run the command line."""
    match sys.argv[1:]:
        case ["--version"]:
            # What click would print; a test compares the two.
            sys.stdout.write(f"envsync, version {__version__}\n")
        case ["--help" | "-h"] if _columns() >= 80:
            with open(HELP, encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow
                sys.stdout.write(file.read())
        case _:
            from envsync.cli.main import main as run

            run()


def _columns() -> int:
    """Return the width that click would see: COLUMNS, then the terminal's, then 80."""
    said = os.environ.get("COLUMNS", "")
    if said.isdigit() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (AttributeError, ValueError, OSError):
        return 80

"""Where the program starts: what needs no command line library is answered before one is loaded."""

from __future__ import annotations

import sys

from envsync import __version__


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["--version"]:
        # What click would print; a test compares the two.
        sys.stdout.write(f"envsync, version {__version__}\n")
        return
    from envsync.cli.main import main as run

    run()

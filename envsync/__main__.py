"""Run the command line: ``python -m envsync``."""

from envsync.cli.start import main

if __name__ == "__main__":
    main()

"""The command line: options, wiring, an operation, printing."""

"""Pure values: references, spec, lock, definition, version, package grouping. No I/O."""

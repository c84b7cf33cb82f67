"""Running images without an engine."""

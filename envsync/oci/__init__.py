"""Pure OCI values: descriptors, manifests, reproducible tar and gzip, layers, validation."""

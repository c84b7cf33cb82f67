"""The names of labels and annotations that say of an image what it follows from."""

from __future__ import annotations

DEFINITION = "io.envsync.definition-hash"
"""Label and annotation: the hash of the definition that the image was built from."""
FORMAT_NUMBER = "io.envsync.format"
"""Label and annotation: the number of the image format."""
VERSION = "io.envsync.version"
"""Annotation of what refers to an image: the version that it is about."""
BASE_DIGEST = "org.opencontainers.image.base.digest"
"""Label and annotation: the digest of the base image's manifest."""

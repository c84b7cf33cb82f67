"""Which files a conda-lock file was made from."""

from __future__ import annotations

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.locks.conda_lock_file import LOCK_LIMITS
from envsync.model.document import Faults, Mapping, as_texts


def lock_sources(data: bytes, file: str) -> tuple[str, ...]:
    """Return ``metadata.sources``; implements `envsync.ports.locks.LockSources`."""
    faults = Faults()
    root = parse_document(data, file, faults, LOCK_LIMITS)
    metadata = root.get("metadata") if isinstance(root, Mapping) else None
    sources = metadata.get("sources") if isinstance(metadata, Mapping) else None
    return tuple(text.text for text in as_texts(sources, "'sources'", faults))

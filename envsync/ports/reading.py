"""Three-valued reads, see `envsync.model.reading`."""

from envsync.model.reading import ABSENT, Absent, Present, Reading, Unknown

__all__ = ["ABSENT", "Absent", "Present", "Reading", "Unknown"]

"""Golden files: the whole text of what is printed, for people to read in a review.

``pytest --regenerate-golden`` writes what was printed instead of comparing it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Compares texts with the files of `FOLDER`."""

    regenerate: bool

    def check(self, name: str, found: str, kind: str = "txt") -> None:
        """Compare *found* with the file *name*, of kind ``txt``, ``md`` or ``json``."""
        path = FOLDER / f"{name}.{kind}"
        text = found.rstrip("\n") + "\n"
        if self.regenerate:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is not there: run pytest --regenerate-golden"
        assert text == path.read_text(encoding="utf-8")

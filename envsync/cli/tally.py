"""What was done for an environment so far, counted, and said in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from envsync.planning.sizes import size
from envsync.ports.progress import Made, Sent

_MADE: dict[Made, str] = {
    "registry": "in the registry",
    "cache": "from the cache",
    "built": "built",
}
_SENT: dict[Sent, str] = {"present": "present", "mounted": "mounted", "uploaded": "uploaded"}


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of one environment, or of all."""

    packages: int = 0
    """That are to come."""
    layers: int = 0
    made: Counter[Made] = field(default_factory=Counter)
    """Packages by where their part of the image came from."""
    sent: Counter[Sent] = field(default_factory=Counter)
    """Layers by how they came into the repository."""
    moved: int = 0
    """Bytes that were sent."""
    began: float | None = None
    """When the first byte moved, in seconds by the clock of whoever counts."""

    def add(self, other: Tally) -> None:
        """Count what *other* counted."""
        self.packages += other.packages
        self.layers += other.layers
        self.made += other.made
        self.sent += other.sent
        self.moved += other.moved

    def move(self, amount: int, now: float) -> None:
        """Count bytes that were sent by *now*."""
        if self.began is None:
            self.began = now
        self.moved += amount

    def rate(self, now: float) -> str:
        """Return bytes a second since the first one, in words; '' before that can be told."""
        passed = now - self.began if self.began is not None else 0
        return f"{size(int(self.moved / passed))}/s" if passed >= 1 else ""

    def underway(self, now: float) -> str:
        """Say how far it is: ``31 of 60 packages, 12.4 MB sent, 8.2 MB/s``."""
        parts = []
        if self.packages:
            parts.append(f"{self.made.total()} of {_some(self.packages, 'package')}")
        if self.moved:
            parts += [f"{size(self.moved)} sent", self.rate(now)]
        return ", ".join(filter(None, parts))

    def summary(self) -> str:
        """Say what was used again and what was made; '' when nothing was counted."""
        parts = []
        if self.packages:
            parts.append(f"{_some(self.packages, 'package')}: {_counted(self.made, _MADE)}")
        if self.sent:
            parts.append(f"{_some(self.sent.total(), 'blob')}: {_counted(self.sent, _SENT)}")
        if parts:
            parts.append(f"{size(self.moved)} sent")
        return "; ".join(parts)

    def document(self) -> dict[str, object]:
        """Return the counts as the values of a JSON document."""
        return {
            "packages": self.packages,
            "layers": self.layers,
            "made": {key: self.made[key] for key in _MADE},
            "sent": {key: self.sent[key] for key in _SENT},
            "bytes": self.moved,
        }


def _some(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _counted(found: Counter[Made] | Counter[Sent], words: dict[Made, str] | dict[Sent, str]) -> str:
    named = [f"{found[key]} {text}" for key, text in words.items() if found[key]]  # type: ignore[index]
    return ", ".join(named) or "none yet"

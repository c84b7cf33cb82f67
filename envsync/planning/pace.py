"""Pace: what a service does not try again yet, and when it does.

Time is in seconds by whatever clock the service has.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LONGEST = 3600.0
"""Seconds: nothing waits longer."""
_FAILURES = 3
"""In a row, until a host is left alone."""


def delay(interval: float, failures: int) -> float:
    """Return the seconds until the next try after so many failures in a row."""
    return min(max(interval, 1.0) * 2.0 ** min(failures, 20), LONGEST)


@dataclass(slots=True, kw_only=True)
class Pace:
    """Environments that failed. Not safe to use from several threads."""

    interval: float
    _failures: dict[str, int] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)
    _until_changed: dict[str, str] = field(default_factory=dict)

    def resting(self, commit: str, now: float) -> frozenset[str]:
        """Return the environments that are not tried at *now*, when the branch is at *commit*.

        What only a person can mend waits for another commit; everything else for its time.
        """
        waiting = {name for name, moment in self._not_before.items() if now < moment}
        waiting |= {name for name, seen in self._until_changed.items() if seen == commit}
        return frozenset(waiting)

    def failed(self, name: str, commit: str, now: float, *, for_people: bool) -> None:
        """Take in that an environment failed."""
        if for_people:
            self._until_changed[name] = commit
            return
        count = self._failures.get(name, 0)
        self._failures[name] = count + 1
        self._not_before[name] = now + delay(self.interval, count)

    def succeeded(self, name: str) -> None:
        """Take in that an environment is as it should be."""
        for known in (self._failures, self._not_before, self._until_changed):
            known.pop(name, None)


@dataclass(slots=True, kw_only=True)
class Breaker:
    """Leaves a host alone that failed several times in a row, and then tries it now and then."""

    interval: float
    failures: int = 0
    _closed_from: float = 0.0

    def open(self, now: float) -> bool:
        """Tell whether the host is left alone at *now*."""
        return now < self._closed_from

    def failed(self, now: float) -> None:
        """Take in that the host did not answer."""
        self.failures += 1
        if self.failures >= _FAILURES:
            self._closed_from = now + delay(self.interval, self.failures - _FAILURES + 1)

    def succeeded(self) -> None:
        """Take in that it did."""
        self.failures, self._closed_from = 0, 0.0

"""What git asks for (`Desired`) and what git and the registry hold (`Observed`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from envsync.model.lifecycle import Lifecycle
from envsync.model.names import content_tag, version_order
from envsync.model.policy import Breach
from envsync.model.reading import ABSENT, Reading
from envsync.model.record import Record
from envsync.model.spec import Kind

InputReason = Literal[
    "spec_invalid",
    "lock_missing",
    "lock_unsatisfied",
    "lock_platform_missing",
    "lock_integrity",
    "policy",
]
"""Why what git holds cannot be built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """An environment that cannot be planned until a person changes the repository."""

    name: str
    reason: InputReason
    detail: str
    hint: str = ""
    breaches: tuple[Breach, ...] = ()
    """What breaks the policy; besides another reason, what of the spec does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """One environment as a commit asks for it, resolved."""

    name: str
    kind: Kind
    definition_hash: str
    format: int
    """Number of the image format."""
    request: str
    version: str | None
    """An explicit version of the spec, else None."""
    platforms: tuple[str, ...]
    """Platforms of the image, not of the lock."""
    lock_sha256: str
    image: str
    """The base as it is locked, or the whole image where that is all there is."""
    base_digest: str
    """Of what the tag `image` pointed at; '' for scratch."""
    copied: bool
    """Whether the image stands in envsync's registry; an ``image`` environment usually does not."""

    @property
    def content_tag(self) -> str:
        """The registry tag that says: this definition is completely published."""
        return content_tag(self.definition_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What git and the registry hold for one environment. Digests are ``sha256:…``."""

    name: str
    records: tuple[Record, ...] = ()
    """In order of creation."""
    content: Reading[str] = ABSENT
    """The digest at ``def-<hash>`` of the desired definition (for an image that is not copied, the
    digest at its source)."""
    version_tag: Reading[str] = ABSENT
    """The digest at the registry tag of the version that should be current."""
    sibling: Reading[str] = ABSENT
    """The name of another environment whose repository holds the desired definition."""
    broken_tags: Mapping[str, str] = field(default_factory=dict)
    """Git tags below ``env/<name>/`` that are no records, and what is wrong with them."""
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    """What the commit says of versions that were made before."""
    latest_tag: Reading[str] | None = None
    """The digest at the registry tag ``latest``. None: it was not asked for, because nothing but a
    new version moves it where no lifecycle file says that something was archived or restored."""
    latest_image: Reading[str] = ABSENT
    """The digest of the version that ``latest`` should name, if the registry has it. Asked for only
    where ``latest`` does not name it, and it is not the version that should be current."""


def in_order(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """Return records in order of creation: by date, those of one moment by version."""
    return tuple(sorted(records, key=lambda r: (r.created, version_order(r.version))))


def moment(date: int, records: tuple[Record, ...]) -> int:
    """Return the date of a record to be made: the commit's, or right after the newest of *records*.

    A commit may be older than the one before it: a person goes back to it, or a clock is wrong. The
    version made from it is the newest all the same, and who sees the same records says the same.
    """
    newest = latest(records)
    return max(date, newest.created + 1) if newest else date


def latest(records: tuple[Record, ...]) -> Record | None:
    """Return the most recently created of *records*."""
    ordered = in_order(records)
    return ordered[-1] if ordered else None


def current(records: tuple[Record, ...], lifecycle: Lifecycle) -> Record | None:
    """Return what ``latest`` means: the most recently created of *records* that is not archived."""
    return latest(tuple(record for record in records if not lifecycle.hides(record.version)))

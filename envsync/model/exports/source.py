"""What an export is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from envsync.model.config import Config
from envsync.model.lock import Lock, LockedPackage
from envsync.model.record import Record
from envsync.model.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One version of an environment, or its working state, with the files that belong to it."""

    spec: Spec
    lock: Lock | None
    config: Config
    record: Record | None = None
    """None when there is no version yet."""
    image: str = ""
    """The repository of its images, without a tag; '' when they are only in a folder."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Files of the repository that the spec names, by path as it is written there."""
    conda_lock: bytes | None = None
    """``conda-lock.yml`` as it is committed."""
    dockerfile: str = ""
    """The Dockerfile of a build context."""

    @property
    def packages(self) -> Mapping[str, Sequence[LockedPackage]]:
        """Locked packages by platform; none when it is not locked."""
        return self.lock.packages if self.lock else {}

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of the conda file, or else of the repository."""
        return (self.spec.conda.channels if self.spec.conda else ()) or self.config.channels

    @property
    def about(self) -> tuple[str, ...]:
        """Lines that say what this is."""
        name = self.spec.name
        if self.record is None:
            return (f"{name}, from the working folder",)
        return (
            f"{name}, version {self.record.version}: {self.record.digest}",
            f"definition {self.record.definition}",
            f"commit {self.record.commit}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Files by name, and what of the environment the format cannot say."""

    files: Mapping[str, bytes]
    lost: tuple[str, ...] = ()

"""Tagging: the registry's tags of recorded versions, ``latest`` forward only, the version's last.

``latest`` passes over what is archived: only then does it go back, from a version that a commit
archived to the newest one that is not.

A registry cannot compare and swap, so whoever has put ``latest`` asks git afterwards whether it is
still right, and until it is. Of several at once, the last one to put it is the last one to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envsync.errors import EnvsyncError
from envsync.failpoints import reach
from envsync.model.lifecycle import Lifecycle
from envsync.model.reading import Unknown
from envsync.model.record import Record
from envsync.oci.descriptor import RawManifest
from envsync.operations.parallel import threads
from envsync.operations.publish import need
from envsync.planning.states import current
from envsync.ports.git import GitReader
from envsync.ports.registry import RegistryWriter

if TYPE_CHECKING:
    from envsync.operations.attach import Attaching

TAGGED_AT_ONCE = 8
ASKED = 10
"""How often git is asked whether ``latest`` is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """Where tags are put, and who knows which version is the newest."""

    git: GitReader
    registry: RegistryWriter
    repository: Callable[[str], str]
    """Environment name to repository in the registry."""
    lives: Mapping[str, Lifecycle] = field(default_factory=dict)
    """What lifecycle files say, by environment."""
    attach: Attaching | None = None
    """Attaches what refers to a version. Before its tag, so that who dies there comes back."""
    _manifests: dict[tuple[str, str], RawManifest] = field(default_factory=dict)
    """By repository and digest: each is read once."""

    @property
    def notes(self) -> Mapping[str, str]:
        """What could not be attached and why, by environment."""
        return self.attach.notes if self.attach else {}

    def put(
        self,
        fresh: Sequence[Record],
        known: Sequence[Record],
        only: Mapping[str, Collection[str]] | None = None,
    ) -> Mapping[str, EnvsyncError | None]:
        """Put the tags of *fresh*, one record of each environment; *known* are all records.

        With *only*, those that it has for the environment: ``git``, ``latest`` and the version.
        Returns what went wrong, None where nothing did, by environment.
        """

        def wanted(record: Record, tag: str) -> bool:
            return only is None or tag in only[record.name]

        newest = self._newest(known)
        ahead = {
            r.name: newest[r.name]
            for r in fresh
            if r.name in newest
            and wanted(r, "latest")
            and (newest[r.name].version == r.version or r.name in self.lives)
        }

        def put_first(record: Record) -> None:
            if wanted(record, "git"):
                self._tag(record, f"git-{record.commit[:12]}")
            if record.name in ahead:
                self._tag(ahead[record.name], "latest")

        def put_last(record: Record) -> None:
            if not wanted(record, record.version):
                return
            if self.attach is not None:
                self.attach(record, self._manifest(record))
            self._tag(record, record.version)

        ended = self._each(fresh, put_first)
        done = [record for record in fresh if ended[record.name] is None]
        try:
            self._settle({r.name: ahead[r.name] for r in done if r.name in ahead})
        except EnvsyncError as error:
            return {name: failed or error for name, failed in ended.items()}
        return {**ended, **self._each(done, put_last)}

    def _settle(self, put: dict[str, Record]) -> None:
        """Move ``latest`` forward where another one made a newer version meanwhile."""
        for _ in range(ASKED if put else 0):
            read = self.git.records()
            if isinstance(read, Unknown):
                raise read.error("nobody can say which versions are the latest")
            newest = self._newest(read.value.records)
            behind = [
                newest[name]
                for name, record in put.items()
                if name in newest and newest[name].version != record.version
            ]
            if not behind:
                return
            for record in behind:
                self._tag(record, "latest")
                put[record.name] = record

    def _tag(self, record: Record, tag: str) -> None:
        manifest = self._manifest(record)
        kind = "latest" if tag == "latest" else "version" if tag == record.version else "commit"
        reach(f"{kind}-tag.before")
        self.registry.put_manifest(self.repository(record.name), tag, manifest)
        reach(f"{kind}-tag.after")

    def _manifest(self, record: Record) -> RawManifest:
        repository = self.repository(record.name)
        key = (repository, record.digest)
        if key not in self._manifests:
            where = f"{self.registry.name}/{repository}@{record.digest}"
            self._manifests[key] = need(self.registry.manifest(*key), where)
        return self._manifests[key]

    def _newest(self, records: Iterable[Record]) -> dict[str, Record]:
        """Return what ``latest`` has to be, by environment; nothing where all is archived."""
        by_name: dict[str, list[Record]] = {}
        for record in records:
            by_name.setdefault(record.name, []).append(record)
        found = {
            name: current(tuple(listed), self.lives.get(name, Lifecycle()))
            for name, listed in by_name.items()
        }
        return {name: record for name, record in found.items() if record is not None}

    @staticmethod
    def _each(
        records: Iterable[Record], deed: Callable[[Record], None]
    ) -> dict[str, EnvsyncError | None]:
        def one(record: Record) -> EnvsyncError | None:
            try:
                deed(record)
            except EnvsyncError as error:
                return error
            return None

        listed = list(records)
        with threads(TAGGED_AT_ONCE) as pool:
            return {r.name: end for r, end in zip(listed, pool.map(one, listed), strict=True)}

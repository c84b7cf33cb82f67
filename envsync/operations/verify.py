"""Verify: do git, its commits and the registry still say what was recorded?

Every record is compared with the commit it stands on and with what the registry has. Nothing is
written; `envsync.operations.repair` mends what can be brought back exactly.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from envsync.errors import EnvsyncError, InvalidInput, NotAllowed
from envsync.model.config import CONFIG_FILE
from envsync.model.definition import Definition, as_recorded, definition_of
from envsync.model.document import Faults
from envsync.model.lock import Lock
from envsync.model.names import content_tag, is_version
from envsync.model.reading import Present, Unknown
from envsync.model.record import TAG_PREFIX, Record
from envsync.model.spec import Spec
from envsync.oci.descriptor import INDEXES, Descriptor, RawManifest
from envsync.oci.labels import DEFINITION
from envsync.oci.validate import validate
from envsync.operations.attach import Made, missing, referrers_of
from envsync.operations.load import load_config
from envsync.operations.look import Past
from envsync.operations.observe import READS_AT_ONCE
from envsync.operations.parallel import threads
from envsync.planning.findings import Finding, Kind
from envsync.planning.states import current
from envsync.ports.git import Records
from envsync.ports.progress import Progress
from envsync.ports.registry import RegistryReader

_GIT_TAG = re.compile(r"git-[0-9a-f]{12}")
_CONTENT_TAG = re.compile(r"def-[0-9a-f]{64}")
_REFERRERS = re.compile(r"sha256-[0-9a-f]{64}")
"""Where registries without a referrers API keep what refers to an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """What verifying reads, and how much of it."""

    past: Past
    known: Records
    """As the arbiter has them."""
    local: Mapping[str, Record]
    """The records that this clone has, by tag."""
    registry: RegistryReader
    repository: Callable[[str], str]
    has_blob: Callable[[str, str], bool]
    """Asks whether a repository has a blob."""
    unreachable: Callable[[Sequence[str]], frozenset[str]]
    """Of commits, those that no branch leads to."""
    progress: Progress
    referrers: bool = True
    """Whether provenance and bills of materials have to be there."""
    orphans: bool = False
    """Whether repositories are looked for that are of no environment."""
    images: bool = False
    """Whether every image is read as a whole and judged."""
    reproduce: Callable[[Recorded], str] | None = None
    """Makes an image anew, from nothing, and returns its digest."""

    def verify(self, names: Sequence[str]) -> tuple[Finding, ...]:
        """Return what is not as it was recorded, by environment and version."""
        chosen = [record for record in self.past.records if record.name in {*names}]
        lost = self.unreachable(sorted({record.commit for record in chosen}))
        with threads(READS_AT_ONCE) as pool:
            each = pool.map(lambda record: tuple(self._record(record, lost)), chosen)
            whole = pool.map(lambda name: tuple(self._name(name)), names)
            found = [one for many in (*each, *whole) for one in many]
        if self.orphans:
            found += self._orphans()
        order = {record.version: place for place, record in enumerate(chosen)}
        found.sort(key=lambda one: (one.name, order.get(one.version, len(order)), one.kind))
        return tuple(dict.fromkeys(found))

    def _record(self, record: Record, lost: frozenset[str]) -> Iterator[Finding]:
        local = self.local.get(record.tag)
        if local is not None and local != record:
            yield self._of(
                record,
                "record_moved",
                f"git tag {record.tag} is {local.digest} here and {record.digest} where the "
                "records are kept",
            )
        if record.commit in lost:
            yield self._of(
                record, "record_unreachable", f"commit {record.commit[:12]} is on no branch"
            )
        try:
            recorded = read_recorded(self.past, record)
        except EnvsyncError as error:
            yield self._of(
                record,
                "commit_missing",
                f"what it was made from cannot be read: {error.summary}",
            )
            recorded = None
        if recorded is not None and recorded.definition.hash != record.definition:
            yield self._of(
                record,
                "definition_mismatch",
                f"commit {record.commit[:12]} is of definition {recorded.definition.hash[:12]}, "
                f"recorded is {record.definition[:12]}",
            )
        if recorded is None or recorded.copied:
            yield from self._image(record, recorded)

    def _image(self, record: Record, recorded: Recorded | None) -> Iterator[Finding]:
        repository = self.repository(record.name)
        where = f"{self.registry.name}/{repository}"
        read = self.registry.manifest(repository, record.digest)
        if isinstance(read, Unknown):
            yield self._unknown(record, read)
            return
        if not isinstance(read, Present):
            yield self._of(record, "image_missing", f"{where} does not hold {record.digest}")
        else:
            yield from self._content(record, read.value, recorded)
        if isinstance(read, Present) or recorded is not None:
            tags: tuple[tuple[Kind, Kind, str], ...] = (
                ("content_tag_missing", "content_tag_moved", content_tag(record.definition)),
                ("version_tag_missing", "version_tag_moved", record.version),
            )
            for missing, moved, tag in tags:
                yield from self._tag(record, tag, missing, moved)

    def _tag(self, record: Record, tag: str, missing: Kind, moved: Kind) -> Iterator[Finding]:
        found = self.registry.head(self.repository(record.name), tag)
        if isinstance(found, Unknown):
            yield self._unknown(record, found)
        elif not isinstance(found, Present):
            yield self._of(record, missing, f"registry tag {tag} is missing")
        elif found.value.digest != record.digest:
            text = f"registry tag {tag} names {found.value.digest}, recorded is {record.digest}"
            yield self._of(record, moved, text)

    def _content(
        self, record: Record, top: RawManifest, recorded: Recorded | None
    ) -> Iterator[Finding]:
        """Look at the image behind a digest: label, platforms, blobs, and all of it if asked."""
        repository = self.repository(record.name)
        document = top.document()
        label = (document.get("annotations") or {}).get(DEFINITION, "")
        if (recorded is None or recorded.definition.kind == "conda") and label != record.definition:
            text = f"the image says it is of definition {str(label)[:12] or 'none'}"
            yield self._of(record, "image_label_mismatch", text)
        children = []
        for entry in document["manifests"] if top.media_type in INDEXES else []:
            child = self.registry.manifest(repository, Descriptor.parse(entry).digest)
            if isinstance(child, Unknown):
                yield self._unknown(record, child)
                return
            if not isinstance(child, Present):
                platform = Descriptor.parse(entry).platform.get("architecture", "one platform")
                text = f"the registry does not hold the image for {platform}"
                yield self._of(record, "platform_missing", text)
                return
            children.append(child.value)
        if self.referrers and recorded is not None:
            yield from self._referring(recorded, top)
        try:
            missing = self._missing(repository, children or [top])
            if missing:
                text = f"the registry does not hold {len(missing)} of its blobs, such as "
                yield self._of(record, "image_damaged", f"{text}{missing[0]}")
            elif self.images and label:
                self.progress.step(record.name, f"reading the image of version {record.version}")
                yield from (
                    self._of(record, "image_invalid", fault)
                    for fault in self._judged(repository, top, children)
                )
            if self.reproduce is not None and recorded is not None and label:
                yield from self._anew(record, recorded)
        except EnvsyncError as error:
            refused = isinstance(error, NotAllowed)
            kind: Kind = "not_allowed" if refused else "unavailable"
            yield self._of(record, kind, " ".join((error.summary, error.detail)).strip())

    def _referring(self, recorded: Recorded, top: RawManifest) -> Iterator[Finding]:
        record = recorded.record
        found = missing(
            referrers_of(record, recorded.made, top), self.registry, self.repository(record.name)
        )
        if isinstance(found, Unknown):
            yield self._unknown(record, found)
        elif found:
            kinds = ", ".join(sorted({one.media_type for one in found}))
            yield self._of(record, "referrer_missing", f"nothing refers to it of type {kinds}")

    def _missing(self, repository: str, manifests: Sequence[RawManifest]) -> list[str]:
        named = [
            Descriptor.parse(entry).digest
            for manifest in manifests
            for document in [manifest.document()]
            for entry in (document["config"], *document["layers"])
        ]
        return [d for d in dict.fromkeys(named) if not self.has_blob(repository, d)]

    def _judged(
        self, repository: str, top: RawManifest, children: Sequence[RawManifest]
    ) -> tuple[str, ...]:
        def read(descriptor: Descriptor) -> Iterator[bytes]:
            with self.registry.blob(repository, descriptor) as chunks:
                yield from chunks

        return validate(top, children, read)

    def _anew(self, record: Record, recorded: Recorded) -> Iterator[Finding]:
        if self.reproduce is None:
            return
        try:
            digest = self.reproduce(recorded)
        except InvalidInput as error:
            yield self._of(record, "image_not_reproducible", str(error))
            return
        if digest != record.digest:
            text = f"made anew it is {digest}, recorded is {record.digest}"
            yield self._of(record, "image_not_reproducible", text)

    def _name(self, name: str) -> Iterator[Finding]:
        """Look at what belongs to an environment and to no version of it."""
        for tag, why in self.known.broken.items():
            if tag.startswith(f"{TAG_PREFIX}{name}/"):
                text = f"git tag {tag} is no record: {why}"
                yield Finding(kind="record_broken", name=name, text=text)
        records = self.past.of(name)
        read = self.registry.tags(self.repository(name))
        if isinstance(read, Unknown):
            yield Finding(kind=read.code, name=name, text=read.reason)
        if not isinstance(read, Present):
            return
        ours = {record.version for record in records} | {
            content_tag(record.definition) for record in records
        }
        for tag in read.value:
            if tag in ours or tag == "latest" or _GIT_TAG.fullmatch(tag):
                continue
            if _CONTENT_TAG.fullmatch(tag):
                text = f"{tag[:16]}… is published and not recorded; apply takes it or leaves it"
                yield Finding(kind="published_not_recorded", name=name, text=text)
            elif is_version(tag) and tag.isdigit():
                text = f"the registry has a tag {tag} that git does not record"
                yield Finding(kind="record_missing", name=name, text=text)
            elif not _REFERRERS.fullmatch(tag):
                text = f"registry tag {tag} is not of envsync"
                yield Finding(kind="unmanaged_tag", name=name, text=text)
        if not ours & {*read.value}:
            return  # nothing of it is here: each version says so
        wanted = current(records, self.past.lifecycle(name))
        if wanted is not None:
            yield from self._latest(wanted, {record.digest for record in records})

    def _orphans(self) -> Iterator[Finding]:
        """Find repositories beside ours that envsync published to, and nobody records or wants."""
        read = self.registry.repositories()
        if not isinstance(read, Present):
            return  # most registries show their catalogue to nobody
        names = {record.name for record in self.past.records} | {*self.past.names}
        known = {self.repository(name) for name in names}
        place = self.repository("x").removesuffix("x")
        for repository in read.value:
            if repository in known or posixpath.dirname(repository) != place.rstrip("/"):
                continue
            tags = self.registry.tags(repository)
            if isinstance(tags, Present) and any(map(_CONTENT_TAG.fullmatch, tags.value)):
                text = f"{self.registry.name}/{repository} is of no environment"
                yield Finding(
                    kind="orphan_repository", name=posixpath.basename(repository), text=text
                )

    def _latest(self, wanted: Record, own: set[str]) -> Iterator[Finding]:
        found = self.registry.head(self.repository(wanted.name), "latest")
        if isinstance(found, Unknown):
            yield self._unknown(wanted, found)
            return
        digest = found.value.digest if isinstance(found, Present) else ""
        if digest == wanted.digest:
            return
        text = f"registry tag latest names {digest or 'nothing'}, and should name this version"
        yield self._of(
            wanted, "latest_moved" if digest and digest not in own else "latest_behind", text
        )

    @staticmethod
    def _of(record: Record, kind: Kind, text: str) -> Finding:
        return Finding(kind=kind, name=record.name, version=record.version, text=text)

    def _unknown(self, record: Record, read: Unknown) -> Finding:
        return self._of(record, read.code, read.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a version was made from, read from the commit of its record."""

    record: Record
    spec: Spec
    lock: Lock
    definition: Definition
    copied: bool
    """Whether the image stands in our registry: not so for one that is only named."""

    @property
    def made(self) -> Made:
        """What provenance says of it."""
        return Made(spec_path=self.spec.path, lock=self.lock)


def read_recorded(past: Past, record: Record) -> Recorded:
    """Read what a version was made from; InvalidInput or Unavailable when it cannot be read."""
    spec, lock = past.read(record)
    files = past.files(record, spec)
    faults = Faults()
    config = load_config(past.git.tree(record.commit), past.readers.parse, faults)
    faults.check(f"{CONFIG_FILE} of commit {record.commit[:12]} cannot be used")
    return Recorded(
        record=record,
        spec=spec,
        lock=lock,
        definition=as_recorded(definition_of(spec, lock, files), record),
        copied=spec.kind != "image" or config.copy_images,
    )

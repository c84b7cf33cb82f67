"""A team's repository, registry and git remote, worked on with the command line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.repository import GitRepository as Arbiter
from envsync.adapters.locks.conda_lock_file import parse_lock
from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.adapters.registry.registries import Registries, RegistrySettings
from envsync.cli.main import run
from envsync.cli.session import Session
from envsync.model.definition import as_recorded
from envsync.model.names import repository_component
from envsync.model.reading import ABSENT, Present
from envsync.model.record import Record
from envsync.oci.descriptor import INDEX, Descriptor, RawManifest
from envsync.oci.validate import validate
from envsync.operations.contexts import define
from envsync.operations.desire import read_lock
from envsync.operations.load import load_environment
from envsync.planning.states import in_order
from envsync.ports.registry import RegistryReader, RegistryWriter
from tests.parts.gitremote import GitRemote, GitRepository
from tests.parts.registry import Registry

NAMESPACE = "team/envs"
_VALID = set[str]()
"""Digests of images that were found to be valid, whichever registry they were in."""
MUTATING = ("POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


@dataclass(slots=True, kw_only=True)
class Team:
    """One clone of a team's repository, and the registry that its settings name."""

    repository: GitRepository
    channel: Path
    cache: Path
    remote: GitRemote | None = None
    registry: Registry | None = None
    """None: the folder of OCI layouts in the repository."""
    address: str = ""
    """How the registry is called in the settings, if not by its own host."""
    variables: dict[str, str] = field(default_factory=dict)
    waited: list[float] = field(default_factory=list)
    """Seconds that commands wanted to sleep; in this process they do not."""
    verified: set[tuple[str, str]] = field(default_factory=set)
    """Tags and digests whose blobs `check` has read; it reads them once."""

    @property
    def root(self) -> Path:
        """The work tree."""
        return self.repository.path

    @property
    def layouts(self) -> Path:
        """The folder of the embedded registry."""
        return self.root / ".envsync" / "registry"

    @property
    def arbiter(self) -> GitRepository:
        """Where the records are kept."""
        return self.remote.bare if self.remote else self.repository

    def settings(self, text: str = "") -> None:
        """Write envsync.yaml."""
        host = self.address or (self.registry.host if self.registry else "")
        registry = f"registry: {host}/{NAMESPACE}\n" if host else ""
        self.repository.write({"envsync.yaml": registry + text, ".gitignore": ".envsync/\n"})

    def spec(self, name: str, *packages: str, image: str = "scratch", text: str = "") -> None:
        """Write an environment; without packages it is only an image."""
        lines = [f"name: {name}", f"image: {image}", *text.splitlines()]
        if packages:
            listed = ", ".join(f"'{package}'" for package in packages)
            lines += ["conda_file:", f"  channels: ['{self.channel.as_uri()}']"]
            lines += [f"  dependencies: [{listed}]"]
        self.repository.write({f"environments/{name}/environment.yaml": "\n".join([*lines, ""])})

    def ask(self, name: str, *packages: str, image: str = "scratch", text: str = "") -> str:
        """Write, lock and commit an environment; return the commit."""
        self.spec(name, *packages, image=image, text=text)
        done = self.envsync("lock", name)
        assert done.code == 0, done.err
        return self.repository.commit(f"{name}: {', '.join(packages) or image}")

    def envsync(self, *arguments: str) -> Done:
        """Run the command line in this process."""
        out, err = io.StringIO(), io.StringIO()
        session = Session(
            folder=Path(),
            environ=self.environment(),
            interactive=False,
            sleep=self.waited.append,
        )
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(["-C", str(self.root), *arguments], session)
        return Done(code=code, out=out.getvalue(), err=err.getvalue())

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start the command line as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "envsync", *arguments],
            cwd=self.root,
            env={**self.environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def environment(self) -> Mapping[str, str]:
        """Return the variables that commands see."""
        return {**os.environ, "ENVSYNC_CACHE_DIR": str(self.cache), **self.variables}

    def wipe_registry(self) -> None:
        """Lose everything that was ever published."""
        if self.registry is None:
            subprocess.run(["rm", "-rf", str(self.layouts)], check=True)
            return
        self.registry.down()
        subprocess.run(["rm", "-rf", str(self.registry.data)], check=True)
        self.registry.up()

    def delete_tag(self, name: str, tag: str) -> None:
        """Take a tag away, as a person can with the means of most registries."""
        if self.registry is not None:
            manifests = self.registry.data / "docker/registry/v2/repositories" / self.place(name)
            subprocess.run(["rm", "-r", str(manifests / "_manifests/tags" / tag)], check=True)
            return
        index = self.layouts / self.place(name) / "index.json"
        document = json.loads(index.read_bytes())
        key = "org.opencontainers.image.ref.name"
        kept = [m for m in document["manifests"] if m["annotations"][key] != tag]
        assert len(kept) == len(document["manifests"]) - 1
        index.write_text(json.dumps({**document, "manifests": kept}))

    def move_tag(self, name: str, tag: str, digest: str) -> None:
        """Point a tag at a manifest that the repository has, as a person can."""
        with self.reader() as reader:
            found = reader.manifest(self.place(name), digest)
            assert isinstance(found, Present)
            reader.put_manifest(self.place(name), tag, found.value)

    @contextlib.contextmanager
    def reader(self) -> Iterator[RegistryWriter]:
        """Open the registry for looking at it."""
        if self.registry is None:
            yield LayoutRegistry(self.layouts)
            return
        with Registries(RegistrySettings()) as registries:
            yield registries.at(self.registry.host)

    def place(self, name: str) -> str:
        """Return the repository of an environment in the registry."""
        component = repository_component(name)
        return f"{NAMESPACE}/{component}" if self.registry else component

    def tags(self, name: str) -> dict[str, str]:
        """Return the digests that the registry's tags of an environment name.

        Without those of lists of what refers to images: see `lists`.
        """
        return {t: d for t, d in self._tags(name).items() if not t.startswith("sha256-")}

    def lists(self, name: str) -> dict[str, str]:
        """Return the digests of the lists of what refers to images of an environment, by tag."""
        return {t: d for t, d in self._tags(name).items() if t.startswith("sha256-")}

    def _tags(self, name: str) -> dict[str, str]:
        with self.reader() as reader:
            listed = reader.tags(self.place(name))
            if listed == ABSENT:
                return {}
            assert isinstance(listed, Present), listed
            found = {tag: reader.head(self.place(name), tag) for tag in listed.value}
        assert all(isinstance(read, Present) for read in found.values()), found
        return {t: read.value.digest for t, read in found.items() if isinstance(read, Present)}

    def records(self, name: str) -> tuple[Record, ...]:
        """Return the records of an environment, oldest first, read from where they are kept."""
        arbiter = self._git()
        known = arbiter.known_records()
        assert known.broken == {}
        return in_order(tuple(record for record in known.records if record.name == name))

    def versions(self, name: str) -> list[str]:
        """Return the recorded versions, oldest first."""
        return [record.version for record in self.records(name)]

    def state(self) -> dict[str, str | bytes]:
        """Return everything that only people may change: work tree, index, settings, branches."""
        work = {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and path.relative_to(self.root).parts[0] not in (".git", ".envsync")
        }
        git = self.root / ".git"
        files = {f".git/{n}": (git / n).read_bytes() for n in ("index", "config", "HEAD")}
        refs = {
            ref: oid
            for ref, oid in self.repository.refs().items()
            if not ref.startswith("refs/tags/env/")
        }
        stash = {"worktrees": self.repository.git("worktree", "list")}
        return {**work, **files, **refs, **stash}

    def check(self, *names: str) -> None:
        """Assert the invariants I1 to I5 of the release protocol for environments."""
        for name in names:
            self._check(name)
        for repository in (self.repository, self.arbiter):
            assert "error" not in repository.git("fsck", "--strict", "--no-dangling")

    def _check(self, name: str) -> None:
        records = self.records(name)
        by_version = {record.version: record for record in records}
        assert len(by_version) == len(records), "I4: a version is recorded once"
        with self.reader() as reader:
            for record in records:
                self._published(reader, name, record)
                assert self._definition(record) == record.definition, "I5"
            for tag, digest in self.tags(name).items():
                if tag.startswith("def-"):
                    self._complete(reader, name, tag, digest)
                elif tag.startswith("git-"):
                    found = [r for r in records if r.commit.startswith(tag[4:])]
                    assert digest in {record.digest for record in found}, tag
                elif tag == "latest":
                    assert digest in {record.digest for record in records}
                else:
                    assert by_version[tag].digest == digest, "I2"

    def _published(self, reader: RegistryReader, name: str, record: Record) -> None:
        """I1: what is recorded can be pulled and says which definition it is."""
        manifest = reader.manifest(self.place(name), record.digest)
        if record.digest == record.base_digest and not isinstance(manifest, Present):
            return  # an image that was not copied stands where its spec says
        assert isinstance(manifest, Present), f"I1: {record.tag} is not published: {manifest}"
        if record.digest == record.base_digest:
            return  # an image of other people's says nothing
        label = manifest.value.document()["annotations"]["io.envsync.definition-hash"]
        assert label == record.definition, "I1"

    def _git(self) -> Arbiter:
        return Arbiter(self.arbiter.path, remote="", cache=self.cache, environ=os.environ)

    def _definition(self, record: Record) -> str:
        tree = Arbiter(self.arbiter.path, remote="", cache=self.cache, environ=os.environ).tree(
            record.commit
        )
        lock = read_lock(tree, parse_lock, record.name)
        assert lock is not None
        spec = load_environment(tree, parse_document, record.name)
        return as_recorded(define(tree, spec, lock), record).hash

    def _complete(self, reader: RegistryReader, name: str, tag: str, digest: str) -> None:
        """I3: what a content tag names is whole, blob by blob, and is what the tag says."""
        place = self.place(name)
        if (tag, digest) in self.verified:
            return
        self.verified.add((tag, digest))
        top = reader.manifest(place, tag)
        assert isinstance(top, Present)
        if "annotations" not in top.value.document():
            return  # an image of other people's, copied
        assert top.value.document()["annotations"]["io.envsync.definition-hash"] == tag[4:], "I3"
        images: list[RawManifest] = []
        if top.value.media_type == INDEX:
            for entry in top.value.document()["manifests"]:
                child = reader.manifest(place, Descriptor.parse(entry).digest)
                assert isinstance(child, Present), "I3"
                images.append(child.value)

        def read(descriptor: Descriptor) -> Iterator[bytes]:
            with reader.blob(place, descriptor) as chunks:
                yield from chunks

        if digest in _VALID:  # the same bytes, if they are all there
            for image in images or [top.value]:
                document = image.document()
                for entry in (document["config"], *document["layers"]):
                    assert sum(map(len, read(Descriptor.parse(entry)))) == entry["size"], "I3"
            return
        faults = validate(top.value, images, read)
        assert not faults, "\n".join(faults[:20])
        _VALID.add(digest)

"""Git, and all of it: commits and trees to read, records to read and to write.

The user's working folder, index and configuration are never touched. Records are read from the
arbiter (the remote, when there is one) without writing a ref: the remote's tags are listed, and tag
objects that are not here yet are fetched into an object folder in envsync's cache.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from envsync.adapters.git.commit_tree import WHOLE, CommitTree
from envsync.adapters.git.git_changes import LOG, read_changes
from envsync.adapters.git.git_program import GitProgram, Ran
from envsync.errors import InvalidInput, NotAllowed, Unavailable
from envsync.failpoints import reach
from envsync.model.canonical import sha256_hex
from envsync.model.config import WATCHED
from envsync.model.places import without_secrets
from envsync.model.reading import Present, Unknown
from envsync.model.record import TAG_PREFIX, Record, parse_record
from envsync.ports.git import Change, Commit, Records, Verdict
from envsync.ports.tree import CommittedTree

REFS = f"refs/tags/{TAG_PREFIX}"
TAGGER = "envsync <envsync@localhost>"
"""Constant, so that whoever makes a version first makes the tag object everyone would make."""

REFUSED = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|access denied"
    r"|HTTP 40[13]|returned error: 40[13]|not authorized|protected|hook declined|GH00\d",
    re.IGNORECASE,
)


class GitRepository:
    """A git repository on disk; implements `envsync.ports.git.GitWriter`."""

    def __init__(self, root: Path, *, remote: str, cache: Path, environ: Mapping[str, str]) -> None:
        """Open the repository whose working folder is *root*; *remote* need not exist.

        *environ* has what git reads: PATH, HOME, its own variables.
        """
        self._root = root
        self._git = GitProgram(root, environ)
        self._run, self._must = self._git.run, self._git.must
        self._wanted_remote = remote
        self._objects = cache / "git" / sha256_hex(str(root.resolve()).encode())[:16]
        self._remote: str | None = None
        # What a commit's id names never changes, and each question to git is a process.
        self._commits: dict[str, Commit] = {}
        self._trees: dict[str, CommitTree] = {}
        self._zones: dict[str, str] = {}
        self._places: dict[str, str] = {}

    def keep_records_at(self, remote: str) -> None:
        """Take another remote for the arbiter; what is known of commits stays known."""
        self._wanted_remote, self._remote = remote, None

    @property
    def remote(self) -> str:
        """The arbiter's remote name, '' when the local repository is the arbiter.

        Raises InvalidInput when there are remotes, and none is the wanted one: records that are
        kept here would be known to nobody else.
        """
        if self._remote is None:
            names = self._must("remote").out.decode().split()
            found = self._wanted_remote in names
            if names and self._wanted_remote and not found:
                raise InvalidInput(
                    f"there is no git remote {self._wanted_remote!r} to keep the records",
                    detail=f"There is: {', '.join(names)}.",
                    hint=f"Say in envsync.yaml which one keeps them, such as:\n"
                    f"    remote: {names[0]}",
                )
            self._remote = self._wanted_remote if found else ""
        return self._remote

    def commit(self, revision: str) -> Commit:
        """Resolve a revision; InvalidInput when there is no such commit."""
        if revision in self._commits:
            return self._commits[revision]
        if revision == "--":  # what follows the options, to git, wherever it stands
            raise InvalidInput(f"{revision!r} names no commit of this repository")
        ran = self._run(
            "log", "-1", "--no-show-signature", "--format=%H%x00%ct%x00%an%x00%s",
            "--end-of-options", revision, "--",
        )  # fmt: skip
        if ran.code != 0:
            if revision == "HEAD":
                raise InvalidInput(
                    "there is no commit yet",
                    detail="envsync builds what is committed, so that a record can name it.",
                    hint='Commit first:\n    git add -A && git commit -m "environments"',
                )
            raise InvalidInput(f"{revision!r} names no commit of this repository")
        identity, date, author, subject = ran.out.decode("utf-8", "replace").strip().split("\0", 3)
        commit = Commit(id=identity, date=int(date), author=author, subject=subject)
        return self._commits.setdefault(identity, commit)

    def merge_base(self, one: str, other: str) -> str:
        """Return the newest commit that both of two commits come from, '' when none is known."""
        ran = self._run("merge-base", "--end-of-options", one, other)
        return ran.out.decode().strip() if ran.code == 0 else ""

    def tree(self, revision: str) -> CommittedTree:
        """Return a commit's tree."""
        commit = self.commit(revision)
        known = self._trees.get(commit.id)
        if known is not None:
            return known
        tree = CommitTree(
            commit.id,
            list_paths=partial(_list_tree, self._git, commit.id),
            read_blob=self._git.read,
            wanted=WATCHED,
        )
        return self._trees.setdefault(commit.id, tree)

    def changes(self, since: str, until: str, paths: Sequence[str]) -> tuple[Change, ...] | None:
        """Return the commits after *since* ('': all) up to *until* that changed *paths*."""
        if self._must("rev-parse", "--is-shallow-repository").out.strip() == b"true":
            return None
        try:
            wanted = (f"^{self.commit(since).id}",) if since else ()
        except InvalidInput:
            return None
        head = self.commit(until).id
        return read_changes(self._must(*LOG, head, *wanted, "--", *paths).out)

    def uncommitted(self, folders: Sequence[str]) -> tuple[str, ...]:
        """Return paths under *folders* whose working copy differs from HEAD."""
        out = self._must(
            "status",
            "--porcelain=v1",
            "-z",
            "--untracked-files=all",
            "--no-renames",
            "--",
            *folders,
        ).out
        # They are only shown, and what cannot be decoded could not be written either.
        entries = out.decode("utf-8", "replace").split("\0")
        return tuple(sorted(entry[3:] for entry in entries if entry))

    def known_records(self) -> Records:
        """Read the records known locally, without network."""
        fields = ("%(refname)", "%(objecttype)", "%(*objectname)", "%(taggerdate:unix)")
        out = self._must(
            "for-each-ref", "--format=" + "%00".join((*fields, "%(contents)")) + "%00", REFS
        ).out
        parts = out.decode("utf-8", "replace").split("\0")[:-1]
        tags = []
        for ref, kind, commit, date, message in zip(*(iter(parts),) * 5, strict=True):
            tags.append(_Tag(ref.strip(), kind == "tag", commit, int(date or 0), message))
        return _records(tags)

    def records(self) -> Present[Records] | Unknown:
        """Read all records from the arbiter."""
        if not self.remote:
            return Present(self.known_records())
        listed = self._remote_tags()
        if isinstance(listed, Unknown):
            return listed
        tags, missing = self._read_tags(listed)
        if missing:
            refs = [ref for ref, oid in listed.items() if oid in missing]
            ran = self._run(
                "-c", "gc.auto=0", "-c", "maintenance.auto=false", "fetch", "--quiet", "--no-tags",
                "--no-write-fetch-head", "--no-recurse-submodules", "--stdin",
                "--end-of-options", self.remote,
                stdin="\n".join(refs).encode(), environment=self._cached_objects(),
            )  # fmt: skip
            if ran.code != 0:
                return self._unknown("fetch the records from", ran)
            tags, missing = self._read_tags(listed)
            if missing:
                reason = f"the git remote {self.remote!r} lists records that it does not give"
                return Unknown(why="unavailable", reason=reason)
        return Present(_records(tags))

    def unreachable(self, commits: Sequence[str]) -> frozenset[str]:
        """Return those of *commits* that no branch and not HEAD lead to, of those that are here."""
        if not commits:
            return frozenset()
        tips = self._must("rev-parse", "--branches", "--remotes", "HEAD").out.decode().split()
        asked = "\n".join([*commits, *(f"^{tip}" for tip in tips), ""])
        ran = self._must("rev-list", "--ignore-missing", "--stdin", stdin=asked.encode())
        return frozenset(ran.out.decode().split()) & frozenset(commits)

    def record(self, records: Sequence[Record]) -> Verdict:
        """Create all of *records* on the arbiter, atomically and create-only."""
        if not records:
            return "recorded"
        wanted = {f"refs/tags/{r.tag}": self._make_tag(r) for r in records}
        if not self.remote:
            return self._record_here(wanted)
        leases = [f"--force-with-lease={ref}:" for ref in wanted]
        specs = [f"{oid}:{ref}" for ref, oid in wanted.items()]
        reach("record-push.before")
        # A pre-push hook belongs to people's branches, and may look at the working folder.
        ran = self._run(
            "push", "--porcelain", "--quiet", "--atomic", "--no-verify", "--no-follow-tags",
            "--no-signed",
            "--recurse-submodules=no", *leases, "--end-of-options", self.remote, *specs,
        )  # fmt: skip
        reach("record-push.after")
        listed = self._remote_tags()
        if isinstance(listed, Unknown):
            return "unknown"
        found = {ref: listed.get(ref) for ref in wanted}
        if found == wanted:
            # Here is a copy of what the arbiter has; without it nothing is lost.
            with suppress(Unavailable):
                self._record_here(wanted)
            return "recorded"
        if any(oid is not None for oid in found.values()):
            return "lost"
        said = without_secrets((ran.err + ran.out.decode("utf-8", "replace")).strip())
        if REFUSED.search(said):
            raise NotAllowed(
                f"the git remote {self.remote!r} refused the records",
                detail=said,
                hint="Allow the identity that runs envsync to create tags below env/.",
            )
        raise Unavailable(f"the git remote {self.remote!r} did not take the records", detail=said)

    def _record_here(self, wanted: Mapping[str, str]) -> Verdict:
        commands = ["start", *(f"create {ref} {oid}" for ref, oid in wanted.items())]
        reach("record-write.before")
        ran = self._run(
            "update-ref", "--stdin", stdin="\n".join([*commands, "prepare", "commit\n"]).encode()
        )
        reach("record-write.after")
        if ran.code == 0:
            return "recorded"
        found = {
            ref: self._run("rev-parse", "--verify", "--quiet", ref).out.decode().strip()
            for ref in wanted
        }
        if found == dict(wanted):
            return "recorded"
        if any(found.values()):
            return "lost"
        raise Unavailable(
            "git could not write the records", detail=without_secrets(ran.err.strip())
        )

    def _make_tag(self, record: Record) -> str:
        commit = self.commit(record.commit)
        zone = self._zones.get(commit.id)
        if zone is None:
            ran = self._must("log", "-1", "--format=%cd", "--date=format:%z", commit.id)
            zone = self._zones.setdefault(commit.id, ran.out.decode())
        text = (
            f"object {commit.id}\ntype commit\ntag {record.tag}\n"
            f"tagger {TAGGER} {record.created} {zone.strip()}\n\n{record.message()}"
        )
        return self._must("mktag", stdin=text.encode()).out.decode().strip()

    def _remote_tags(self) -> dict[str, str] | Unknown:
        ran = self._run(
            "ls-remote", "--quiet", "--refs", "--end-of-options", self.remote, f"{REFS}*"
        )
        if ran.code != 0:
            return self._unknown("list the records of", ran)
        lines = (line.split("\t", 1) for line in ran.out.decode().splitlines())
        return {ref: oid for oid, ref in lines}

    def _read_tags(self, listed: Mapping[str, str]) -> tuple[list[_Tag], set[str]]:
        """Return the tags that are here, and the ids of the objects that are not."""
        tags: list[_Tag] = []
        missing = set[str]()
        if not listed:
            return tags, missing
        out = self._must(
            "cat-file", "--batch", stdin="\n".join(listed.values()).encode() + b"\n",
            environment=self._cached_objects(),
        ).out  # fmt: skip
        at = 0
        for ref, oid in listed.items():
            end = out.index(b"\n", at)
            _, kind, *size = out[at:end].split()
            if not size:  # "<id> missing"
                missing.add(oid)
                at = end + 1
                continue
            body = out[end + 1 : end + 1 + int(size[0])]
            at = end + 2 + int(size[0])
            tags.append(_parse_tag_object(ref, kind == b"tag", body))
        return tags, missing

    def _cached_objects(self) -> Mapping[str, str]:
        if not self._places:
            self._objects.mkdir(parents=True, exist_ok=True)
            ran = self._must("rev-parse", "--path-format=absolute", "--git-path", "objects")
            self._places.update(
                GIT_OBJECT_DIRECTORY=str(self._objects),
                GIT_ALTERNATE_OBJECT_DIRECTORIES=ran.out.decode().rstrip("\n"),
            )
        return self._places

    def _unknown(self, deed: str, ran: Ran) -> Unknown:
        said = without_secrets(ran.err.strip())
        return Unknown(
            why="not allowed" if REFUSED.search(said) else "unavailable",
            reason=f"could not {deed} the git remote {self.remote!r}: {said}",
        )


@dataclass(frozen=True, slots=True)
class _Tag:
    ref: str
    annotated: bool
    commit: str
    date: int
    message: str


def _list_tree(git: GitProgram, commit: str, paths: Sequence[str]) -> bytes:
    # No method: a tree that knew its repository would keep its reader for the garbage collector.
    below = [] if WHOLE in paths else ["--", *paths]
    return git.must("ls-tree", "-r", "-t", "-z", "--full-tree", commit, *below).out


def _records(tags: Sequence[_Tag]) -> Records:
    records, broken = [], {}
    for tag in tags:
        name = tag.ref.removeprefix("refs/tags/")
        if not tag.annotated:
            broken[name] = "it is not an annotated tag"
            continue
        try:
            records.append(parse_record(name, tag.message, commit=tag.commit, created=tag.date))
        except ValueError as error:
            broken[name] = str(error)
    return Records(records=tuple(records), broken=broken)


def _parse_tag_object(ref: str, annotated: bool, body: bytes) -> _Tag:
    head, _, message = body.decode("utf-8", "replace").partition("\n\n")
    fields = dict(line.partition(" ")[::2] for line in head.splitlines())
    date = re.search(r"> (\d+) [+-]\d{4}$", fields.get("tagger", ""))
    return _Tag(
        ref, annotated, fields.get("object", ""), int(date.group(1)) if date else 0, message
    )


def find_root(folder: Path, environ: Mapping[str, str]) -> Path | None:
    """Return the top of the git working folder that *folder* lies in, or None."""
    ran = GitProgram(folder, environ).run("rev-parse", "--show-toplevel")
    return Path(os.fsdecode(ran.out.removesuffix(b"\n"))) if ran.code == 0 else None


def create(folder: Path) -> None:
    """Make *folder* a git repository with the branch ``main``."""
    import git as gitpython  # takes longer to load than to do it

    gitpython.Repo.init(folder, initial_branch="main").close()

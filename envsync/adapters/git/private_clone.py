"""A private clone of the repository that envsync runs in: for committing without touching anybody.

It stands in envsync's cache and can be deleted at any time. It has no settings of its own: those of
the repository (its remotes, how to log in to them) are included from there, so that no secret is
copied. Hooks do not run in it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from envsync.adapters.git.git_program import GitProgram, Ran
from envsync.adapters.git.repository import REFUSED
from envsync.errors import EnvsyncError, InvalidInput, NotAllowed, Unavailable
from envsync.model.places import without_secrets
from envsync.ports.upstream import Pushed

_MAIL = "envsync@localhost"
_IDENTITY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "envsync"), ("EMAIL", _MAIL))
}
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.sparseCheckout": "false",
    "core.fsmonitor": "false",
    "gc.auto": "0",
}
"""What the clone has of its own, whatever the settings that are included say."""


class PrivateClone:
    """Implements `envsync.ports.upstream.Upstream` in *folder*; use it inside of `opened`."""

    def __init__(
        self, folder: Path, source: Path, *, remote: str, branch: str, environ: Mapping[str, str]
    ) -> None:
        """Copy from *remote* as the repository *source* knows it; '' is the remote's own branch."""
        self.folder = folder
        self.environ = _with_settings(environ, _SETTINGS)
        self._source = source
        self._remote = remote
        self._wanted = branch
        self._git = GitProgram(folder, self.environ)

    @contextmanager
    def opened(self) -> Iterator[PrivateClone]:
        """Hold the clone for this process alone; Unavailable when another one has it."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._make()
            yield self
        except BlockingIOError:
            raise Unavailable(
                "another reconcile of this repository is at work on this machine",
                hint="Run one of them, or give each a cache of its own:\n    ENVSYNC_CACHE_DIR=…",
            ) from None
        finally:
            os.close(handle)

    def fetch(self) -> str:
        """Make the copy what the branch is now; see the port."""
        ran = self._git.run(
            "fetch", "--quiet", "--prune", "--no-tags", "--end-of-options",
            self._remote, f"+refs/heads/*:refs/remotes/{self._remote}/*",
        )  # fmt: skip
        if ran.code != 0:
            raise self._refused("read", ran)
        (self.folder / ".git/index.lock").unlink(missing_ok=True)  # what a killed one left
        found = self._git.run("rev-parse", "--verify", "--quiet", f"{self._tracking}^{{commit}}")
        if found.code != 0:
            raise InvalidInput(
                f"the git remote {self._remote!r} has no branch {self.branch!r}",
                hint="Say in envsync.yaml which one is meant:\n    reconcile: {branch: main}",
            )
        commit = found.out.decode().strip()
        self._must("checkout", "--quiet", "--force", "--detach", commit)
        self._must("clean", "-qffdx")
        return commit

    @property
    def branch(self) -> str:
        """The branch's name; asked of the remote when no setting says it."""
        if not self._wanted:
            ran = self._git.run("ls-remote", "--symref", "--end-of-options", self._remote, "HEAD")
            if ran.code != 0:
                raise self._refused("read", ran)
            match = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", ran.out.decode(), re.MULTILINE)
            self._wanted = match[1] if match else "main"
        return self._wanted

    def commit(self, message: str, folders: Sequence[str]) -> str:
        """Commit what changed; see the port."""
        there = [name for name in folders if (self.folder / name).exists()]
        self._must("add", "--all", "--", *there)
        if self._git.run("diff", "--cached", "--quiet").code == 0:
            return ""
        self._must("commit", "--quiet", "--no-verify", "--no-gpg-sign", "--file=-",
                   stdin=message.encode(), environment=_IDENTITY)  # fmt: skip
        return self._must("rev-parse", "HEAD").out.decode().strip()

    def back_to(self, commit: str) -> None:
        """Make the copy what *commit* has, whatever was committed since."""
        self._must("checkout", "--quiet", "--force", "--detach", commit)
        self._must("clean", "-qffdx")

    def push(self, commit: str) -> Pushed:
        """Add a commit to the branch; see the port."""
        ref = f"refs/heads/{self.branch}"
        ran = self._push(f"{commit}:{ref}")
        now = self._at(ref)
        if now == commit:
            return "pushed"
        # Words differ from git to git, and from server to server; what the branch is does not.
        if now != self._must("rev-parse", f"{commit}^").out.decode().strip():
            return "moved"
        raise self._refused("push to", ran)

    def propose(self, branch: str, commit: str) -> bool:
        """Put a commit on a branch of its own; see the port."""
        ref = f"refs/heads/{branch}"
        there = self._at(ref)
        if there == commit:
            return True
        if there:
            beyond = f"{self._tracking}..refs/remotes/{self._remote}/{branch}"
            mails = self._must("log", "--format=%ce%n%ae", beyond).out.decode().split()
            if any(mail != _MAIL for mail in mails):
                return False
            trees = self._must("rev-parse", f"{there}^{{tree}}", f"{commit}^{{tree}}").out.split()
            if trees[0] == trees[1]:
                return True
        ran = self._push(f"--force-with-lease={ref}:{there}", f"{commit}:{ref}")
        if ran.code == 0 or self._at(ref) == commit:
            return True
        raise self._refused("push to", ran)

    def touched(self, path: str) -> int:
        """Return when a commit last changed what is below a path; see the port."""
        out = self._must("log", "-1", "--format=%ct", "HEAD", "--", path).out.decode().strip()
        return int(out or 0)

    @property
    def _tracking(self) -> str:
        return f"refs/remotes/{self._remote}/{self.branch}"

    def _make(self) -> None:
        if (self.folder / ".git/complete").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._must("init", "--quiet", "--template=", ".")
        common = GitProgram(self._source, self.environ).run(
            "rev-parse", "--path-format=absolute", "--git-common-dir"
        )
        config = Path(os.fsdecode(common.out.removesuffix(b"\n"))) / "config"
        self._must("config", "--local", "include.path", str(config))
        (self.folder / ".git/complete").touch()

    def _at(self, ref: str) -> str:
        """Return what a ref of the remote names now, '' for nothing."""
        ran = self._git.run("ls-remote", "--refs", "--end-of-options", self._remote, ref)
        if ran.code != 0:
            raise self._refused("read", ran)
        return ran.out.decode().partition("\t")[0]

    def _push(self, *arguments: str) -> Ran:
        *options, spec = arguments
        return self._git.run(
            "push", "--porcelain", "--quiet", "--no-verify", "--no-follow-tags", "--no-signed",
            "--recurse-submodules=no", *options, "--end-of-options", self._remote, spec,
        )  # fmt: skip

    def _must(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> Ran:
        ran = self._git.run(*arguments, stdin=stdin, environment=environment)
        if ran.code != 0:
            raise Unavailable(
                f"git {arguments[0]} failed in envsync's own clone",
                detail=without_secrets(ran.err.strip()),
                hint=f"It can be deleted:\n    rm -r {self.folder}",
            )
        return ran

    def _refused(self, deed: str, ran: Ran) -> EnvsyncError:
        said = without_secrets((ran.err + ran.out.decode("utf-8", "replace")).strip())
        if REFUSED.search(said):
            return NotAllowed(
                f"the git remote {self._remote!r} does not let envsync {deed} it",
                detail=said,
                hint=f"Allow the identity that runs envsync to push to {self._wanted or 'it'}, or "
                "leave locks to people: reconcile: {lock: never}",
            )
        return Unavailable(f"could not {deed} the git remote {self._remote!r}", detail=said)


def _with_settings(environ: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Return variables that give git *settings* besides those that variables give it already."""
    first = int(environ.get("GIT_CONFIG_COUNT") or 0)
    found = {**environ, "GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (key, value) in enumerate(settings.items(), first):
        found[f"GIT_CONFIG_KEY_{number}"] = key
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    return found

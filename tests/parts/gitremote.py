"""Real git repositories and bare remotes that can refuse, be slow, or hang up after a push."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.parts.process import tool

_CONFIG = """\
[user]
\tname = Ada Tester
\temail = ada@example.org
[init]
\tdefaultBranch = main
[commit]
\tgpgSign = false
[tag]
\tgpgSign = false
[safe]
\tdirectory = *
[protocol "file"]
\tallow = always
[gc]
\tauto = 0
[core]
\thooksPath = hooks
[credential]
\thelper =
"""


def git_environment(home: Path) -> dict[str, str]:
    """Return variables under which git reads nothing of the machine's, with a made-up person.

    They are to be set; the GIT_ variables that are set already are to be removed.
    """
    home.mkdir(parents=True, exist_ok=True)
    config = home / "gitconfig"
    config.write_text(_CONFIG, encoding="utf-8")
    return {
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
    }


class GitError(RuntimeError):
    """git ended with an error; the message has its command and both streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRepository:
    """A repository with a work tree, or a bare one."""

    path: Path
    environment: Mapping[str, str]

    def git(self, *arguments: str, stdin: str | None = None, **variables: str) -> str:
        """Run git in the repository and return its output without the last line break."""
        outside = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
        done = subprocess.run(
            [tool("git"), *arguments],
            cwd=self.path,
            env={**outside, **self.environment, **variables},
            input=stdin,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise GitError(f"git {shlex.join(arguments)}\n{done.stdout}{done.stderr}")
        return done.stdout.removesuffix("\n")

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Write files of the work tree."""
        for name, content in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, message: str, files: Mapping[str, str | bytes] | None = None) -> str:
        """Write files, commit all that changed, and return the commit's id."""
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", f"--message={message}")
        return self.head()

    def head(self) -> str:
        """Return the id of the commit that is checked out."""
        return self.git("rev-parse", "HEAD")

    def refs(self, pattern: str = "refs/") -> dict[str, str]:
        """Return the objects that references name, by the references' full names."""
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname)", pattern).splitlines()
        return dict(line.split(" ") for line in lines)


def new_repository(path: Path, environment: Mapping[str, str]) -> GitRepository:
    """Make a repository with a work tree and no commit."""
    path.mkdir(parents=True)
    repository = GitRepository(path=path, environment=environment)
    repository.git("init", "--quiet")
    return repository


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRemote:
    """A bare repository that takes pushes, in the manner its hooks were told."""

    bare: GitRepository

    @property
    def path(self) -> Path:
        """The folder, which is an address for git as well."""
        return self.bare.path

    @property
    def url(self) -> str:
        """The file:// address."""
        return self.path.as_uri()

    def clone(self, path: Path) -> GitRepository:
        """Clone it; the clone's remote is `origin`."""
        self.bare.git("clone", "--quiet", str(self.path), str(path))
        clone = GitRepository(path=path, environment=self.bare.environment)
        if not self.bare.refs():
            clone.git("symbolic-ref", "HEAD", "refs/heads/main")
        return clone

    def reject(
        self, pattern: str = ".*", message: str = "refused by a rule of this server"
    ) -> None:
        """Refuse updates of references whose full name matches a regular expression."""
        re.compile(pattern)
        found = f'printf %s "$1" | grep --quiet --extended-regexp {shlex.quote(pattern)}'
        self._hook("update", f"if {found}; then echo {shlex.quote(message)} >&2; exit 1; fi")

    def delay(self, seconds: float) -> None:
        """Wait before a push is taken, as a slow or busy server does."""
        self._hook("pre-receive", f"sleep {seconds}")

    def drop_after_update(self) -> None:
        """Update the references, then hang up before the client is told: it cannot know."""
        self._hook("post-receive", "kill -KILL $PPID")

    def drop_before_update(self) -> None:
        """Hang up before any reference is updated: to the client it looks like the above."""
        self._hook("pre-receive", "kill -KILL $PPID")

    def run_before_update(self, script: str) -> None:
        """Run shell lines when a push arrives, for example one that lets somebody else win."""
        # The hook runs in a quarantine: what another process of it writes would be thrown away.
        self._hook("pre-receive", f"unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY\n{script}")

    def behave(self) -> None:
        """Take every push again."""
        for hook in (self.path / "hooks").iterdir():
            hook.unlink()

    def _hook(self, name: str, script: str) -> None:
        hook = self.path / "hooks" / name
        hook.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        hook.chmod(0o755)


def new_remote(path: Path, environment: Mapping[str, str]) -> GitRemote:
    """Make an empty bare repository that also takes pushes over HTTP."""
    path.mkdir(parents=True)
    bare = GitRepository(path=path, environment=environment)
    bare.git("init", "--quiet", "--bare", "--template=")
    bare.git("config", "http.receivepack", "true")
    (path / "hooks").mkdir()
    return GitRemote(bare=bare)

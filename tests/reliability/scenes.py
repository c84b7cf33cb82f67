"""Repositories of a team, each before an apply that has something else to do.

A scene is set once for all tests of a worker, and copied for each; how it ends when nobody disturbs
it is found out once as well.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.parts.gitremote import GitRemote, GitRepository, new_remote
from tests.parts.registry import Registry
from tests.reliability.oracle import End, assert_quiet, end_of
from tests.team import Team

BOTH = "envsync:\n  platforms: [linux-64, linux-aarch64]\n"
BATCH = ("alpha", "beta", "delta", "gamma", "omega")


def new(team: Team) -> None:
    """Nothing was ever applied."""
    team.ask("train", "tiny-00001")


def changed(team: Team) -> None:
    """A version stands, and the spec and its lock have changed."""
    new(team)
    _apply(team)
    team.ask("train", "tiny-00001", "tiny-00010")


def rebuild(team: Team) -> None:
    """A version is recorded, and the registry has lost everything."""
    new(team)
    _apply(team)
    wipe(team)


def retag(team: Team) -> None:
    """A version is recorded and published, and its tags are gone."""
    new(team)
    commit = team.repository.head()
    _apply(team)
    for tag in ("1", "latest", f"git-{commit[:12]}"):
        team.delete_tag("train", tag)


def platforms(team: Team) -> None:
    """One environment for two platforms."""
    team.ask("train", "tiny-00001", text=BOTH)


def batch(team: Team) -> None:
    """Five environments; two are the same, and others share layers."""
    for name, *packages in (
        ("alpha", "tiny-00001"),
        ("beta", "tiny-00001", "tiny-00010"),
        ("delta", "tiny-00001"),
        ("gamma", "tiny-00020"),
    ):
        team.ask(name, *packages)
    team.ask("omega", "tiny-00002")


def wide(team: Team) -> None:
    """A version for two platforms changes, and an environment that shares layers is new.

    Its apply asks a registry for everything that envsync ever asks one for.
    """
    team.ask("alpha", "tiny-00001", text=BOTH)
    _apply(team)
    team.ask("alpha", "tiny-00001", "tiny-00010", text=BOTH)
    team.ask("beta", "tiny-00001", "tiny-00020")


def race(team: Team) -> None:
    """Branches for eight who apply at once: definitions of their own, and one explicit version."""
    team.ask("train", "tiny-00001")
    for number in range(8):
        for kind, text in (("different", ""), ("explicit", "version: 1.0")):
            team.repository.git("checkout", "--quiet", "-b", f"{kind}-{number}", "main")
            team.ask("train", f"tiny-0002{number}", text=text)
    team.repository.git("checkout", "--quiet", "main")


SCENES: Mapping[str, Callable[[Team], None]] = {
    "new": new,
    "changed": changed,
    "rebuild": rebuild,
    "retag": retag,
    "platforms": platforms,
    "batch": batch,
    "wide": wide,
}
"""What has an apply to do, and an end that is always the same."""
OTHERS = {"race": race}


def names_of(scene: str) -> tuple[str, ...]:
    """Return the environments of a scene."""
    return {"batch": BATCH, "wide": ("alpha", "beta")}.get(scene, ("train",))


def wipe(team: Team) -> None:
    """Lose all that was published, without stopping the registry: it keeps nothing in memory."""
    folder = team.registry.data / "docker" if team.registry else team.layouts
    shutil.rmtree(folder, ignore_errors=True)


def _apply(team: Team) -> None:
    done = team.envsync("apply")
    assert done.code == 0, done.out + done.err


@dataclass(slots=True, kw_only=True)
class Stage:
    """Where scenes are set; one for each kind of registry."""

    folder: Path
    channel: Path
    registry: Registry | None = None
    address: str = ""
    """How the registry is called in the settings, if not by its own host."""
    _ends: dict[str, End] = field(default_factory=dict)

    def team(
        self,
        scene: str,
        folder: Path,
        variables: Mapping[str, str],
        setting: Callable[[Team], object] | None = None,
    ) -> Team:
        """Return a copy of a scene in *folder*, which must not exist.

        *setting* sets a scene that is a test's own.
        """
        original = self.folder / scene
        if not original.exists():
            self._set(setting or {**SCENES, **OTHERS}[scene], original, variables)
        return self._copy(original, folder, variables)

    def end(self, scene: str, folder: Path, variables: Mapping[str, str]) -> End:
        """Return how a scene ends when nobody disturbs it."""
        if scene not in self._ends:
            team = self.team(scene, folder, variables)
            _apply(team)
            assert_quiet(team)
            self._ends[scene] = end_of(team, names_of(scene))
        return self._ends[scene]

    def _set(
        self, scene: Callable[[Team], object], original: Path, variables: Mapping[str, str]
    ) -> None:
        setting = original.with_suffix(".setting")
        remote = new_remote(setting / "team.git", variables)
        team = Team(
            repository=remote.clone(setting / "work"),
            channel=self.channel,
            cache=setting / "cache",
            remote=remote,
            registry=self.registry,
            address=self.address,
        )
        if self.registry:
            wipe(team)
        team.settings()
        team.repository.commit("settings")
        scene(team)
        team.repository.git("push", "--quiet", "origin", "main")
        if self.registry:
            held = self.registry.data / "docker"
            held.mkdir(parents=True, exist_ok=True)
            shutil.copytree(held, setting / "registry")
        setting.rename(original)

    def _copy(self, original: Path, folder: Path, variables: Mapping[str, str]) -> Team:
        shutil.copytree(original, folder, symlinks=True)
        config = folder / "work/.git/config"
        was = str(original.with_suffix(".setting") / "team.git")
        config.write_text(config.read_text().replace(was, str(folder / "team.git")))
        remote = new_remote_at(folder / "team.git", variables)
        team = Team(
            repository=GitRepository(path=folder / "work", environment=variables),
            channel=self.channel,
            cache=folder / "cache",
            remote=remote,
            registry=self.registry,
            address=self.address,
        )
        if self.registry:
            wipe(team)
            shutil.copytree(folder / "registry", self.registry.data / "docker")
        return team


def new_remote_at(path: Path, variables: Mapping[str, str]) -> GitRemote:
    """Return a bare repository that exists."""
    return GitRemote(bare=GitRepository(path=path, environment=variables))

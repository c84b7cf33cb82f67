"""Locks that somebody changed in a pull request, who also changed the hashes that tell (X11)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.adapters.locks.conda_lock_file import parse_lock
from envsync.model.canonical import sha256_hex
from envsync.model.lock import ImageLock, Lock, LockedPackage
from envsync.model.lock_text import render_conda_lock, render_image
from envsync.model.request import request_hash
from envsync.operations.load import load_repository
from tests.reliability.counts import count
from tests.team import Done, Team

CHANNEL = "https://conda.example/team"
FILES = "https://files.example/packages"
POLICY = f"policy:\n  channels: ['{CHANNEL}']\n  wheel_urls: ['{FILES}/*']\n"
SPEC = f"""\
name: train
image: scratch
conda_file:
  channels: ['{CHANNEL}']
  dependencies: [python=3.11, tool, {{pip: [leaf]}}]
"""
LOCK = "locks/train/conda-lock.yml"
TOOL = f"{CHANNEL}/noarch/tool-1.0-h0_0.conda"
LEAF = f"{FILES}/leaf-2.0-py3-none-any.whl"


def conda(name: str, version: str, subdir: str, build: str, **depends: str) -> LockedPackage:
    return LockedPackage(
        manager="conda", name=name, version=version, build=build, platform="linux-64",
        url=f"{CHANNEL}/{subdir}/{name}-{version}-{build}.conda", md5="0" * 32,
        sha256=sha256_hex(f"{name} {version}".encode()), depends=depends,
    )  # fmt: skip


PACKAGES = (
    conda("python", "3.11.9", "linux-64", "h1_0"),
    conda("tool", "1.0", "noarch", "h0_0", python=">=3.9"),
    LockedPackage(
        manager="pip", name="leaf", version="2.0", platform="linux-64", url=LEAF, sha256="e" * 64
    ),
)
TOOL_SHA, LEAF_SHA = PACKAGES[1].sha256, PACKAGES[2].sha256


def write_lock(team: Team, text: str) -> None:
    """Write a lock whose two files belong together and say that they are of this spec."""
    loaded = load_repository(WorkTree(team.root), parse_document)
    request = request_hash(loaded.specs["train"], loaded.config)
    data = text.encode("utf-8", "surrogateescape")
    image = ImageLock(request=request, image="scratch", conda_lock=sha256_hex(data))
    team.repository.write({LOCK: data, "locks/train/image.yaml": render_image(image)})


def sound() -> str:
    """Return the lock that nobody changed."""
    lock = Lock(
        image=ImageLock(request="c" * 64, image="scratch"),
        packages={"linux-64": PACKAGES},
        channels=(CHANNEL,),
    )
    return render_conda_lock(lock, content_hash={"linux-64": "a" * 64}, sources=[]).decode()


def entry(package: LockedPackage) -> str:
    """Return the entry of one package more."""
    lock = Lock(
        image=ImageLock(request="c" * 64, image="scratch"), packages={"linux-64": (package,)}
    )
    text = render_conda_lock(lock, content_hash={"linux-64": "a" * 64}, sources=[]).decode()
    return text.partition("package:\n")[2]


@pytest.fixture
def team(folder_team: Team) -> Team:
    """A repository with a policy and a lock, and a branch."""
    folder_team.settings(POLICY)
    folder_team.repository.write({"environments/train/environment.yaml": SPEC})
    write_lock(folder_team, sound())
    folder_team.repository.commit("what main says")
    folder_team.repository.git("checkout", "--quiet", "-b", "branch")
    return folder_team


def planned(team: Team, text: str) -> Done:
    """Return what a reviewer is told of a branch with this lock, and of a settings file without
    the policy."""
    team.settings()
    # Something else of the environment changes too, so that the branch touches it in any case.
    written = f"{SPEC}description: changed\n"
    team.repository.write({"environments/train/environment.yaml": written})
    write_lock(team, text)
    team.repository.commit("what the branch says")
    return team.envsync("plan", "--base", "main")


def swap(old: str, new: str) -> Callable[[str], str]:
    """Return a change of one text into another, which must be there."""

    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new)

    return change


def tool_url(new: str) -> Callable[[str], str]:
    return swap(f"url: {TOOL}", f"url: '{new}'")


def leaf_url(new: str) -> Callable[[str], str]:
    return swap(f"url: {LEAF}", f"url: '{new}'")


def without(name: str) -> Callable[[str], str]:
    return lambda text: re.sub(rf"(?ms)^- name: {name}\n.*?(?=^- name|\Z)", "", text)


EVIL = replace(PACKAGES[1], name="evil", url=TOOL.replace("/tool-", "/evil-"), depends={})
OTHER_CHANNEL = "which is no channel of the spec"
PLAIN = "is not the plain URL of a package"
NO_URL = "is not the URL of a package"
LOGIN = "its URL holds credentials"

TAMPERED: dict[str, tuple[Callable[[str], str], str]] = {
    # What a URL says, and what the fields beside it say.
    "another name in the URL": (tool_url(TOOL.replace("tool-", "toll-")), "that of toll 1.0, not"),
    "another version in the URL": (tool_url(TOOL.replace("-1.0-", "-0.9-")), "that of tool 0.9"),
    "another version in the fields": (
        swap("name: tool\n  version: '1.0'", "name: tool\n  version: '6.6'"),
        "that of tool 1.0, not of tool 6.6",
    ),
    "another build": (
        swap("name: tool\n", "name: tool\n  build: evil_1\n"),
        "that of build h0_0, not of evil_1",
    ),
    "another subdir": (tool_url(TOOL.replace("noarch", "win-64")), "for win-64, not for linux-64"),
    "another manager": (
        swap(
            "name: leaf\n  version: '2.0'\n  manager: pip",
            "name: leaf\n  version: '2.0'\n  manager: conda",
        ),
        "is not the name of a conda package",
    ),
    "another platform": (
        lambda t: t.replace("platform: linux-64", "platform: osx-64"),
        "'osx-64' is not among the lock's platforms",
    ),
    "all of another platform": (
        lambda t: t.replace("linux-64", "osx-64"),
        "nothing is locked for linux-64",
    ),
    "a package that lies about its name": (
        lambda t: t.replace("name: tool", "name: evil"),
        "its URL is that of tool 1.0, not of evil",
    ),
    # Where it comes from.
    "another host": (tool_url(TOOL.replace("conda.", "evil.")), OTHER_CHANNEL),
    "a host that goes on": (
        tool_url(TOOL.replace(".example", ".example.evil.test")),
        OTHER_CHANNEL,
    ),
    "a host that looks alike": (tool_url(TOOL.replace("example", "ex\u0430mple")), OTHER_CHANNEL),
    "a host that looks alike, for machines": (
        tool_url(TOOL.replace("conda.example", "conda.xn--exmple-4nf")),
        OTHER_CHANNEL,
    ),
    "a dot that is none": (tool_url(TOOL.replace("a.example", "a\u3002example")), OTHER_CHANNEL),
    "a slash that is none": (
        tool_url(TOOL.replace(".example/team", ".example\u2044team.evil.test")),
        OTHER_CHANNEL,
    ),
    "another channel": (tool_url(TOOL.replace("/team/", "/teem/")), OTHER_CHANNEL),
    "a channel in the channel": (tool_url(TOOL.replace("/team/", "/team/x/")), OTHER_CHANNEL),
    "a channel above": (tool_url(TOOL.replace("/team/", "/")), OTHER_CHANNEL),
    "an empty folder": (tool_url(TOOL.replace("/team/", "//team/")), OTHER_CHANNEL),
    "this folder": (tool_url(TOOL.replace("/team/", "/./team/")), OTHER_CHANNEL),
    "capitals": (tool_url(TOOL.replace("/team/", "/TEAM/")), OTHER_CHANNEL),
    "http": (tool_url(TOOL.replace("https", "http")), OTHER_CHANNEL),
    "another port": (tool_url(TOOL.replace(".example", ".example:8443")), OTHER_CHANNEL),
    "a port that says nothing": (tool_url(TOOL.replace(".example", ".example:443")), OTHER_CHANNEL),
    "a letter in disguise": (tool_url(TOOL.replace("/team/", "/te%61m/")), OTHER_CHANNEL),
    "a file": (tool_url("file:///etc/noarch/tool-1.0-h0_0.conda"), OTHER_CHANNEL),
    "a bucket": (tool_url(TOOL.replace("https", "s3")), OTHER_CHANNEL),
    "another scheme": (tool_url(TOOL.replace("https", "ftp")), NO_URL),
    "no scheme": (tool_url(TOOL.removeprefix("https:")), NO_URL),
    "a script": (tool_url(TOOL.replace("https://", "javascript:")), NO_URL),
    "the channels of the lock": (
        swap(f"- url: {CHANNEL}", "- url: https://evil.test/team"),
        "channels https://evil.test/team",
    ),
    # Tricks with the URL.
    "a login": (tool_url(TOOL.replace("//", "//me:canary@")), LOGIN),
    "a host before the host": (tool_url(TOOL.replace(".example", ".example@evil.test")), LOGIN),
    "a password with a slash": (
        tool_url(TOOL.replace(".example/", ".example:x/@evil.test/")),
        LOGIN,
    ),
    "a token": (tool_url(TOOL.replace("/team/", "/t/canary/team/")), LOGIN),
    "a backslash": (tool_url(TOOL.replace("//", "//evil.test\\")), NO_URL),
    "a query": (tool_url(f"{TOOL}?x=1"), PLAIN),
    "a query before the channel": (
        tool_url(TOOL.replace("conda.example/", "evil.test/?conda.example/")),
        PLAIN,
    ),
    "a fragment": (tool_url(f"{TOOL}#sha256=0"), PLAIN),
    "a fragment before the channel": (
        tool_url(TOOL.replace("conda.example/", "evil.test/#conda.example/")),
        PLAIN,
    ),
    "a folder above": (tool_url(TOOL.replace("/team/", "/team/../evil/")), PLAIN),
    "a folder above in disguise": (tool_url(TOOL.replace("/team/", "/team/%2e%2E/evil/")), PLAIN),
    "a slash in disguise": (tool_url(TOOL.replace("/team/", "/evil%2Fteam/")), PLAIN),
    "white space": (tool_url(TOOL.replace("team", "te am")), NO_URL),
    "a name in disguise": (tool_url(TOOL.replace("tool-1", "to%6Fl2-1")), "that of tool2 1.0"),
    # Hashes.
    "no sha256": (swap(f"    sha256: '{TOOL_SHA}'\n", ""), "has no sha256"),
    "an md5 alone": (swap(f"    sha256: '{TOOL_SHA}'\n", "    sha1: 'abc'\n"), "has no sha256"),
    "an empty sha256": (swap(TOOL_SHA, ""), "has no sha256"),
    "a sha256 that is too short": (swap(TOOL_SHA, TOOL_SHA[:40]), "not 64 digits of 0-9 and a-f"),
    "a sha256 that is too long": (swap(TOOL_SHA, f"{TOOL_SHA}0"), "not 64 digits of 0-9 and a-f"),
    "a sha256 in capitals": (swap(TOOL_SHA, TOOL_SHA.upper()), "not 64 digits of 0-9 and a-f"),
    "a sha256 in other digits": (swap(TOOL_SHA, "\u0661" * 64), "not 64 digits of 0-9 and a-f"),
    "a sha256 with its name": (swap(TOOL_SHA, f"sha256:{TOOL_SHA}"), "not 64 digits of 0-9 and"),
    "an md5 that is none": (swap("0" * 32, "0" * 31), "md5 is not 32 digits"),
    # More and fewer packages.
    "one package more": (lambda t: t + entry(EVIL), "evil is locked, nothing asks for it"),
    "one package more, of another category": (
        lambda t: t + entry(EVIL).replace("category: main", "category: dev"),
        "evil is locked, nothing asks for it",
    ),
    "one package more, optional": (
        lambda t: t + entry(EVIL).replace("optional: false", "optional: true"),
        "evil is locked, nothing asks for it",
    ),
    "one wheel more": (
        lambda t: t + entry(replace(PACKAGES[2], name="evil", url=LEAF.replace("leaf", "evil"))),
        "evil is locked, nothing asks for it",
    ),
    "the same package twice": (
        lambda t: t + entry(replace(PACKAGES[1], sha256="f" * 64)),
        "stands twice for linux-64",
    ),
    "the same package twice, in capitals": (
        lambda t: t + entry(replace(PACKAGES[1], name="Tool", sha256="f" * 64)),
        "stands twice for linux-64",
    ),
    "the same package twice, of another category": (
        lambda t: (
            t
            + entry(replace(PACKAGES[1], sha256="f" * 64)).replace(
                "category: main", "category: dev"
            )
        ),
        "stands twice for linux-64",
    ),
    "one package fewer": (without("tool"), "tool is not locked, the spec asks tool"),
    "no python": (without("python"), "python is not locked, the spec asks python=3.11"),
    "one wheel fewer": (without("leaf"), "leaf is not locked, the spec asks leaf"),
    "no packages": (lambda t: t.partition("package:")[0] + "package: []\n", "tool is not locked"),
    "an older version": (
        lambda t: t.replace("3.11.9", "3.10.1"),
        "python 3.10.1 h1_0 is locked, the spec asks",
    ),
    "a dependency that nobody locked": (
        swap("python: '>=3.9'", "python: '>=3.9'\n    evil: ''"),
        "evil is not locked, tool asks evil",
    ),
    # Wheels.
    "a wheel of another host": (
        leaf_url(LEAF.replace("files.", "evil.")),
        "policy.wheel_urls of main allows",
    ),
    "a wheel of a host that goes on": (
        leaf_url(LEAF.replace(".example", ".example.evil.test")),
        "policy.wheel_urls of main allows",
    ),
    "a wheel of a host that looks alike": (
        leaf_url(LEAF.replace("example", "ex\u0430mple")),
        "policy.wheel_urls of main allows",
    ),
    "a wheel without TLS": (
        leaf_url(LEAF.replace("https", "http")),
        "policy.wheel_urls of main allows",
    ),
    "a wheel of another port": (
        leaf_url(LEAF.replace(".example", ".example:8443")),
        "policy.wheel_urls of main allows",
    ),
    "a wheel of this machine": (
        leaf_url("file:///tmp/leaf-2.0-py3-none-any.whl"),
        "policy.wheel_urls of main allows",
    ),
    "a wheel of the repository that nobody named": (
        leaf_url("file:wheels/leaf-2.0-py3-none-any.whl"),
        "the spec names no wheel",
    ),
    "a wheel with a login": (leaf_url(LEAF.replace("//", "//me:canary@")), LOGIN),
    "a wheel with a query": (leaf_url(f"{LEAF}?x"), PLAIN),
    "a wheel with a fragment": (leaf_url(f"{LEAF}#egg=leaf"), PLAIN),
    "a wheel of another name": (leaf_url(LEAF.replace("leaf", "laef")), "that of laef 2.0, not of"),
    "a wheel of another version": (
        leaf_url(LEAF.replace("2.0", "1.0")),
        "that of leaf 1.0, not of",
    ),
    "a source archive": (leaf_url(f"{FILES}/leaf-2.0.tar.gz"), "lock a wheel instead"),
    "a checkout": (leaf_url("git+https://evil.test/leaf"), "lock a wheel instead"),
    "a wheel without sha256": (swap(f"    sha256: '{LEAF_SHA}'\n", "    md5: ''\n"), "no sha256"),
    # The file itself.
    "a tag of YAML": (swap("name: tool", "name: !!python/name:os.system tool"), f"{LOCK}:"),
    "an anchor": (swap("name: tool", "name: &x tool"), f"{LOCK}:"),
    "a key twice": (swap("name: tool\n", "name: tool\n  name: tool\n"), "stands twice"),
    "a second document": (lambda t: f"{t}---\npackage: []\n", f"{LOCK}"),
    "another format": (swap("version: 1\n", "version: 2\n"), "this envsync reads version 1"),
    "no text": (lambda _: "\udcff\udcfe", "not UTF-8"),
}


def test_the_lock_that_nobody_changed_is_planned(team: Team) -> None:
    done = planned(team, sound())
    assert done.code == 0, done.out
    assert "train: create version 1" in done.out


@pytest.mark.parametrize("case", TAMPERED)
def test_a_lock_that_was_tampered_with_is_refused(team: Team, case: str) -> None:
    tamper, words = TAMPERED[case]
    text = tamper(sound())
    assert text != sound()
    done = planned(team, text)
    said = done.out + done.err
    assert done.code == 6, said
    assert words in said
    assert "canary" not in said
    # Where, and what to do: a line of the file, or the folder to lock again.
    line = re.search(rf"{re.escape(LOCK)}(:\d+)*", said)
    assert line or "commit locks/train/" in said or "Take them from an allowed index" in said
    assert "envsync lock train" in said
    assert "Plan: 1 to mend first." in said
    count("X11", **{"kinds of tampering": 1, "refused": 1, "with the line": int(bool(line))})


def test_other_bytes_under_the_same_name_are_refused_when_they_come(folder_team: Team) -> None:
    """The hash of other content agrees with everything but the content."""
    team = folder_team
    team.ask("train", "tiny-00003")
    lock = team.root / LOCK
    text = lock.read_text()
    parsed = parse_lock(text.encode(), (lock.parent / "image.yaml").read_bytes(), "locks/train")
    assert parsed is not None
    (package,) = (p for p in parsed.packages["linux-64"] if p.name == "tiny-00003")
    after = text.replace(package.sha256, "f" * 64)
    image = lock.parent / "image.yaml"
    before, now = sha256_hex(text.encode()), sha256_hex(after.encode())
    image.write_text(image.read_text().replace(before, now))
    lock.write_text(after)
    team.repository.commit("other bytes")
    done = team.envsync("apply")
    assert done.code == 6, done.err
    assert "tiny-00003 1.0 is not what the lock says" in done.err
    assert f"the lock wants  {'f' * 64}" in done.err
    assert team.versions("train") == []
    count("X11", **{"kinds of tampering": 1, "refused": 1, "with the line": 0})


def test_new_bytes_under_an_old_version_are_a_flag(team: Team) -> None:
    """A lock whose hash alone is another may be right: a reviewer is told to look."""
    done = planned(team, sound().replace(TOOL_SHA, "f" * 64))
    assert done.code == 0
    shown = team.envsync("plan", "--base", "main", "--format", "json")
    (found,) = shown.json["environments"]
    assert [flag["code"] for flag in found["flags"]] == ["bytes_changed"]
    assert found["flags"][0]["packages"] == ["tool"]
    count("X11", **{"kinds of tampering": 1, "flagged": 1})

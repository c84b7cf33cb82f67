"""Policy in the commands: refused by validate, by lock and by plan, and read from the base."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import envsync.planning
from envsync.adapters.git.git_changes import read_changes
from envsync.model.canonical import sha256_hex
from tests.parts.process import tool
from tests.team import Team

VALIDATOR = Draft202012Validator(
    json.loads((Path(envsync.planning.__file__).parent / "plan.schema.json").read_bytes())
)


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A policy and what of the environment ``train``, which has tiny-00000, breaks it."""

    policy: str
    says: str
    """The message, from the rule's name on; CHANNEL stands for the channel's URL."""
    code: str


CASES = {
    "channels": Broken(
        policy="channels: [conda-forge]",
        says="policy.channels allows conda-forge; train: tiny-00000 comes from CHANNEL",
        code="policy_channels",
    ),
    "forbidden": Broken(
        policy="packages: {forbidden: [tiny-00000]}",
        says="policy.packages.forbidden has tiny-00000; train: tiny-00000 1.0 is locked (linux-64)",
        code="policy_packages",
    ),
    "required": Broken(
        policy="packages: {required: [tiny-00001]}",
        says="policy.packages.required has tiny-00001; train: tiny-00001 is not locked (linux-64)",
        code="policy_packages",
    ),
    "licenses": Broken(
        policy="licenses: {allowed: [Apache-2.0]}",
        says="policy.licenses.allowed has Apache-2.0; train: tiny-00000 is MIT",
        code="policy_licenses",
    ),
    "max_lock_age": Broken(
        policy="max_lock_age: 30",
        says="policy.max_lock_age is 30 days; train: its lock does not say when it was made",
        code="policy_max_lock_age",
    ),
    "cooldown": Broken(
        policy="cooldown: 36500",
        says="policy.cooldown is 36500 days; train: tiny-00000 1.0 was released on RELEASED, and "
        "it is judged on DAY",
        code="policy_cooldown",
    ),
}


def settings(team: Team, policy: str) -> None:
    team.settings(f"policy:\n  {policy}\n" if policy else "")


@pytest.mark.parametrize("case", CASES)
def test_a_broken_rule_is_refused_by_validate_lock_and_plan(folder_team: Team, case: str) -> None:
    team, broken = folder_team, CASES[case]
    team.ask("train", "tiny-00000")
    settings(team, broken.policy)
    team.repository.commit("a policy")
    image = (team.root / "locks/train/image.yaml").read_text()
    released = image.partition("released:\n")[2].split("'")[1]
    says = broken.says.replace("CHANNEL", team.channel.as_uri()).replace("RELEASED", released)
    day = team.repository.git("log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%d", TZ="UTC")
    says = says.replace("DAY", day)

    validated = team.envsync("validate")
    assert validated.code == 6
    assert f": {says}\n" in validated.out
    assert "envsync.yaml:" in validated.out

    before = team.state()
    locked = team.envsync("lock")
    assert locked.code == 6, locked.out
    assert "! train\n    train is refused by policy\n" in locked.out
    assert says in locked.out
    assert team.state() == before

    planned = team.envsync("plan", "--format", "json")
    assert planned.code == 6
    VALIDATOR.validate(planned.json)
    (found,) = planned.json["environments"]
    assert (found["state"], found["actions"]) == ("invalid", [])
    assert [reason["code"] for reason in found["reasons"]] == [broken.code] * len(found["reasons"])
    assert any(reason["text"].endswith(says) for reason in found["reasons"])
    assert all(reason["text"].startswith("envsync.yaml:") for reason in found["reasons"])

    applied = team.envsync("apply")
    assert applied.code == 6
    assert "train is refused by policy" in applied.out + applied.err
    assert team.records("train") == ()

    settings(team, "")
    team.repository.commit("no policy")
    assert team.envsync("validate").code == 0
    assert team.envsync("plan").code == 0


def test_a_lock_that_would_break_the_policy_is_not_written(folder_team: Team) -> None:
    folder_team.settings("policy: {packages: {forbidden: [tiny-00001]}}\n")
    folder_team.spec("train", "tiny-00001")
    folder_team.spec("serve", "tiny-00000")
    done = folder_team.envsync("lock")
    assert done.code == 6
    assert "policy.packages.forbidden has tiny-00001; train: tiny-00001 1.0 is locked" in done.out
    assert not (folder_team.root / "locks/train").exists()
    assert (folder_team.root / "locks/serve/image.yaml").exists()


def test_the_words_of_a_refused_plan(folder_team: Team) -> None:
    team = folder_team
    team.ask("train", "tiny-00000")
    team.settings("policy:\n  channels: [conda-forge]\n  licenses: {forbidden: [MIT]}\n")
    team.repository.commit("a policy")
    shown = team.envsync("plan").out
    assert shown.partition("\n\n")[2] == (
        "! train: cannot be built\n"
        "    because envsync.yaml:2:3: policy.channels allows conda-forge; train: tiny-00000 comes "
        f"from {team.channel.as_uri()}\n"
        "    and envsync.yaml:2:3: policy.channels allows conda-forge; train: "
        "environments/train/environment.yaml names the channel "
        f"{team.channel.as_uri()}\n"
        "    and envsync.yaml:3:26: policy.licenses.forbidden has MIT; train: tiny-00000 is MIT\n"
        "    Take the channel out of the spec and lock again:\n"
        "        envsync lock train\n"
        "    Name an allowed one, or let the owners of the policy allow it.\n"
        "    Take out what asks for it and lock again:\n"
        "        envsync lock train\n"
        "\n"
        "Plan: 1 to mend first.\n"
    )


# Pull requests


def pull_request(team: Team, change: Callable[[], None], base: str = "") -> None:
    """Commit *change* on a branch beside ``main``, whose policy is *base*."""
    settings(team, base)
    team.repository.commit("what main says")
    team.repository.git("checkout", "--quiet", "-b", "branch")
    change()
    team.repository.commit("what the branch says")


def test_in_a_pull_request_the_policy_of_the_base_counts(folder_team: Team) -> None:
    team = folder_team

    def loosen() -> None:
        settings(team, "")
        team.ask("train", "tiny-00000")

    pull_request(team, loosen, base="packages: {forbidden: [tiny-00000]}")
    assert team.envsync("plan").code == 0
    done = team.envsync("plan", "--policy-from", "main")
    main = team.repository.git("rev-parse", "main")
    assert done.code == 6
    assert (
        "because envsync.yaml:2:26: policy.packages.forbidden of main has tiny-00000; train: "
        "tiny-00000 1.0 is locked (linux-64)\n"
    ) in done.out
    assert f"! judged by the policy of {main[:12]}; this commit changes it\n" in done.out
    document = team.envsync("plan", "--format", "json", "--policy-from", "main").json
    VALIDATOR.validate(document)
    assert document["policy"] == {"from": main, "changed": True}


def test_a_stricter_policy_of_the_branch_is_told_and_does_not_count(folder_team: Team) -> None:
    team = folder_team
    team.ask("train", "tiny-00000")
    pull_request(team, lambda: settings(team, "packages: {forbidden: [tiny-00000]}"))
    done = team.envsync("plan", "--policy-from", "main")
    assert done.code == 0
    assert "this commit changes it" in done.out
    assert team.envsync("plan").code == 6


def test_a_policy_that_only_moved_is_the_same(folder_team: Team) -> None:
    team = folder_team

    def move() -> None:
        text = (team.root / "envsync.yaml").read_text()
        team.repository.write({"envsync.yaml": f"# Who may what.\n\n{text}"})
        team.ask("train", "tiny-00000")

    pull_request(team, move, base="channels: ['file:///*']")
    done = team.envsync("plan", "--format", "json", "--policy-from", "main")
    assert done.code == 0
    assert done.json["policy"]["changed"] is False


def test_without_a_policy_in_the_base_everything_is_allowed(folder_team: Team) -> None:
    team = folder_team
    (team.root / "envsync.yaml").unlink()
    team.repository.commit("no settings at all")
    team.repository.git("branch", "bare")
    team.settings()
    team.ask("train", "tiny-00000")
    assert team.envsync("plan", "--policy-from", "bare").code == 0


@pytest.mark.parametrize(
    ("revision", "words"),
    [
        ("nowhere", "'nowhere' names no commit of this repository"),
        ("--output=x", "'--output=x' names no commit of this repository"),
        ("broken", "envsync.yaml of broken cannot be used"),
    ],
)
def test_a_policy_that_cannot_be_read_allows_nothing(
    folder_team: Team, revision: str, words: str
) -> None:
    team = folder_team
    team.ask("train", "tiny-00000")
    settings(team, "chanels: []")
    team.repository.commit("broken")
    team.repository.git("branch", "broken")
    settings(team, "")
    team.repository.commit("mended")
    done = team.envsync("plan", f"--policy-from={revision}")
    assert done.code == 6
    assert words in done.err
    assert done.out == ""


def test_the_registry_of_the_base_is_the_repositorys_own(folder_team: Team) -> None:
    """A branch cannot make another registry its own by saying so in the settings."""
    team = folder_team
    team.settings("policy: {registries: [docker.io]}\n")
    team.repository.commit("a policy")
    team.repository.git("branch", "base")
    team.repository.write(
        {
            "envsync.yaml": "registry: evil.test/team\npolicy: {registries: [docker.io]}\n",
            "environments/x/environment.yaml": "image: azureml:base:1\n",
            "locks/x/image.yaml": f"format: 1\nrequest: {'c' * 64}\nimage: azureml:base:1\n"
            f"source: evil.test/team/base@sha256:{'a' * 64}\ndigest: sha256:{'a' * 64}\n"
            f"platforms:\n  linux-64:\n    digest: sha256:{'b' * 64}\n",
        }
    )
    team.repository.commit("another registry")
    done = team.envsync("plan", "--policy-from", "base", "x")
    assert done.code == 6
    assert "policy.registries of base allows docker.io; x: the image in locks/x/image.yaml" in (
        done.out
    )


# What is remembered


def test_what_was_remembered_under_one_policy_does_not_hold_under_another(
    folder_team: Team,
) -> None:
    team = folder_team

    def loosen() -> None:
        settings(team, "")
        team.ask("train", "tiny-00000")

    pull_request(team, loosen, base="packages: {forbidden: [tiny-00000]}")
    for _ in range(2):
        assert team.envsync("plan").code == 0
        assert team.envsync("plan", "--policy-from", "main").code == 6


def commit_on(team: Team, day: str) -> None:
    moment = f"{day}T12:00:00Z"
    team.repository.git("add", "--all")
    team.repository.git(
        "commit", "--quiet", "--allow-empty", "--message=x", GIT_COMMITTER_DATE=moment
    )


def test_a_lock_grows_too_old_although_nothing_of_it_changes(folder_team: Team) -> None:
    team = folder_team
    settings(team, "max_lock_age: 30")
    team.spec("train", "tiny-00000")
    assert team.envsync("lock").code == 0
    path = team.root / "locks/train/image.yaml"
    (chosen,) = [line for line in path.read_text().splitlines() if line.startswith("chosen:")]
    path.write_text(path.read_text().replace(chosen, "chosen: '2026-01-01'"))
    for day, code in (("2026-01-01", 0), ("2026-01-31", 0), ("2026-02-01", 6), ("2026-01-20", 0)):
        commit_on(team, day)
        for _ in range(2):
            assert team.envsync("plan").code == code, day


def test_a_package_grows_old_enough_although_nothing_changes(folder_team: Team) -> None:
    team = folder_team
    team.ask("train", "tiny-00000")
    settings(team, "cooldown: 7")
    path = team.root / "locks/train/image.yaml"
    released = path.read_text().partition("released:\n")[2].split("'")[1]
    path.write_text(path.read_text().replace(released, "2026-01-01"))
    for day, code in (("2026-01-07", 6), ("2026-01-08", 0), ("2026-01-02", 6)):
        commit_on(team, day)
        for _ in range(2):
            assert team.envsync("plan").code == code, day


def test_licences_that_nobody_knows_are_told_every_time(folder_team: Team) -> None:
    team = folder_team
    team.ask("train", "tiny-00000")
    settings(team, "licenses: {unknown: warn}")
    path = team.root / "locks/train/image.yaml"
    path.write_text(path.read_text().replace(": 'MIT'", ": 'like MIT'"))
    team.repository.commit("an odd licence")
    for _ in range(2):
        done = team.envsync("plan")
        assert done.code == 0
        assert (
            "    notice: envsync.yaml:2:14: policy.licenses.unknown is warn; train: tiny-00000 has "
            "'like MIT', which is no SPDX licence\n"
        ) in done.out
    document = team.envsync("plan", "--format", "json").json
    VALIDATOR.validate(document)
    (notice,) = document["environments"][0]["notices"]
    assert notice["code"] == "policy_licenses"


# Who may change what

BY_ADA = """\
policy:
  teams: {ops: ['*@ops.test', ada@example.org]}
  changes:
  - {environments: ['prod-*'], by: [ops]}
  - {environments: [locked], by: [eve@ops.test], refuse: true}
"""


def commit_by(team: Team, address: str, message: str = "x") -> str:
    team.repository.git("add", "--all")
    team.repository.git(
        "commit", "--quiet", f"--message={message}", f"--author=Somebody <{address}>"
    )
    return team.repository.head()[:12]


def test_a_change_by_somebody_else_is_told(folder_team: Team) -> None:
    team = folder_team
    team.settings(BY_ADA)
    for name in ("prod-train", "train"):
        team.spec(name, "tiny-00000")
    team.envsync("lock")
    commit_by(team, "Deb@OPS.test")
    assert "notice" not in team.envsync("plan").out
    team.envsync("apply")
    for name in ("prod-train", "train"):
        team.spec(name, "tiny-00001")
    team.envsync("lock")
    commit = commit_by(team, "bob@example.org")
    done = team.envsync("plan")
    assert done.code == 0
    notice = (
        "    notice: envsync.yaml:4:6: policy.changes lets it be changed by ops; prod-train: "
        f"changed in {commit} by bob@example.org\n"
    )
    assert notice in done.out
    assert done.out.count("notice") == 1
    # What was told is no reason to stop, and what is recorded is told no more.
    assert team.envsync("apply").code == 0
    assert "notice" not in team.envsync("plan").out


def test_a_change_by_somebody_else_is_refused_where_the_policy_says_so(folder_team: Team) -> None:
    team = folder_team
    team.settings(BY_ADA)
    team.spec("locked", "tiny-00000")
    team.envsync("lock")
    commit = commit_by(team, "ada@example.org")
    done = team.envsync("plan", "--format", "json")
    assert done.code == 6
    (found,) = done.json["environments"]
    assert (found["state"], found["actions"]) == ("invalid", [])
    assert found["reasons"] == [
        {
            "code": "policy_changes",
            "text": "envsync.yaml:5:6: policy.changes lets it be changed by eve@ops.test; locked: "
            f"changed in {commit} by ada@example.org",
        }
    ]
    assert team.envsync("apply").code == 6


def test_in_a_pull_request_the_commits_of_the_branch_are_looked_at(folder_team: Team) -> None:
    team = folder_team
    team.settings(BY_ADA)
    team.spec("prod-train", "tiny-00000")
    team.envsync("lock")
    commit_by(team, "bob@example.org")
    team.repository.git("checkout", "--quiet", "-b", "branch")
    team.settings()
    team.spec("prod-train", "tiny-00001")
    team.envsync("lock")
    commit = commit_by(team, "carol@example.org")
    done = team.envsync("plan", "--policy-from", "main")
    assert (
        "notice: envsync.yaml:4:6: policy.changes of main lets it be changed by ops; prod-train: "
        f"changed in {commit} by carol@example.org\n"
    ) in done.out


def test_what_a_shallow_clone_cannot_tell_is_said(folder_team: Team, tmp_path: Path) -> None:
    team = folder_team
    team.settings(BY_ADA)
    team.ask("prod-train", "tiny-00000")
    place = tmp_path / "shallow"
    team.repository.git("clone", "--quiet", "--depth=1", team.root.as_uri(), str(place))
    shallow = replace(team, repository=replace(team.repository, path=place))
    shallow.repository.git("remote", "remove", "origin")
    done = shallow.envsync("plan")
    assert (
        "policy.changes lets it be changed by ops; prod-train: the commits that changed it are not "
        "all here (a shallow clone?)\n"
    ) in done.out


def sign_with(team: Team, folder: Path, owner: str) -> list[str]:
    """Make an SSH key of *owner*, known to git here; return the options that sign with it."""
    key = folder / owner.partition("@")[0]
    command = [tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", owner, "-f", str(key)]
    subprocess.run(command, check=True)
    allowed = folder / "allowed"
    public = key.with_suffix(".pub").read_text()
    with allowed.open("a") as file:
        file.write(f"{owner} {public}")
    team.repository.git("config", "gpg.format", "ssh")
    team.repository.git("config", "gpg.ssh.allowedSignersFile", str(allowed))
    return ["-c", f"user.signingKey={key}", "commit", "--quiet", "-S", "--message=signed"]


def test_a_signature_proves_who_it_was_and_an_author_line_does_not(
    folder_team: Team, tmp_path: Path
) -> None:
    team = folder_team
    team.settings(
        "policy:\n  changes:\n"
        "  - {environments: ['*'], by: [ada@example.org], signed: true, refuse: true}\n"
    )
    team.spec("train", "tiny-00000")
    team.envsync("lock")
    commit = commit_by(team, "ada@example.org")
    says = "policy.changes lets it be changed signed by ada@example.org; train: changed in"
    done = team.envsync("plan")
    assert done.code == 6
    assert f"{says} {commit} signed by nobody whom git knows" in done.out
    eve, ada = (sign_with(team, tmp_path, who) for who in ("eve@example.org", "ada@example.org"))
    team.repository.git(*eve, "--amend", "--author=Ada <ada@example.org>")
    done = team.envsync("plan")
    assert done.code == 6
    assert f"{says} {team.repository.head()[:12]} signed by eve@example.org" in done.out
    team.repository.git(*ada, "--amend", "--author=Bob <bob@example.org>")
    assert team.envsync("plan").code == 0


@pytest.mark.parametrize(
    ("verified", "signer", "proved"),
    [
        ("G", "Ada <ada@example.org>", "ada@example.org"),
        ("G", "ada@example.org", "ada@example.org"),
        ("U", "Ada <ada@example.org>", ""),
        ("B", "Ada <ada@example.org>", ""),
        ("X", "Ada <ada@example.org>", ""),
        ("R", "Ada <ada@example.org>", ""),
        ("E", "", ""),
        ("N", "", ""),
    ],
)
def test_only_a_good_signature_by_a_key_that_counts_proves_anything(
    verified: str, signer: str, proved: str
) -> None:
    """The letters are those of ``%G?`` in git log: bad, untrusted, expired, revoked, unknown."""
    entry = f"{'a' * 40}\nbob@example.org\n{verified}\n{signer}".encode()
    (found,) = read_changes(entry)
    assert (found.email, found.signer) == ("bob@example.org", proved)


# A lock that was changed by hand in a pull request


def forge(team: Team, *changes: tuple[str, str]) -> None:
    """Change the lock of ``train`` by hand, and the hash that says that nobody did."""
    lock, image = (team.root / "locks/train" / name for name in ("conda-lock.yml", "image.yaml"))
    before = lock.read_text()
    after = before
    for old, new in changes:
        assert old in after, old
        after = after.replace(old, new)
    lock.write_text(after)
    old_hash, new_hash = (sha256_hex(text.encode()) for text in (before, after))
    image.write_text(image.read_text().replace(old_hash, new_hash))


OTHER = ("tiny-00000", "tiny-00009")
FORGED: dict[str, tuple[tuple[tuple[str, str], ...], str, str]] = {
    "another package": ((OTHER,), "lock_unsatisfied", "tiny-00000 is not locked, the spec asks"),
    "another version": (
        (("version: '1.0'", "version: '6.6'"), ("-1.0-", "-6.6-")),
        "lock_unsatisfied",
        "tiny-00000 6.6 h",
    ),
    "another platform": (
        (("platform: linux-64", "platform: osx-64"), ("  - linux-64", "  - osx-64")),
        "lock_platform_missing",
        "nothing is locked for linux-64",
    ),
    "another channel": (
        (("url: file:///", "url: https://evil.test/"),),
        "lock_unsatisfied",
        "tiny-00000 is locked from https://evil.test/",
    ),
    "a channel within the channel": (
        (("/noarch/", "/mirror/noarch/"),),
        "lock_unsatisfied",
        "/mirror, which is no channel of the spec",
    ),
    "a dependency that nothing satisfies": (
        (("dependencies: {}", "dependencies:\n    evil: ''"),),
        "lock_unsatisfied",
        "evil is not locked, tiny-00000 asks evil",
    ),
    "without sha256": ((("    sha256:", "    sha:"),), "lock_integrity", "has no sha256"),
    "another name": (
        (("name: tiny-00000", "name: numpy"),),
        "lock_integrity",
        "its URL is that of tiny-00000 1.0, not of numpy 1.0",
    ),
    "another build": (
        (("manager: conda", "manager: conda\n  build: evil_0"),),
        "lock_integrity",
        "not of evil_0",
    ),
    "another subdir": (
        (("/noarch/", "/win-64/"),),
        "lock_integrity",
        "its URL is for win-64, not for linux-64",
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_lock_that_was_changed_by_hand_is_refused_in_a_pull_request(
    folder_team: Team, case: str
) -> None:
    team, (changes, code, words) = folder_team, FORGED[case]
    team.spec("train", "tiny-00000=1.0")
    team.envsync("lock")
    pull_request(team, lambda: forge(team, *changes))
    done = team.envsync("plan", "--format", "json", "--policy-from", "main")
    assert done.code == 6
    (found,) = done.json["environments"]
    assert found["reasons"][0]["code"] == code
    assert words in found["reasons"][0]["text"]


def test_a_lock_that_lies_about_its_request_is_believed_outside_of_pull_requests_only(
    folder_team: Team,
) -> None:
    """The hash is a fast path for a repository's own commits; a reviewer needs the whole answer."""
    team = folder_team
    team.spec("train", "tiny-00000=1.0")
    team.envsync("lock")
    pull_request(team, lambda: forge(team, OTHER))
    assert team.envsync("plan").code == 0
    done = team.envsync("plan", "--policy-from", "main")
    assert done.code == 6
    assert "tiny-00009 is locked, nothing asks for it any more" in done.out


def test_a_wheel_from_somewhere_else_is_what_only_a_policy_can_find(folder_team: Team) -> None:
    team = folder_team
    settings(team, "wheel_urls: ['https://wheels.example.com/*']")
    team.repository.commit("a policy")
    wheel = (
        "- name: leaf\n  version: '1.0'\n  manager: pip\n  platform: linux-64\n  dependencies: {}\n"
        "  url: https://evil.test/leaf-1.0-py3-none-any.whl\n"
        f"  hash:\n    sha256: '{'a' * 64}'\n  category: main\n  optional: false\n"
    )
    text = (
        f"name: train\nimage: scratch\nconda_file:\n  channels: ['{team.channel.as_uri()}']\n"
        "  dependencies: [tiny-00000, {pip: [leaf]}]\n"
    )
    team.spec("train", "tiny-00000")
    team.envsync("lock")

    def add() -> None:
        forge(team, ("  optional: false\n", f"  optional: false\n{wheel}"))
        team.repository.write({"environments/train/environment.yaml": text})

    pull_request(team, add, base="wheel_urls: ['https://wheels.example.com/*']")
    done = team.envsync("plan", "--policy-from", "main")
    assert done.code == 6
    assert (
        "policy.wheel_urls of main allows https://wheels.example.com/*; train: leaf comes from "
        "https://evil.test"
    ) in done.out

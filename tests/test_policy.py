"""Policy: every rule, obeyed and broken, with the exact words; and everywhere that it is asked."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.solving.rattler_match import matches
from envsync.model.config import Config
from envsync.model.config_reader import read_config
from envsync.model.document import Faults
from envsync.model.document import Mapping as MapNode
from envsync.model.licenses import allowed_by, forbidden_by, is_spdx, plain_license
from envsync.model.lock import BasePlatform, ImageLock, Lock, LockedPackage
from envsync.model.policy_reader import POLICY_KEYS
from envsync.operations.load import load_environment
from envsync.planning import policy as policy_module
from envsync.planning.freshness import LockRules
from envsync.planning.policy import RULES, judge, warnings
from envsync.planning.policy_case import Case, Rule
from tests.memory_tree import MemoryTree

FORGE = "https://conda.anaconda.org/conda-forge"
DIGEST = "sha256:" + "d" * 64
DAY = datetime.date(2026, 11, 21)
SPEC = "image: docker.io/library/debian:12\nconda_file: {dependencies: [python=3.12]}\n"


def conda(name: str, version: str = "1.0", channel: str = FORGE) -> LockedPackage:
    return LockedPackage(
        manager="conda", name=name, version=version, build="0", platform="linux-64",
        url=f"{channel}/linux-64/{name}-{version}-0.conda", sha256="a" * 64,
    )  # fmt: skip


def wheel(name: str, version: str = "1.0", host: str = "https://files.test") -> LockedPackage:
    return LockedPackage(
        manager="pip", name=name, version=version, platform="linux-64",
        url=f"{host}/{name}-{version}-py3-none-any.whl", sha256="b" * 64,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Given:
    """An environment, its lock, and what is expected: nothing where it obeys."""

    policy: str
    expected: str = ""
    spec: str = SPEC
    packages: tuple[LockedPackage, ...] = (conda("python", "3.12.1"),)
    image: Mapping[str, object] = field(default_factory=dict)
    """Of the lock, besides the base that the spec names."""
    files: Mapping[str, str] = field(default_factory=dict)
    locked: bool = True
    config: str = ""


def config_of(text: str) -> Config:
    faults = Faults()
    root = parse_document(text.encode(), "envsync.yaml", faults)
    assert root is not None
    config = read_config(root, faults)
    assert list(faults) == []
    return config


def case_of(given: Given, day: datetime.date | None = DAY) -> Case:
    config = config_of(f"policy: {given.policy}\n{given.config}")
    files = {**given.files, "environments/train/environment.yaml": given.spec}
    spec = load_environment(MemoryTree(files), parse_document, "train")
    base = {"linux-64": BasePlatform(digest=DIGEST)}
    values: dict[str, object] = {"image": spec.image or "", "digest": DIGEST, "platforms": base}
    image = ImageLock(request="c" * 64, **{**values, **given.image})  # type: ignore[arg-type]
    packages = {"linux-64": given.packages} if spec.conda else {}
    lock = Lock(image=image, packages=packages) if given.locked else None
    rules = LockRules(config=config, matches=matches, root="/repository")
    return Case(policy=config.policy, spec=spec, lock=lock, rules=rules, day=day)


DOCKERFILE = "FROM docker.io/library/debian:12\nCOPY --from=quay.io/a/b /x /x\n"
BUILD = {"environments/train/docker/Dockerfile": DOCKERFILE}
LICENSES = {"python-3.12.1-0.conda": "Python-2.0", "a-1.0-0.conda": "MIT"}


def released(day: str) -> dict[str, object]:
    return {"released": {"python-3.12.1-0.conda": day}}


CASES: dict[str, dict[str, Given]] = {
    "channels": {
        "obeyed": Given(policy="{channels: [conda-forge]}"),
        "obeyed by a glob": Given(policy="{channels: ['https://*.anaconda.org/conda-*']}"),
        "obeyed by a channel of one package": Given(
            policy="{channels: [conda-forge, bioconda]}",
            spec=SPEC.replace("python=3.12", "'bioconda::python=3.12'"),
        ),
        "a package from elsewhere": Given(
            policy="{channels: [conda-forge, bioconda]}",
            packages=(conda("a", channel="https://evil.test/x"), conda("b")),
            expected=(
                "envsync.yaml:1:10: policy.channels allows conda-forge, bioconda; train: a comes "
                "from https://evil.test/x"
            ),
        ),
        "five packages from elsewhere": Given(
            policy="{channels: [conda-forge]}",
            packages=tuple(conda(name, channel="https://evil.test/x") for name in "abcde"),
            expected=(
                "envsync.yaml:1:10: policy.channels allows conda-forge; train: a, b, c and 2 more "
                "come from https://evil.test/x"
            ),
        ),
        "a channel of the spec that brings nothing": Given(
            policy="{channels: [conda-forge]}",
            spec="image: scratch\nconda_file: {channels: [other], dependencies: [a]}\n",
            expected=(
                "envsync.yaml:1:10: policy.channels allows conda-forge; train: "
                "environments/train/environment.yaml names the channel other"
            ),
        ),
        "a channel of one package": Given(
            policy="{channels: [conda-forge]}",
            spec=SPEC.replace("python=3.12", "'bioconda::python=3.12'"),
            expected=(
                "envsync.yaml:1:10: policy.channels allows conda-forge; train: "
                "environments/train/environment.yaml names the channel bioconda"
            ),
        ),
        "the settings' channel": Given(
            policy="{channels: [bioconda]}", locked=False,
            expected=(
                "envsync.yaml:1:10: policy.channels allows bioconda; train: envsync.yaml names the "
                "channel conda-forge"
            ),
        ),
        "a host that only looks like it": Given(
            policy="{channels: ['https://*.anaconda.org/*']}",
            packages=(conda("a", channel="https://evil.test/x.anaconda.org/y"),),
            expected=(
                "envsync.yaml:1:10: policy.channels allows https://*.anaconda.org/*; train: a "
                "comes from https://evil.test/x.anaconda.org/y"
            ),
        ),
    },
    "wheel_urls": {
        "obeyed": Given(policy="{wheel_urls: ['https://files.test/*']}", packages=(wheel("a"),)),
        "obeyed by a wheel of the repository": Given(
            policy="{wheel_urls: ['https://files.test/*']}",
            packages=(wheel("a", host="file:wheels"),),
        ),
        "another host": Given(
            policy="{wheel_urls: ['https://files.test/*']}",
            packages=(wheel("a"), wheel("b", host="https://evil.test/files.test")),
            expected=(
                "envsync.yaml:1:10: policy.wheel_urls allows https://files.test/*; train: b comes "
                "from https://evil.test"
            ),
        ),
    },
    "registries": {
        "obeyed": Given(policy="{registries: [docker.io]}"),
        "obeyed without a base": Given(
            policy="{registries: [ghcr.io]}", image={"image": "scratch", "digest": ""},
            spec=SPEC.replace("docker.io/library/debian:12", "scratch"),
        ),
        "obeyed by an environment of the repository": Given(
            policy="{registries: [docker.io]}", config="registry: ghcr.io/team\n",
            spec=SPEC.replace("docker.io/library/debian:12", "azureml:base:1"),
            image={"image": "azureml:base:1", "source": f"ghcr.io/team/base@{DIGEST}"},
        ),
        "another registry": Given(
            policy="{registries: [ghcr.io]}",
            expected=(
                "envsync.yaml:1:10: policy.registries allows ghcr.io; train: the base image "
                "docker.io/library/debian:12 comes from docker.io"
            ),
        ),
        "Docker Hub without its name": Given(
            policy="{registries: ['*.io:5000', ghcr.io]}", locked=False,
            spec=SPEC.replace("docker.io/library/debian:12", "debian:12"),
            expected=(
                "envsync.yaml:1:10: policy.registries allows *.io:5000, ghcr.io; train: the base "
                "image debian:12 comes from docker.io"
            ),
        ),
        "an image alone": Given(
            policy="{registries: [ghcr.io]}", spec="image: quay.io/a/b:1\n",
            expected=(
                "envsync.yaml:1:10: policy.registries allows ghcr.io; train: the image "
                "quay.io/a/b:1 comes from quay.io"
            ),
        ),
        "what a lock says an environment of the repository is": Given(
            policy="{registries: [docker.io]}", config="registry: ghcr.io/team\n",
            spec=SPEC.replace("docker.io/library/debian:12", "azureml:base:1"),
            image={"image": "azureml:base:1", "source": f"evil.test/team/base@{DIGEST}"},
            expected=(
                "envsync.yaml:1:10: policy.registries allows docker.io; train: the base image in "
                f"locks/train/image.yaml evil.test/team/base@{DIGEST} comes from evil.test"
            ),
        ),
        "a place in the own registry that the spec does not name": Given(
            policy="{registries: [docker.io]}", config="registry: ghcr.io/team\n",
            image={"source": f"ghcr.io/team/base@{DIGEST}"},
            expected=(
                "envsync.yaml:1:10: policy.registries allows docker.io; train: the base image in "
                f"locks/train/image.yaml ghcr.io/team/base@{DIGEST} comes from ghcr.io"
            ),
        ),
        "an image of a Dockerfile": Given(
            policy="{registries: [docker.io]}", spec="build: {path: docker}\n", files=BUILD,
            image={"bases": {"linux-64": {"ghcr.io/x/y linux/arm64": DIGEST}}, "digest": ""},
            expected=(
                "envsync.yaml:1:10: policy.registries allows docker.io; train: an image of "
                "environments/train/docker/Dockerfile quay.io/a/b comes from quay.io\n"
                "envsync.yaml:1:10: policy.registries allows docker.io; train: an image in "
                "locks/train/image.yaml ghcr.io/x/y comes from ghcr.io"
            ),
        ),
        "a context that is elsewhere": Given(
            policy="{registries: [docker.io]}", spec="build: {path: 'https://x.test/a.git'}\n",
            locked=False,
            expected=(
                "envsync.yaml:1:10: policy.registries allows docker.io; train: its build context, "
                "whose images nobody has locked, is https://x.test/a.git"
            ),
        ),
    },
    "base_images": {
        "obeyed": Given(policy="{base_images: [docker.io/library/debian]}"),
        "obeyed by a tag": Given(policy="{base_images: ['docker.io/library/debian:12*']}"),
        "obeyed in short": Given(
            policy="{base_images: ['docker.io/library/debian:12*']}",
            spec=SPEC.replace("docker.io/library/debian", "debian"),
        ),
        "another tag": Given(
            policy="{base_images: ['docker.io/library/debian:13*']}",
            expected=(
                "envsync.yaml:1:10: policy.base_images allows docker.io/library/debian:13*; train: "
                "the base image is docker.io/library/debian:12"
            ),
        ),
        "a tag beside a digest, which decides": Given(
            policy="{base_images: ['docker.io/library/debian:12*']}", locked=False,
            spec=SPEC.replace("debian:12", f"debian:12@{DIGEST}"),
            expected=(
                "envsync.yaml:1:10: policy.base_images allows docker.io/library/debian:12*; train: "
                f"the base image is docker.io/library/debian@{DIGEST}"
            ),
        ),
    },
    "wheels_only": {
        "obeyed": Given(policy="{wheels_only: true}"),
        "obeyed where it is not asked for": Given(
            policy="{wheels_only: false}", spec="build: {path: docker}\n", files=BUILD
        ),
        "a Dockerfile": Given(
            policy="{wheels_only: true}", spec="build: {path: docker}\n", files=BUILD,
            expected=(
                "envsync.yaml:1:10: policy.wheels_only lets nothing be installed by running its "
                "code; train: environments/train/docker/Dockerfile runs commands"
            ),
        ),
        "a checkout": Given(
            policy="{wheels_only: true}", locked=False,
            spec=SPEC.replace("python=3.12", "python=3.12, {pip: ['a @ git+https://x.test/a']}"),
            expected=(
                "envsync.yaml:1:10: policy.wheels_only lets nothing be installed by running its "
                "code; train: environments/train/environment.yaml asks a @ git+https://x.test/a: "
                "it has to be built, and locking runs no code of a package"
            ),
        ),
    },
    "forbidden_packages": {
        "obeyed": Given(
            policy="{packages: {forbidden: [openssl <3.0.14, left-pad]}}",
            packages=(conda("openssl", "3.0.14"),),
        ),
        "a version": Given(
            policy="{packages: {forbidden: [a, openssl <3.0.14]}}",
            packages=(conda("openssl", "3.0.7"),),
            expected=(
                "envsync.yaml:1:36: policy.packages.forbidden has openssl <3.0.14; train: openssl "
                "3.0.7 is locked (linux-64)"
            ),
        ),
        "a wheel, its name in another spelling": Given(
            policy="{packages: {forbidden: [Left_Pad]}}", packages=(wheel("left-pad"),),
            expected=(
                "envsync.yaml:1:33: policy.packages.forbidden has Left_Pad; train: left-pad 1.0 is "
                "locked (linux-64)"
            ),
        ),
        "before anything is locked": Given(
            policy="{packages: {forbidden: [python]}}", locked=False,
            expected=(
                "envsync.yaml:1:33: policy.packages.forbidden has python; train: "
                "environments/train/environment.yaml asks for it"
            ),
        ),
    },
    "required_packages": {
        "obeyed": Given(policy="{packages: {required: [python >=3.12]}}"),
        "obeyed by a wheel": Given(
            policy="{packages: {required: [certifi]}}", packages=(wheel("certifi"),)
        ),
        "obeyed by an image alone": Given(
            policy="{packages: {required: [certifi]}}", spec="image: busybox\n"
        ),
        "not there": Given(
            policy="{packages: {required: [certifi]}}",
            expected=(
                "envsync.yaml:1:32: policy.packages.required has certifi; train: certifi is not "
                "locked (linux-64)"
            ),
        ),
        "too old": Given(
            policy="{packages: {required: [python >=3.13]}}",
            expected=(
                "envsync.yaml:1:32: policy.packages.required has python >=3.13; train: python "
                "3.12.1 is locked (linux-64)"
            ),
        ),
    },
    "licenses": {
        "obeyed": Given(
            policy="{licenses: {allowed: [MIT, Python-*], forbidden: [GPL-*]}}",
            image={"licenses": LICENSES}, packages=(conda("python", "3.12.1"), conda("a")),
        ),
        "obeyed by what a person found out": Given(
            policy="{licenses: {allowed: [MIT], of: {python: MIT}}}", image={"licenses": LICENSES}
        ),
        "obeyed where nobody asks": Given(policy="{licenses: {unknown: allow}}"),
        "obeyed with a word": Given(policy="{licenses: {unknown: warn}}"),
        "not allowed": Given(
            policy="{licenses: {allowed: [MIT]}}", image={"licenses": LICENSES},
            packages=(conda("python", "3.12.1"), conda("a")),
            expected=(
                "envsync.yaml:1:21: policy.licenses.allowed has MIT; train: python is Python-2.0"
            ),
        ),
        "forbidden": Given(
            policy="{licenses: {forbidden: [MIT, Python-*]}}", image={"licenses": LICENSES},
            expected=(
                "envsync.yaml:1:38: policy.licenses.forbidden has Python-*; train: python is "
                "Python-2.0"
            ),
        ),
        "forbidden whichever is chosen": Given(
            policy="{licenses: {forbidden: [GPL-*, LGPL-*]}}",
            image={"licenses": {"python-3.12.1-0.conda": "GPL-3.0-only OR LGPL-3.0-only"}},
            expected=(
                "envsync.yaml:1:33: policy.licenses.forbidden has GPL-*, LGPL-*; train: python is "
                "GPL-3.0-only OR LGPL-3.0-only"
            ),
        ),
        "unknown": Given(
            policy="{licenses: {forbidden: [GPL-*]}}",
            expected=(
                "envsync.yaml:1:10: policy.licenses.unknown is refuse; train: python has no known "
                "licence"
            ),
        ),
        "no licence that anybody knows": Given(
            policy="{licenses: {forbidden: [GPL-*], unknown: refuse}}",
            image={"licenses": {"python-3.12.1-0.conda": "GNU GPL v3"}},
            expected=(
                "envsync.yaml:1:41: policy.licenses.unknown is refuse; train: python has 'GNU GPL "
                "v3', which is no SPDX licence"
            ),
        ),
    },
    "lock_age": {
        "obeyed": Given(policy="{max_lock_age: 30}", image={"chosen": "2026-10-22"}),
        "obeyed by a clock that is a little ahead": Given(
            policy="{max_lock_age: 30}", image={"chosen": "2026-11-22"}
        ),
        "too old": Given(
            policy="{max_lock_age: 30}", image={"chosen": "2026-10-21"},
            expected=(
                "envsync.yaml:1:10: policy.max_lock_age is 30 days; train: its lock is of "
                "2026-10-21, and it is judged on 2026-11-21"
            ),
        ),
        "without a day": Given(
            policy="{max_lock_age: 1}",
            expected=(
                "envsync.yaml:1:10: policy.max_lock_age is 1 day; train: its lock does not say when"
                " it was made"
            ),
        ),
        "of the future": Given(
            policy="{max_lock_age: 30}", image={"chosen": "2099-01-01"},
            expected=(
                "envsync.yaml:1:10: policy.max_lock_age is 30 days; train: its lock is of "
                "2099-01-01, which is to come"
            ),
        ),
    },
    "cooldown": {
        "obeyed": Given(policy="{cooldown: 7}", image=released("2026-11-14")),
        "obeyed where nobody knows": Given(policy="{cooldown: 7}"),
        "too new": Given(
            policy="{cooldown: 7}", image=released("2026-11-15"),
            expected=(
                "envsync.yaml:1:10: policy.cooldown is 7 days; train: python 3.12.1 was released on"
                " 2026-11-15, and it is judged on 2026-11-21"
            ),
        ),
    },
}  # fmt: skip
TABLE = [(rule, title) for rule, cases in CASES.items() for title in cases]


@pytest.mark.parametrize(("rule", "title"), TABLE)
def test_what_obeys_and_what_breaks_a_rule_in_exact_words(rule: str, title: str) -> None:
    given = CASES[rule][title]
    assert "\n".join(map(str, judge(case_of(given)))) == given.expected
    assert given.expected or title.startswith("obeyed")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_without_its_rule_nothing_is_found(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [given for given in CASES[rule.__name__].values() if given.expected]
    obeyed = [given for given in CASES[rule.__name__].values() if not given.expected]
    assert broken
    assert obeyed
    monkeypatch.setattr(policy_module, "RULES", tuple(one for one in RULES if one is not rule))
    for each in broken:
        assert judge(case_of(each)) == ()


def test_every_refusal_says_what_to_do() -> None:
    for rule, cases in CASES.items():
        for title, each in cases.items():
            for breach in judge(case_of(each)):
                assert breach.hint, (rule, title)


def test_rules_that_count_days_are_left_out_where_nobody_says_the_day() -> None:
    for rule in ("lock_age", "cooldown"):
        for each in CASES[rule].values():
            assert judge(case_of(each, day=None)) == ()


def test_unknown_licences_can_be_told_without_being_refused() -> None:
    (told,) = warnings(case_of(Given(policy="{licenses: {unknown: warn}}")))
    assert str(told) == (
        "envsync.yaml:1:21: policy.licenses.unknown is warn; train: python has no known licence"
    )
    for text in ("{licenses: {unknown: allow}}", "{licenses: {}}", "{}"):
        assert warnings(case_of(Given(policy=text))) == ()


# Licences


@pytest.mark.parametrize(
    ("text", "patterns", "allowed", "forbidden"),
    [
        ("MIT", ["MIT"], True, True),
        ("mit", ["MIT"], True, True),
        ("MIT", ["M*"], True, True),
        ("MIT", [], False, False),
        ("MIT OR GPL-3.0-only", ["MIT"], True, False),
        ("GPL-3.0-only OR MIT", ["GPL-*"], True, False),
        ("GPL-2.0-only OR GPL-3.0-only", ["GPL-*"], True, True),
        ("MIT AND GPL-3.0-only", ["MIT"], False, True),
        ("MIT AND GPL-3.0-only", ["MIT", "GPL-*"], True, True),
        ("MIT AND (GPL-3.0-only OR Apache-2.0)", ["MIT", "Apache-2.0"], True, True),
        ("(MIT)", ["MIT"], True, True),
        ("Apache-2.0 WITH LLVM-exception", ["Apache-2.0"], False, False),
        ("Apache-2.0 WITH LLVM-exception OR MIT", ["* WITH LLVM-exception"], True, False),
        ("BSD 3-Clause", ["BSD*"], True, True),
        ("BSD 3-Clause or so", ["so"], False, False),
        ("", ["*"], True, True),
    ],
)
def test_a_licence_expression_is_read_as_spdx_means_it(
    text: str, patterns: list[str], allowed: bool, forbidden: bool
) -> None:
    assert allowed_by(patterns, text) is allowed
    assert forbidden_by(patterns, text) is forbidden


parts = st.sampled_from(["MIT", "GPL-3.0-only", "Apache-2.0", "BSD-3-Clause"])
expressions = st.recursive(
    parts,
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "OR"]), inner),
    max_leaves=8,
)


@given(expressions, st.sets(parts))
def test_to_forbid_is_to_allow_all_but_that(text: str, names: set[str]) -> None:
    others = {"MIT", "GPL-3.0-only", "Apache-2.0", "BSD-3-Clause"} - names
    assert is_spdx(text)
    assert forbidden_by([*names], text) is not allowed_by([*others], text)


@pytest.mark.parametrize("text", ["(" * 199, "((" * 45 + "MIT" + "))" * 45, "AND", "MIT OR", ")"])
def test_no_text_of_a_lock_breaks_the_reading_of_licences(text: str) -> None:
    assert allowed_by(["MIT"], text) in {True, False}
    assert is_spdx(text) in {True, False}


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("MIT", "MIT"),
        (" BSD\n3-Clause ", "BSD 3-Clause"),
        ("x" * 201, ""),
        ("Lizenz für", ""),
        ("", ""),
    ],
)
def test_what_an_index_says_of_a_licence_can_stand_in_a_lock(said: str, kept: str) -> None:
    assert plain_license(said) == kept


# Reading and documentation


FAULTS = {
    "{channels: []}": "envsync.yaml:1:20: 'channels' allows nothing",
    "{channels: ['https://me:secret@a.test/b']}": "envsync.yaml:1:21: 'https://…@a.test/b' in "
    "'channels' holds credentials",
    "{channels: [a b]}": "envsync.yaml:1:21: 'a b' in 'channels' has white space in it",
    "{wheel_urls: [index.test]}": "envsync.yaml:1:23: 'index.test' in 'wheel_urls' is not a URL",
    "{wheel_urls: ['https://a.test']}": "envsync.yaml:1:23: 'https://a.test' in 'wheel_urls' names "
    "no files of the host",
    "{registries: [docker.io/library]}": "envsync.yaml:1:23: 'docker.io/library' in 'registries' is"
    " not a host",
    "{base_images: [debian]}": "envsync.yaml:1:24: 'debian' in 'base_images' does not say the "
    "registry",
    "{base_images: [team/base]}": "envsync.yaml:1:24: 'team/base' in 'base_images' does not say the"
    " registry",
    "{packages: {forbidden: ['conda-forge::a']}}": "envsync.yaml:1:33: 'conda-forge::a' names more "
    "than a package and its versions",
    "{packages: {required: [a=>1]}}": "envsync.yaml:1:32: '=>' in 'a=>1' is not an operator",
    "{packages: {forbid: [a]}}": "envsync.yaml:1:21: 'forbid' is not a key of 'packages'",
    "{licenses: {unknown: maybe}}": "envsync.yaml:1:30: 'maybe' says nothing about unknown "
    "licences",
    "{licences: {}}": "envsync.yaml:1:10: 'licences' is not a key of 'policy'",
    "{max_lock_age: 0}": "envsync.yaml:1:24: 'max_lock_age' must be a whole number from 1 to 36500",
    "{cooldown: 7 days}": "envsync.yaml:1:20: 'cooldown' must be a whole number from 1 to 36500",
    "{wheels_only: 1}": "envsync.yaml:1:23: 'wheels_only' must be true or false",
    "{teams: {ops: [ada]}}": "envsync.yaml:1:24: 'ada' is not an e-mail address",
    "{teams: {a@b: []}}": "envsync.yaml:1:18: A team cannot be called 'a@b'",
    "{changes: {by: [a]}}": "envsync.yaml:1:19: 'changes' is a map; it must be a list",
    "{changes: [~]}": "envsync.yaml:1:20: An item of 'changes' is empty",
    "{changes: [{by: [a@b.test]}]}": "envsync.yaml:1:20: An item of 'changes' has no "
    "'environments'",
    "{changes: [{environments: [a], by: [ops]}]}": "envsync.yaml:1:45: 'ops' is neither an e-mail "
    "address nor one of 'teams'",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_policy_that_cannot_be_meant_is_a_fault_with_its_place(text: str) -> None:
    faults = Faults()
    root = parse_document(f"policy: {text}\n".encode(), "envsync.yaml", faults)
    assert root is not None
    read_config(root, faults)
    (fault,) = faults
    assert str(fault).splitlines()[0] == FAULTS[text]


PAGE = (Path(__file__).parents[1] / "docs" / "policy.md").read_text()


def test_every_rule_has_an_example_in_the_documentation_that_can_be_read() -> None:
    examples = re.findall(r"```yaml\n(policy:\n.*?)```", PAGE, re.DOTALL)
    shown = set()
    for text in examples:
        faults = Faults()
        root = parse_document(text.encode(), "envsync.yaml", faults)
        assert isinstance(root, MapNode)
        read_config(root, faults)
        assert list(faults) == [], text
        policy = root.get("policy")
        assert isinstance(policy, MapNode)
        shown |= {key.text for key, _ in policy.entries}
    assert shown == set(POLICY_KEYS)
    for key in POLICY_KEYS:
        assert key == "teams" or re.search(rf"^### .*\b{key}\b", PAGE, re.MULTILINE), key

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rattler import Version

from envsync.model.lock import LockedPackage, Manager
from envsync.model.package_changes import (
    ChangeClass,
    classify,
    direct_names,
    package_changes,
    requirement_name,
)
from envsync.model.spec import CondaFile
from envsync.model.version_order import compare_versions, release_numbers
from tests.reliability.counts import count

NONE: dict[Manager, frozenset[str]] = {}


def package(
    name: str, version: str = "1.0", *, platform: str = "linux-64", manager: Manager = "conda",
    build: str = "0", channel: str = "main", depends: tuple[str, ...] = (),
) -> LockedPackage:  # fmt: skip
    file = f"{name}-{version}-{build}"
    return LockedPackage(
        manager=manager, name=name, version=version, build=build, platform=platform,
        url=f"https://conda.test/{channel}/{platform}/{file}.conda",
        sha256=(file + channel).encode().hex().ljust(64, "0")[-64:],
        depends=dict.fromkeys(depends, ""),
    )  # fmt: skip


names = st.sampled_from(["a", "b", "c", "d"])
versions = st.sampled_from(["1.0", "1.1", "2.0", "2.0rc1"])
sets = st.dictionaries(names, versions).map(
    lambda found: tuple(package(name, version) for name, version in found.items())
)


@given(sets)
def test_a_set_does_not_differ_from_itself(packages: tuple[LockedPackage, ...]) -> None:
    assert package_changes({"linux-64": packages}, {"linux-64": packages}, NONE) == ()


@given(sets, sets)
def test_applying_the_changes_to_the_first_set_gives_the_second(
    before: tuple[LockedPackage, ...], after: tuple[LockedPackage, ...]
) -> None:
    found = {p.name: p.version for p in before}
    for change in package_changes({"linux-64": before}, {"linux-64": after}, NONE):
        assert found.get(change.name, "") == change.before_version
        if change.after_version:
            found[change.name] = change.after_version
        else:
            del found[change.name]
    assert found == {p.name: p.version for p in after}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, "1.0", "added"),
        ("1.0", None, "removed"),
        ("1.26.4", "2.0.0", "major"),
        ("1.25", "1.26", "minor"),
        ("1", "1.1", "minor"),
        ("1.26.3", "1.26.4", "patch"),
        ("1.26.4rc1", "1.26.4", "patch"),
        ("1.2.3", "1.2.3.post1", "patch"),
        ("1.0", "1.0.0", "build"),
        ("1.26.4", "1.26.4", "build"),
        ("2.0", "1.26", "downgrade"),
        ("1.0", "1.0rc1", "downgrade"),
        ("2024.1", "1!1.0", "major"),
        ("2024a", "2024b", "patch"),
    ],
)
def test_a_change_is_classed_by_what_moved(
    before: str | None, after: str | None, expected: ChangeClass
) -> None:
    assert classify(before, after) == expected


def test_one_version_step_on_two_platforms_is_one_change() -> None:
    before = {p: (package("numpy", "1.0", platform=p),) for p in ("linux-64", "osx-arm64")}
    after = {p: (package("numpy", "2.0", platform=p),) for p in ("linux-64", "osx-arm64")}
    (change,) = package_changes(before, after, {"conda": {"numpy"}})
    assert (change.platforms, change.change, change.direct) == (
        ("linux-64", "osx-arm64"), "major", True,
    )  # fmt: skip
    assert [d.before.sha256 for d in change.details if d.before] == [
        before[p][0].sha256 for p in before
    ]


def test_a_change_names_the_shortest_chain_that_requires_it() -> None:
    after = (
        package("pandas", depends=("dateutil", "numpy")),
        package("dateutil", depends=("six",)),
        package("numpy"),
        package("six"),
    )
    found = {c.name: c for c in package_changes({}, {"linux-64": after}, {"conda": {"pandas"}})}
    assert found["six"].why == ("pandas", "dateutil")
    assert found["pandas"].why == ()
    assert found["pandas"].direct


def test_what_is_gone_is_explained_by_who_wanted_it_before() -> None:
    before = (package("flask", depends=("click",)), package("click"))
    after = (package("flask", "2.0"),)
    changes = package_changes({"linux-64": before}, {"linux-64": after}, {"conda": {"flask"}})
    assert [(c.name, c.change, c.why) for c in changes] == [
        ("flask", "major", ()), ("click", "removed", ("flask",)),
    ]  # fmt: skip


def test_another_channel_is_a_flag_and_a_mirror_of_the_same_bytes_is_no_change() -> None:
    before = package("numpy")
    moved = package("numpy", channel="other")
    mirrored = replace(before, url=before.url.replace("conda.test", "mirror.test"))
    (change,) = package_changes({"linux-64": (before,)}, {"linux-64": (moved,)}, NONE)
    assert change.channel_changed
    assert change.change == "build"
    assert package_changes({"linux-64": (before,)}, {"linux-64": (mirrored,)}, NONE) == ()
    count("X10", **{"changes of channel or host flagged": 1})


def test_a_wheel_from_another_host_is_a_flag() -> None:
    """An index moves its files within its host; another host is other people's."""
    before = wheel("https://files.example/aa/leaf-1.0-py3-none-any.whl")
    for url, moved in (
        ("https://files.example/bb/leaf-1.1-py3-none-any.whl", False),
        ("https://files.example.evil.test/aa/leaf-1.1-py3-none-any.whl", True),
        ("https://files.example:8443/aa/leaf-1.1-py3-none-any.whl", True),
        ("http://files.example/aa/leaf-1.1-py3-none-any.whl", True),
        ("file:wheels/leaf-1.1-py3-none-any.whl", True),
        ("file:///tmp/leaf-1.1-py3-none-any.whl", True),
    ):
        after = replace(before, version="1.1", url=url, sha256="f" * 64)
        (change,) = package_changes({"linux-64": (before,)}, {"linux-64": (after,)}, NONE)
        assert change.channel_changed == moved, url
        if moved:
            count("X10", **{"changes of channel or host flagged": 1})


def wheel(url: str) -> LockedPackage:
    return LockedPackage(
        manager="pip", name="leaf", version="1.0", platform="linux-64", url=url, sha256="e" * 64
    )


def test_direct_names_are_those_that_the_spec_names() -> None:
    conda = CondaFile(
        dependencies=("conda-forge::NumPy >=1", "python=3.11", "scipy[build='x']"),
        pip=(
            "Foo_Bar[x]>=1",
            "--pre",
            "-e .",
            "a.b ; python_version > '3'",
            "git+https://x.test/y",
        ),
    )
    assert direct_names(conda) == {
        "conda": {"numpy", "python", "scipy"}, "pip": {"foo-bar", "a-b"},
    }  # fmt: skip


@pytest.mark.parametrize("text", ["--pre", "-i https://x.test", "https://x.test/a.whl", "./a.whl"])
def test_a_line_that_names_no_distribution_has_no_name(text: str) -> None:
    assert requirement_name(text) == ""


def test_versions_are_ordered_as_rattler_orders_them(real_repodata: Path) -> None:
    by_name: dict[str, set[str]] = {}
    for subdir in ("linux-64", "noarch"):
        repodata = json.loads((real_repodata / subdir / "repodata.json").read_text())
        for record in (*repodata["packages"].values(), *repodata["packages.conda"].values()):
            by_name.setdefault(record["name"], set()).add(record["version"])
    compared = 0
    for found in by_name.values():
        ordered = sorted(found)
        for left, right in itertools.pairwise(ordered):
            expected = (Version(left) > Version(right)) - (Version(left) < Version(right))
            assert compare_versions(left, right) == expected, (left, right)
            compared += 1
    assert compared > 5_000


@given(versions, versions, versions)
def test_the_order_of_versions_is_total(a: str, b: str, c: str) -> None:
    assert compare_versions(a, b) == -compare_versions(b, a)
    if compare_versions(a, b) <= 0 and compare_versions(b, c) <= 0:
        assert compare_versions(a, c) <= 0


def test_a_version_may_have_more_digits_than_python_reads() -> None:
    long, longer = "9" * 5000, "9" * 6000
    assert compare_versions(long, "9" * 900) == 1
    assert compare_versions(f"1.{long}", f"1.{longer}") == 0
    assert release_numbers(f"{long}!{long}.1") == release_numbers(f"{longer}!{longer}.1")


def test_release_numbers_start_with_the_epoch() -> None:
    assert release_numbers("1!2.3.4rc1") == (1, 2, 3, 4)
    assert release_numbers("v1.2") == (0, 1, 2)
    assert release_numbers("banana") == (0,)

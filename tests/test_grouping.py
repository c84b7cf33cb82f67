"""Grouping: a partition, stable under shuffling, within the budget, and small steps stay small."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envsync.errors import InvalidInput
from envsync.model.grouping import BUDGET, LIMIT, Group, group, package_layers
from tests import format_golden


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    name: str
    archive_size: int


PACKAGES = st.dictionaries(
    st.text("abcdefghij-0", min_size=1, max_size=6), st.integers(0, 50), max_size=60
).map(lambda sizes: [Package(name=name, archive_size=size) for name, size in sizes.items()])
COUNTS = st.integers(1, 30)


def contents(groups: tuple[Group[Package], ...]) -> list[list[str]]:
    return [[package.name for package in one.packages] for one in groups]


@given(PACKAGES, COUNTS)
def test_every_package_is_in_exactly_one_group(packages: list[Package], count: int) -> None:
    names = [name for one in contents(group(packages, count)) for name in one]
    assert sorted(names) == sorted(package.name for package in packages)


@given(PACKAGES, COUNTS)
def test_there_are_never_more_groups_than_asked_for(packages: list[Package], count: int) -> None:
    groups = group(packages, count)
    assert len(groups) <= count
    assert all(one.packages for one in groups)


@given(PACKAGES, COUNTS, st.randoms(use_true_random=False))
def test_shuffling_changes_nothing(
    packages: list[Package], count: int, source: random.Random
) -> None:
    shuffled = list(packages)
    source.shuffle(shuffled)
    assert group(shuffled, count) == group(packages, count)


@given(PACKAGES, COUNTS)
def test_few_packages_are_all_alone(packages: list[Package], count: int) -> None:
    if len(packages) <= count:
        assert all(len(one) == 1 for one in contents(group(packages, count)))


@given(PACKAGES, COUNTS)
def test_the_largest_are_alone_and_first(packages: list[Package], count: int) -> None:
    groups = group(packages, count)
    alone = count - max(1, count // 4) if len(packages) > count else len(packages)
    order = sorted(packages, key=lambda package: (-package.archive_size, package.name))
    assert contents(groups)[:alone] == [[package.name] for package in order[:alone]]


@given(PACKAGES, COUNTS)
def test_groups_are_in_name_order(packages: list[Package], count: int) -> None:
    assert all(one == sorted(one) for one in contents(group(packages, count)))


@given(PACKAGES, COUNTS, st.data())
def test_a_package_in_a_bin_that_shrinks_moves_no_other(
    packages: list[Package], count: int, draw: st.DataObject
) -> None:
    groups = group(packages, count)
    alone = count - max(1, count // 4) if len(packages) > count else len(groups)
    binned = [package for one in groups[alone:] for package in one.packages]
    if binned:
        changed = draw.draw(st.sampled_from(binned))
        smaller = Package(name=changed.name, archive_size=changed.archive_size // 2)
        after = [smaller if package == changed else package for package in packages]
        assert contents(group(after, count)) == contents(groups)


def test_a_new_small_package_changes_at_most_one_bin() -> None:
    packages = [Package(name=f"p{number}", archive_size=1000 + number) for number in range(300)]
    before = contents(group(packages, 90))
    after = contents(group([*packages, Package(name="tiny", archive_size=1)], 90))
    changed = [one for one in after if one not in before]
    assert [one for one in changed if "tiny" not in one] == []
    assert len(changed) == 1


@given(st.integers(0, LIMIT - 2))
def test_an_image_never_has_more_layers_than_engines_accept(base_layers: int) -> None:
    count = package_layers(base_layers)
    assert count >= 1
    assert base_layers + count + 1 <= max(BUDGET, base_layers + 2) <= LIMIT


@pytest.mark.parametrize("base_layers", [LIMIT - 1, LIMIT, 500])
def test_a_base_with_too_many_layers_is_refused(base_layers: int) -> None:
    with pytest.raises(InvalidInput, match=str(base_layers)):
        package_layers(base_layers)


def test_the_groups_of_format_1() -> None:
    packages = [Package(name=f"package-{n}", archive_size=n * 7919 % 100) for n in range(40)]
    format_golden.check("grouping", contents(group(packages, 10)))

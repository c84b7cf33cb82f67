from __future__ import annotations

import pytest
from packaging.markers import Marker

from envsync.adapters.solving.rattler_match import matches
from envsync.adapters.solving.rattler_solver import depends_mapping
from envsync.model.channels import channel_urls, sources_of, strip_credentials
from envsync.model.lock import LockedPackage
from envsync.model.names import PLATFORMS
from envsync.model.pip_lines import sort_pip_lines
from envsync.model.pypi_names import distributions, provided
from envsync.model.virtual_packages import virtual_packages
from envsync.model.wheel_tags import best_wheel, marker_environment, supported_tags


@pytest.mark.parametrize(
    ("channel", "urls"),
    [
        ("conda-forge", ("https://conda.anaconda.org/conda-forge",)),
        ("conda-forge/label/dev", ("https://conda.anaconda.org/conda-forge/label/dev",)),
        ("conda-forge/noarch", ("https://conda.anaconda.org/conda-forge",)),
        ("https://x.test/chan/", ("https://x.test/chan",)),
        ("https://x.test/chan/linux-64", ("https://x.test/chan",)),
        ("./local", ("file:///repo/local",)),
        ("/srv/channel", ("file:///srv/channel",)),
        ("pkgs/main", ("https://repo.anaconda.com/pkgs/main",)),
        ("defaults", ("https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r")),
    ],
)
def test_a_channel_stands_for_its_urls(channel: str, urls: tuple[str, ...]) -> None:
    assert channel_urls(channel, platform="linux-64", root="/repo") == urls


def test_a_name_is_found_below_the_alias() -> None:
    found = channel_urls("team", platform="linux-64", root="/", alias="https://mirror.test/conda/")
    assert found == ("https://mirror.test/conda/team",)


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://me:secret@x.test/c/a.conda", "https://x.test/c/a.conda"),
        ("https://token@x.test/c", "https://x.test/c"),
        ("https://x.test/t/tk-12/c/a.conda", "https://x.test/c/a.conda"),
        ("https://$USER:$PASS@x.test/t/$TOKEN/c", "https://x.test/c"),
        ("https://x.test/c/mail@home/a.conda", "https://x.test/c/mail@home/a.conda"),
    ],
)
def test_credentials_are_taken_out_of_a_url(url: str, bare: str) -> None:
    assert strip_credentials(url) == bare
    assert strip_credentials(bare) == bare


def test_a_channel_that_only_a_dependency_names_comes_last() -> None:
    assert sources_of(("a", "b"), ("c::x", "a::y", "z")) == ("a", "b", "c")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_has_virtual_packages(platform: str) -> None:
    found = virtual_packages(platform, glibc="2.31", spec={"__cuda": "12.4"})
    assert found["__cuda"] == "12.4"
    assert ("__glibc" in found) == platform.startswith("linux-")
    assert list(found) == sorted(found)


def test_glibc_is_that_of_the_base_unless_the_spec_says_otherwise() -> None:
    assert virtual_packages("linux-64", glibc=None, spec={})["__glibc"] == "2.28"
    assert virtual_packages("linux-64", glibc="2.36", spec={})["__glibc"] == "2.36"
    assert "__glibc" not in virtual_packages("linux-64", glibc="", spec={})
    assert virtual_packages("linux-64", glibc="", spec={"__glibc": "2.17"})["__glibc"] == "2.17"
    assert "__archspec" not in virtual_packages("linux-64", glibc=None, spec={"__archspec": ""})


def tags(platform: str, glibc: str = "2.31") -> list[str]:
    found = supported_tags(platform, python="3.11.9", glibc=glibc, osx="11.0")
    return [str(tag) for tag in found]


def test_wheel_tags_are_those_of_the_platform_and_not_of_this_machine() -> None:
    assert tags("linux-64")[0] == "cp311-cp311-manylinux_2_31_x86_64"
    assert "cp311-cp311-manylinux_2_32_x86_64" not in tags("linux-64")
    assert "cp311-cp311-manylinux2014_aarch64" in tags("linux-aarch64")
    assert tags("osx-arm64")[0] == "cp311-cp311-macosx_11_0_arm64"
    assert tags("win-64")[0] == "cp311-cp311-win_amd64"
    assert tags("linux-64", "")[0] == "cp311-cp311-linux_x86_64"
    for platform in PLATFORMS:
        assert tags(platform)[-1] == "py30-none-any"


def test_the_most_specific_wheel_wins_and_of_equals_the_higher_build() -> None:
    found = supported_tags("linux-64", python="3.11.9", glibc="2.31", osx="")
    files = [
        "a-1-py3-none-any.whl",
        "a-1-1-cp311-cp311-manylinux_2_17_x86_64.whl",
        "a-1-2-cp311-cp311-manylinux_2_17_x86_64.whl",
        "a-1-cp311-cp311-manylinux_2_34_x86_64.whl",
        "a-1-cp312-cp312-manylinux_2_17_x86_64.whl",
        "not a wheel",
    ]
    assert best_wheel(files, found) == "a-1-2-cp311-cp311-manylinux_2_17_x86_64.whl"
    assert best_wheel(files[3:], found) is None


def test_markers_are_judged_for_the_platform() -> None:
    marker = Marker("sys_platform == 'win32' and python_version < '3.12'")
    assert marker.evaluate({**marker_environment("win-64", python="3.11.9")})
    assert not marker.evaluate({**marker_environment("linux-64", python="3.11.9")})


def conda(name: str, version: str = "1.0", depends: tuple[str, ...] = ("python",)) -> LockedPackage:
    return LockedPackage(
        manager="conda", name=name, version=version, platform="linux-64", sha256="0" * 64,
        url=f"https://x.test/c/noarch/{name}-{version}-0.conda", build="0",
        depends=dict.fromkeys(depends, ""),
    )  # fmt: skip


def test_conda_packages_are_known_by_their_names_on_the_index() -> None:
    assert distributions(conda("typing_extensions")) == ("typing-extensions",)
    assert distributions(conda("pytorch")) == ("torch",)
    assert distributions(conda("graphviz", depends=("libcairo",))) == ()
    assert distributions(conda("python")) == ()
    assert provided([conda("pytorch", "2.1.0"), conda("odd", "not a version!")]) == {
        "torch": "2.1.0"
    }


def test_two_constraints_on_one_package_are_joined() -> None:
    assert depends_mapping(["Numpy >=1.26", "numpy <3", "python_abi 3.11.* *_cp311", "six"]) == {
        "numpy": ">=1.26,<3", "python_abi": "3.11.* *_cp311", "six": "",
    }  # fmt: skip


def test_match_specs_match_as_in_the_solver() -> None:
    package = conda("numpy", "1.26.4")
    assert matches("numpy >=1.26,<2", package)
    assert matches("numpy=1.26.4=0", package)
    assert not matches("numpy >=2", package)
    assert not matches("numpy >=2 ==", package)


def test_a_pip_section_is_sorted_out() -> None:
    lines = sort_pip_lines(
        ["six>=1", "-i https://x.test/simple", "--pre --extra-index-url=https://y.test",
         "--trusted-host z.test", "-e ./here", "git+https://x.test/y", "a @ https://x.test/a.tar.gz",
         "./wheels/a-1-py3-none-any.whl", "--no-binary :all:", "--prefer-binary"]
    )  # fmt: skip
    assert lines.requirements == ("six>=1",)
    assert lines.options == ("-i https://x.test/simple", "--extra-index-url https://y.test")
    assert lines.prereleases
    assert lines.insecure_hosts == ("z.test",)
    assert lines.wheels == ("./wheels/a-1-py3-none-any.whl",)
    assert [line.split()[0] for line, _ in lines.refused] == [
        "-e", "git+https://x.test/y", "a", "--no-binary",
    ]  # fmt: skip

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from envsync.adapters.locks.conda_lock_file import parse_lock, read_conda_lock
from envsync.errors import InvalidInput
from envsync.model.canonical import sha256_hex
from envsync.model.document import Faults
from envsync.model.lock import BasePlatform, ImageLock, Lock, LockedPackage
from envsync.model.lock_text import (
    render_conda_lock,
    render_image,
    scalar,
    split_packages,
    split_tables,
)
from tests.reliability.counts import count
from tests.test_strict_yaml import BOMBS

HASHES = {"linux-64": "a" * 64, "osx-arm64": "b" * 64}


def conda(
    name: str = "numpy", version: str = "1.26.4", platform: str = "linux-64"
) -> LockedPackage:
    return LockedPackage(
        manager="conda", name=name, version=version, build="py311_0", platform=platform,
        url=f"https://conda.anaconda.org/conda-forge/{platform}/{name}-{version}-py311_0.conda",
        sha256=sha256_hex(f"{name}{version}{platform}".encode()), md5="0" * 32,
        depends={"__glibc": ">=2.17,<3.0.a0", "python_abi": "3.11.* *_cp311", "libblas": ""},
    )  # fmt: skip


def wheel(name: str = "six", version: str = "1.16.0") -> LockedPackage:
    return LockedPackage(
        manager="pip", name=name, version=version, platform="linux-64",
        url=f"https://index.test/files/{name}-{version}-py3-none-any.whl", sha256="e" * 64,
        depends={"other": "*"},
    )  # fmt: skip


def lock_of(*packages: LockedPackage, image: ImageLock | None = None) -> Lock:
    found: dict[str, list[LockedPackage]] = {"linux-64": []}
    for package in sorted(packages, key=lambda p: (p.manager, p.name)):
        found.setdefault(package.platform, []).append(package)
    return Lock(
        image=image or ImageLock(request="c" * 64, image="scratch"),
        packages={platform: tuple(part) for platform, part in found.items()},
        channels=("conda-forge",),
    )


def text_of(lock: Lock) -> str:
    hashes = {platform: HASHES[platform] for platform in lock.platforms}
    return render_conda_lock(lock, content_hash=hashes, sources=["../../a.yaml"]).decode()


def faults_of(text: str) -> list[str]:
    faults = Faults()
    read_conda_lock(text.encode(), "locks/x/conda-lock.yml", faults)
    return [str(fault).splitlines()[0] for fault in faults]


words = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, categories=["L", "N", "P", "S"]),
    min_size=1,
)
values = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FF, categories=["L", "N", "P", "S", "Zs"])
)


@given(words | values)
def test_a_scalar_reads_back_as_the_same_text(text: str) -> None:
    if not text.isprintable():
        return
    assert yaml.load(f"key: {scalar(text)}", Loader=yaml.CSafeLoader) == {"key": text}


depends = st.dictionaries(
    st.from_regex(r"[a-z_][a-z0-9_.-]{0,10}", fullmatch=True),
    st.sampled_from(
        ["", "*", ">=2.17,<3.0.a0", "3.11.* *_cp311", "1.10", "it's", "yes", "# no", ": x"]
    ),
)


@settings(max_examples=50)
@given(st.lists(depends, min_size=1, max_size=5))
def test_the_fast_reading_and_the_yaml_reading_agree(found: list[dict[str, str]]) -> None:
    packages = [replace(conda(f"p{i}"), depends=depends) for i, depends in enumerate(found)]
    text = text_of(lock_of(*packages))
    assert split_packages(text) is not None
    slow = text.replace(
        "- name: p0\n", "-  name: p0\n   # not our spelling\n".replace("   #", "#"), 1
    )
    slow = re.sub(
        r"(?m)^-  name: p0\n# not our spelling\n", "- # not our spelling\n  name: p0\n", slow
    )
    assert split_packages(slow) is None
    results = []
    for spelling in (text, slow):
        faults = Faults()
        results.append(read_conda_lock(spelling.encode(), "x", faults))
        assert list(faults) == []
    assert results[0] == results[1]
    assert results[0][0]["linux-64"] == tuple(sorted(packages, key=lambda p: p.name))


def test_a_lock_reads_back_as_it_was_written() -> None:
    written = lock_of(conda(), conda(platform="osx-arm64"), wheel())
    data = text_of(written).encode()
    image = ImageLock(
        request="c" * 64, image="debian:12", digest="sha256:" + "d" * 64,
        conda_lock=sha256_hex(data),
        platforms={"linux-64": BasePlatform(digest="sha256:" + "e" * 64, glibc="2.36")},
        sizes={"numpy-1.26.4-py311_0.conda": 7}, virtual_packages={"__cuda": "12.4"},
    )  # fmt: skip
    read = parse_lock(data, render_image(image), "locks/x")
    assert read is not None
    assert (read.image, read.packages, read.channels) == (image, written.packages, ("conda-forge",))
    assert read.conda_lock == image.conda_lock
    assert read.sha256 == sha256_hex(data + render_image(image))


def test_the_order_of_packages_does_not_move_the_bytes() -> None:
    packages = [conda("b"), conda("a"), wheel()]
    lock = lock_of(*packages)
    turned = replace(lock, packages={"linux-64": tuple(reversed(lock.packages["linux-64"]))})
    assert text_of(lock) == text_of(turned)


def test_conda_lock_reads_what_we_write_and_would_write_the_same_data(tmp_path: Path) -> None:
    from conda_lock.lockfile import parse_conda_lock_file

    path = tmp_path / "conda-lock.yml"
    path.write_text(text_of(lock_of(conda(), conda(platform="osx-arm64"), wheel())))
    theirs = parse_conda_lock_file(path)
    theirs.alphasort_inplace()
    ours = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    assert theirs.to_v1().dict_for_output() == ours


def test_conda_lock_renders_an_explicit_file_from_what_we_write(tmp_path: Path) -> None:
    from conda_lock.conda_lock import render_lockfile_for_platform
    from conda_lock.lockfile import parse_conda_lock_file

    path = tmp_path / "conda-lock.yml"
    path.write_text(text_of(lock_of(conda(), wheel())))
    lines = render_lockfile_for_platform(
        lockfile=parse_conda_lock_file(path), include_dev_dependencies=True, extras=None,
        kind="explicit", platform="linux-64",
    )  # fmt: skip
    assert f"{conda().url}#{conda().md5}" in lines
    assert any(wheel().url in line and wheel().sha256 in line for line in lines)


def test_a_lock_without_image_yaml_was_never_finished() -> None:
    assert parse_lock(text_of(lock_of(conda())).encode(), None, "locks/x") is None


ENTRY = conda()
SOUND = text_of(lock_of(conda(), wheel()))
TAMPERED: dict[str, tuple[Callable[[str], str], str]] = {
    "no sha256": (
        lambda t: t.replace(f"    sha256: '{ENTRY.sha256}'\n", ""),
        "package[0] (numpy): has no sha256",
    ),
    "short sha256": (lambda t: t.replace(ENTRY.sha256, "abc"), "sha256 is not 64 digits"),
    "upper-case sha256": (lambda t: t.replace(ENTRY.sha256, "A" * 64), "sha256 is not 64 digits"),
    "short md5": (lambda t: t.replace("0" * 32, "12"), "md5 is not 32 digits"),
    "another name in the URL": (
        lambda t: t.replace("/numpy-1", "/numpyy-1"),
        "its URL is that of numpyy 1.26.4, not of numpy 1.26.4",
    ),
    "another version in the URL": (
        lambda t: t.replace("/numpy-1.26.4", "/numpy-1.26.3"),
        "its URL is that of numpy 1.26.3, not of numpy 1.26.4",
    ),
    "another subdir": (
        lambda t: t.replace("/linux-64/numpy", "/win-64/numpy"),
        "its URL is for win-64, not for linux-64",
    ),
    "another build": (
        lambda t: t.replace("  version: '1.26.4'\n", "  version: '1.26.4'\n  build: evil_0\n"),
        "its URL is that of build py311_0, not of evil_0",
    ),
    "not a package": (
        lambda t: t.replace("numpy-1.26.4-py311_0.conda", "numpy.sh"),
        "'numpy.sh' is not the name of a conda package",
    ),
    "a path that climbs": (
        lambda t: t.replace("/linux-64/", "/../linux-64/"),
        "is not the plain URL of a package",
    ),
    "a query": (
        lambda t: t.replace("py311_0.conda", "py311_0.conda?x=1"),
        "is not the plain URL of a package",
    ),
    "credentials": (
        lambda t: t.replace("https://conda", "https://me:secret@conda"),
        "its URL holds credentials",
    ),
    "a token": (
        lambda t: t.replace("/conda-forge/", "/t/tk-123/conda-forge/"),
        "its URL holds credentials",
    ),
    "a fragment that looks like a channel": (
        lambda t: t.replace("py311_0.conda", "py311_0.conda#/conda-forge/linux-64/x.conda"),
        "is not the plain URL of a package",
    ),
    "a folder in disguise": (
        lambda t: t.replace("/conda-forge/", "/evil%2Fconda-forge/"),
        "is not the plain URL of a package",
    ),
    "a path that climbs in disguise": (
        lambda t: t.replace("/conda-forge/", "/conda-forge/%2e%2e/evil/"),
        "is not the plain URL of a package",
    ),
    "a host before the host": (
        lambda t: t.replace("conda.anaconda.org", "conda.anaconda.org@evil.test"),
        "its URL holds credentials",
    ),
    "a backslash, which some take for a slash": (
        lambda t: t.replace("https://conda", "https://evil.test\\\\conda"),
        "is not the URL of a package",
    ),
    "a line break in the URL, which some leave out": (
        lambda t: re.sub(r"url: (https://conda\S+/num)(py\S+)", r'url: "\1\\n\2"', t),
        "is not the URL of a package",
    ),
    "white space in the URL": (
        lambda t: re.sub(r"url: (https://conda)(\S+)", r"url: '\1 \2'", t),
        "is not the URL of a package",
    ),
    "a wheel's fragment": (
        lambda t: t.replace("py3-none-any.whl", "py3-none-any.whl#x"),
        "is not the plain URL of a package",
    ),
    "another scheme": (
        lambda t: t.replace("https://conda", "ftp://conda"),
        "is not the URL of a package",
    ),
    "twice": (
        lambda t: t + t[t.index("- name: numpy") : t.index("- name: six")],
        "stands twice for linux-64",
    ),
    "another platform": (
        lambda t: t.replace("  platforms:\n  - linux-64", "  platforms:\n  - osx-64"),
        "'linux-64' is not among the lock's platforms",
    ),
    "a source archive": (
        lambda t: t.replace("six-1.16.0-py3-none-any.whl", "six-1.16.0.tar.gz"),
        "is not a wheel",
    ),
    "a checkout": (
        lambda t: t.replace("https://index.test", "git+https://index.test"),
        "needs code to run",
    ),
    "another wheel": (
        lambda t: t.replace("six-1.16.0-py3", "sixx-1.16.0-py3"),
        "its URL is that of sixx 1.16.0",
    ),
    "no manager": (lambda t: t.replace("  manager: conda\n", ""), "has no manager"),
    "a manager nobody knows": (
        lambda t: t.replace("manager: conda", "manager: brew"),
        "manager is 'brew'",
    ),
    "another format": (
        lambda t: t.replace("version: 1\n", "version: 6\n"),
        "version of the file is '6'; this envsync reads version 1",
    ),
    "no format": (
        lambda t: t.replace("version: 1\n", ""),
        "The file has no version; this envsync reads version 1",
    ),
    "packages that are a map": (
        lambda t: t[: t.index("package:")] + "package: {a: b}\n",
        "'package' is a map; it must be a list",
    ),
    "not YAML": (lambda _: "a: [", "conda-lock.yml:"),
    "an alias": (lambda t: t.replace("manager: conda", "manager: &m conda"), "conda-lock.yml:"),
    "nothing": (lambda _: "", "The lock is empty"),
    "bytes": (lambda _: "\udcff", "not UTF-8"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_lock_that_was_tampered_with_is_refused(case: str) -> None:
    tamper, expected = TAMPERED[case]
    faults = Faults()
    data = tamper(SOUND).encode("utf-8", "surrogateescape")
    read_conda_lock(data, "locks/x/conda-lock.yml", faults)
    text = "\n".join(map(str, faults))
    assert expected in text
    assert "locks/x/conda-lock.yml" in text
    count("X11", **{"texts of a lock refused": 1})


FACTS = ImageLock(
    request="c" * 64, image="scratch", chosen="2026-01-31", sizes={"a-1-0.conda": 7},
    licenses={"a-1-0.conda": "MIT OR it's mine", "b: c": "yes"},
    released={"a-1-0.conda": "2026-01-30"},
)  # fmt: skip


def test_what_is_known_of_packages_reads_back_in_both_ways() -> None:
    text = render_image(FACTS).decode()
    slow = text.replace("  a-1-0.conda: 7\n", "  a-1-0.conda:   7\n")
    assert split_tables(text) is not None
    assert split_tables(slow) is None
    for spelling in (text, slow):
        read = parse_lock(None, spelling.encode(), "locks/x")
        assert read is not None
        assert read.image == FACTS


FORGED: dict[str, tuple[Callable[[str], str], str]] = {
    "a day that does not exist": (
        lambda t: t.replace("2026-01-31", "2026-02-30"),
        "locks/x/image.yaml: 'chosen' is '2026-02-30', not a day such as 2025-03-31",
    ),
    "a day in other words": (
        lambda t: t.replace("2026-01-31", "20260131"),
        "'chosen' is '20260131', not a day",
    ),
    "a day of release that is none": (
        lambda t: t.replace("2026-01-30", "long ago"),
        "released of 'a-1-0.conda': 'long ago' is not a day such as 2025-03-31",
    ),
    "a licence that cannot be read": (
        lambda t: t.replace("'yes'", '"y\\u202es"'),
        "image.yaml:12:11: licenses of 'b: c': 'y\\u202es' is not a licence of at most 200 plain",
    ),
    "a licence without an end": (
        lambda t: t.replace("'yes'", f"'{'(' * 201}'"),
        "is not a licence of at most 200 plain characters",
    ),
    "a size that is none": (
        lambda t: t.replace("a-1-0.conda: 7", "a-1-0.conda: '7 or so'"),
        "sizes of 'a-1-0.conda': '7 or so' is not a number of bytes",
    ),
    "two licences of one package": (
        lambda t: t.replace("licenses:\n", "licenses:\n  a-1-0.conda: 'MIT'\n"),
        "The key 'a-1-0.conda' stands twice",
    ),
    "the table twice": (
        lambda t: f"{t}licenses:\n  a-1-0.conda: 'MIT'\n",
        "The key 'licenses' stands twice",
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_facts_of_packages_that_make_no_sense_are_refused(case: str) -> None:
    forge, expected = FORGED[case]
    text = forge(render_image(FACTS).decode())
    assert text != render_image(FACTS).decode()
    with pytest.raises(InvalidInput) as raised:
        parse_lock(None, text.encode(), "locks/x")
    assert expected in str(raised.value)


def test_all_faults_of_both_files_are_told_at_once_with_their_lines() -> None:
    broken = SOUND.replace(ENTRY.sha256, "abc").replace("six-1.16.0-py3-none-any.whl", "six.zip")
    with pytest.raises(InvalidInput) as raised:
        parse_lock(broken.encode(), b"format: 2\nimage: x\nrequest: no\n", "locks/x")
    assert [str(fault).splitlines()[0].split("; lock a")[0] for fault in raised.value.faults] == [
        "locks/x/conda-lock.yml:16:1: package[0] (numpy): sha256 is not 64 digits of 0-9 and a-f",
        "locks/x/conda-lock.yml:30:1: package[1] (six): 'six.zip' is not a wheel",
        "locks/x/image.yaml: 'request' is 'no', not a hash",
        "locks/x/image.yaml:1:9: format of the file is '2'; this envsync reads format 1",
    ]


# What real locks are refused for; every other one loads with as many packages as are said.
REFUSED = {
    name: reason
    for line in (Path(__file__).parents[1] / "data/refused_locks.txt").read_text().splitlines()
    for name, _, reason in [line.partition(": ")]
}
EMPTY = {"mamba-org__mamba/libmamba/tests/data/env_lockfile/good_no_package-lock.yaml"}


def test_every_lock_of_real_projects_loads_or_is_refused_with_a_reason(shared_data: Path) -> None:
    root = shared_data / "conda-locks"
    refused = {}
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for path in files:
        name = path.relative_to(root).as_posix()
        faults = Faults()
        packages, _ = read_conda_lock(path.read_bytes(), name, faults)
        if len(faults):
            refused[name] = "\n".join(map(str, faults))
        else:
            assert any(packages.values()) or name in EMPTY, name
    assert sorted(refused) == sorted(REFUSED)
    assert [name for name, reason in REFUSED.items() if reason not in refused[name]] == []
    assert len(files) == 54


def test_a_real_lock_in_our_spelling_reads_to_the_same_packages(shared_data: Path) -> None:
    path = shared_data / "conda-locks/pangeo-data__pangeo-docker-images/ml-notebook/conda-lock.yml"
    faults = Faults()
    packages, channels = read_conda_lock(path.read_bytes(), "x", faults)
    lock = Lock(image=ImageLock(request="c" * 64, image="x"), packages=packages, channels=channels)
    text = render_conda_lock(lock, content_hash=HASHES, sources=[])
    assert split_packages(text.decode()) is not None
    assert read_conda_lock(text, "x", faults) == (packages, channels)
    assert list(faults) == []


def test_a_large_honest_lock_is_read() -> None:
    head, _, entry = text_of(lock_of(conda("package-0"))).partition("- name")
    entries = (f"- name{entry}".replace("package-0", f"package-{n}") for n in range(60_000))
    text = head + "".join(entries)
    assert len(text) > 20_000_000
    assert faults_of(text) == []
    count("X1", **{"honest locks of 20 MB": 1, "loaded": 1})


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_no_lock(name: str) -> None:
    data = BOMBS[name].encode()[: 64 * 1024]
    with pytest.raises(InvalidInput, match="The lock cannot be used"):
        parse_lock(data, data, "locks/a")
    with pytest.raises(InvalidInput, match="The lock cannot be used"):
        parse_lock(text_of(lock_of(conda())).encode() + data, data, "locks/a")
    count("X1", bombs=1, refused=1)

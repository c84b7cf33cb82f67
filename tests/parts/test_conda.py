"""The channel is a conda channel: it can be solved, linked, served, and is always the same."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rattler
from rattler import (
    BuildString,
    Gateway,
    GenericVirtualPackage,
    PackageName,
    RepoDataRecord,
    Version,
)
from rattler.exceptions import GatewayError, SolverError
from rattler.platform import SubdirLiteral

from tests.parts.channel import make_channel, tiny_channel, write_channel
from tests.parts.madeup import made_up_packages, tiny_packages
from tests.parts.package import PLACEHOLDER
from tests.parts.serving import FileServer, serve_folders

_VIRTUAL = {"__glibc": "2.31", "__unix": "0", "__linux": "5.10"}


def solve(
    *specs: str,
    sources: list[str],
    platform: SubdirLiteral = "linux-64",
    before: datetime | None = None,
) -> dict[str, RepoDataRecord]:
    virtual = [
        GenericVirtualPackage(PackageName(name), Version(version), BuildString("0"))
        for name, version in _VIRTUAL.items()
    ]
    records = asyncio.run(
        rattler.solve(
            sources=sources,
            specs=list(specs),
            gateway=Gateway(),
            platforms=[platform, "noarch"],
            virtual_packages=virtual,
            exclude_newer=before,
        )
    )
    return {record.name.normalized: record for record in records}


def link(
    records: dict[str, RepoDataRecord], prefix: Path, cache: Path, platform: SubdirLiteral
) -> None:
    asyncio.run(
        rattler.install(
            list(records.values()),
            prefix,
            cache_dir=cache,
            platform=rattler.Subdir(platform),
            show_progress=False,
        )
    )


def output(program: Path, *arguments: str) -> str:
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout


def test_a_data_science_environment_is_solved_linked_and_runs(
    channel: Path, tmp_path: Path, package_cache: Path
) -> None:
    records = solve("pandas", "pyyaml", "flask", sources=[channel.as_uri()])
    prefix = tmp_path / "env"
    link(records, prefix, package_cache, "linux-64")
    modules = "ssl, sqlite3, ctypes, zlib, bz2, lzma, readline, hashlib, numpy, pandas, yaml"
    printed = output(prefix / "bin/python", "-c", f"import {modules}; print(numpy.__version__)")
    assert printed == "2.2.6\n"
    assert "Flask 3.1.0" in output(prefix / "bin/flask", "--version")
    assert output(prefix / "bin/f2py", "-v") == "2.2.6\n"
    assert "Zen of Python" in output(prefix / "bin/pydoc3.11", "this")


def test_the_program_python_is_relocated_in_text_and_binary(
    small_channel: Path, tmp_path: Path, package_cache: Path
) -> None:
    records = solve("python", "prefixed", sources=[small_channel.as_uri()])
    prefix = tmp_path / "env"
    link(records, prefix, package_cache, "linux-64")
    for path in ("bin/python3.11", "bin/prefixed-sh", "lib/prefixed.bin", "etc/prefixed.conf"):
        assert PLACEHOLDER.encode() not in (prefix / path).read_bytes()
    assert output(prefix / "bin/prefixed-sh") == "found by its prefix\n"
    assert output(prefix / "bin/prefixed-py") == f"{prefix}/share/prefixed\n"
    libraries = output(Path("/usr/bin/ldd"), str(prefix / "bin/python3.11"))
    assert str(prefix / "lib") in libraries or "libpython" not in libraries
    question = "import sysconfig; print(sysconfig.get_config_var('prefix'))"
    assert output(prefix / "bin/python", "-c", question) == f"{prefix}\n"


def test_everything_can_also_be_solved_with_what_was_released_before_june_2024(
    channel: Path,
) -> None:
    specs = ["pandas", "scikit-learn", "flask", "requests", "rich", "tqdm", "pyyaml", "pip"]
    old = solve(*specs, sources=[channel.as_uri()], before=datetime(2024, 6, 1, tzinfo=UTC))
    new = solve(*specs, sources=[channel.as_uri()])
    moved = {name for name in old if str(old[name].version) != str(new[name].version)}
    assert {"click", "numpy", "flask", "requests", "rich", "urllib3"} <= moved


def test_every_package_can_be_installed_but_those_made_to_be_impossible(channel: Path) -> None:
    impossible = {"unsatisfiable", "needs-cuda", "needs-new-glibc"}
    names = {
        path.name.rsplit("-", 2)[0]
        for subdir in ("noarch", "linux-64")
        for path in (channel / subdir).iterdir()
        if path.name.endswith((".conda", ".tar.bz2"))
    }
    for name in sorted(names - impossible):
        assert name in solve(name, sources=[channel.as_uri()])
    for name in impossible:
        with pytest.raises(SolverError, match=name):
            solve(name, sources=[channel.as_uri()])


def test_the_second_channel_has_what_priority_decides(channel: Path, extra_channel: Path) -> None:
    both = [channel.as_uri(), extra_channel.as_uri()]
    assert str(solve("two-homes", sources=both)["two-homes"].version) == "1.0"
    assert str(solve("two-homes", sources=both[::-1])["two-homes"].version) == "2.0"


def test_the_made_up_packages_have_links_and_clobbers(
    small_channel: Path, tmp_path: Path, package_cache: Path
) -> None:
    names = ["linked", "clobber-over", "activated", "env-vars", "old-format"]
    prefix = tmp_path / "env"
    link(solve(*names, sources=[small_channel.as_uri()]), prefix, package_cache, "linux-64")
    assert (prefix / "lib/liblinked.so").readlink() == Path("liblinked.so.1")
    assert (prefix / "share/linked/current/data.txt").read_text() == "version one\n"
    assert (prefix / "share/linked/one").samefile(prefix / "share/linked/two")
    message = (prefix / "share/clobber/message.txt").read_text()
    assert message == "from the one that depends on it\n"
    assert (prefix / "share/old-format/data.txt").read_text() == "bzip2\n"


def test_another_platform_is_linked_without_running_it(
    two_platform_channel: Path, tmp_path: Path, package_cache: Path
) -> None:
    source = [two_platform_channel.as_uri()]
    records = solve("numpy", "flask", "pyyaml", sources=source, platform="linux-aarch64")
    prefix = tmp_path / "env"
    link(records, prefix, package_cache, "linux-aarch64")
    aarch64 = b"\xb7\x00"  # e_machine of ELF
    assert (prefix / "bin/python3.11").read_bytes()[18:20] == aarch64


def test_the_same_packages_have_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        write_channel(tmp_path / name, [*made_up_packages(), *tiny_packages(3)])
        digests.append(
            {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in (tmp_path / name).rglob("*")
                if path.is_file() and not path.name.startswith(".")
            }
        )
    assert digests[0] == digests[1]


def test_a_channel_of_any_packages_is_made_once() -> None:
    first = tiny_channel(20)
    assert tiny_channel(20) == first
    assert make_channel("tiny-20", tiny_packages(20)) == first
    assert len(solve("tiny-00019", sources=[first.as_uri()])) == 10


def test_the_server_counts_wants_a_login_and_fails_when_told(extra_channel: Path) -> None:
    folders = {"private": extra_channel}
    with serve_folders(folders, login=("ada", "s3 cret")) as server:
        assert solve("only-extra", sources=[server.url_with_login("private")])
        assert server.requests("repodata")
        with pytest.raises(GatewayError, match="401"):
            solve("only-extra", sources=[server.url("private")])
        server.forget()
        server.fail(500)
        with pytest.raises(GatewayError, match="500"):
            solve("only-extra", sources=[server.url_with_login("private")])
        assert {request.status for request in server.requests()} == {500}


def test_the_whole_channel_is_served_over_http(channel_server: FileServer, tmp_path: Path) -> None:
    sources = [channel_server.url("main"), channel_server.url("extra")]
    records = solve("linked", "clobber-over", "only-extra", sources=sources)
    link(records, tmp_path / "env", tmp_path / "cache", "linux-64")
    assert len(channel_server.requests(".conda")) == len(records) == 4


def test_real_records_can_be_solved(real_repodata: Path) -> None:
    records = solve("python=3.11", "numpy", sources=[real_repodata.as_uri()])
    assert "numpy" in records

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from envsync.adapters.solving.pip_settings import pip_options, uv_environment
from envsync.adapters.solving.uv_resolver import UvResolver
from envsync.errors import EnvsyncError, InvalidInput, NotAllowed, Unavailable, Unsatisfiable
from envsync.ports.solver import PipRequest, Solution
from tests.locking.index import Index
from tests.parts.cache import ENVIRONMENT
from tests.parts.serving import serve_folders
from tests.registry.proxy import DROP, Reply, proxied
from tests.reliability.counts import count

SECRET = "canary-password-77aa"


@pytest.fixture
def index(tmp_path: Path) -> Index:
    index = Index(tmp_path / "index")
    index.wheel("leaf", "1.0")
    index.wheel("leaf", "2.0")
    index.wheel("app", "1.0", ["leaf>=1", "array>=1"])
    index.wheel("array", "1.26.4")
    index.wheel("array", "2.0.0")
    index.wheel("new-app", "1.0", ["array>=2"])
    return index


def resolve(
    index: Index, *lines: str, provided: Mapping[str, str] | None = None,
    platform: str = "linux-64", glibc: str = "2.36", prefer: Solution | None = None,
    constraints: tuple[str, ...] = (),
) -> Solution:  # fmt: skip
    request = PipRequest(
        platform=platform, requirements=lines, python_version="3.11.7", glibc=glibc,
        provided=provided or {}, prefer=prefer.packages if prefer else (), constraints=constraints,
    )  # fmt: skip
    return UvResolver(environ={**ENVIRONMENT, **index.variables()}).resolve(request)


def versions(solution: Solution) -> dict[str, str]:
    return {p.name: p.version for p in solution.packages}


def test_wheels_are_chosen_with_their_hashes_and_who_requires_them(index: Index) -> None:
    digest = index.wheel("only", "3.0", ["app"])
    found = {p.name: p for p in resolve(index, "only").packages}
    assert found["only"].sha256 == digest
    assert {name: p.version for name, p in found.items()} == {
        "only": "3.0", "app": "1.0", "leaf": "2.0", "array": "2.0.0",
    }  # fmt: skip
    assert found["only"].url.endswith("/files/only-3.0-py3-none-any.whl")
    assert dict(found["only"].depends) == {"app": "*"}
    assert dict(found["app"].depends) == {"leaf": "*", "array": "*"}
    assert {p.manager for p in found.values()} == {"pip"}


def test_what_conda_provides_is_not_installed_again(index: Index) -> None:
    found = resolve(index, "app", provided={"array": "1.26.4", "python-thing": "1.0"})
    assert versions(found) == {"app": "1.0", "leaf": "2.0"}
    assert "array" in next(p for p in found.packages if p.name == "app").depends


def test_what_conda_provides_may_be_on_no_index(index: Index) -> None:
    index.wheel("rare", "1.0", ["only-in-conda>=5"])
    assert versions(resolve(index, "rare", provided={"only-in-conda": "5.1"})) == {"rare": "1.0"}


def test_pip_may_not_want_another_version_than_conda_provides(index: Index) -> None:
    with pytest.raises(Unsatisfiable) as raised:
        resolve(index, "new-app", provided={"array": "1.26.4"})
    assert "conda provides array 1.26.4" in raised.value.detail
    assert "array>=2" in raised.value.detail
    assert "linux-64" in raised.value.detail


def test_an_extra_of_what_conda_provides_is_a_warning(index: Index) -> None:
    found = resolve(index, "array[fast]", "leaf", provided={"array": "1.26.4"})
    assert versions(found) == {"leaf": "2.0"}
    assert found.warnings == ("array comes from conda, so pip's array[fast] adds nothing to it",)


def test_what_was_locked_stays_where_it_can(index: Index) -> None:
    old = resolve(index, "leaf==1.0")
    assert versions(resolve(index, "app", prefer=old))["leaf"] == "1.0"
    assert versions(resolve(index, "app", "leaf>=2", prefer=old))["leaf"] == "2.0"


def test_constraints_limit_and_ask_for_nothing(index: Index) -> None:
    found = resolve(index, "app", constraints=("leaf<2", "nobody-wants==1"))
    assert versions(found)["leaf"] == "1.0"
    assert "nobody-wants" not in versions(found)


@pytest.mark.parametrize(
    ("platform", "glibc", "expected"),
    [
        ("linux-64", "2.36", "manylinux_2_28_x86_64"),
        ("linux-64", "2.17", "manylinux2014_x86_64"),
        ("linux-aarch64", "2.36", "manylinux2014_aarch64"),
        ("osx-arm64", "", "macosx_11_0_arm64"),
        ("win-64", "", "win_amd64"),
    ],
)
def test_the_wheel_is_the_platforms_and_not_this_machines(
    index: Index, platform: str, glibc: str, expected: str
) -> None:
    for tag in (
        "manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux2014_aarch64",
        "macosx_11_0_arm64", "win_amd64",
    ):  # fmt: skip
        index.wheel("native", "1.0", tag=f"cp311-cp311-{tag}")
    (package,) = resolve(index, "native", platform=platform, glibc=glibc).packages
    assert package.file_name == f"native-1.0-cp311-cp311-{expected}.whl"
    assert package.platform == platform


def test_markers_are_those_of_the_platform(index: Index) -> None:
    index.wheel("marked", "1.0", ["leaf ; sys_platform == 'win32'"])
    assert versions(resolve(index, "marked")) == {"marked": "1.0"}
    assert "leaf" in versions(resolve(index, "marked", platform="win-64"))


def test_a_source_archive_is_refused_by_name_and_its_code_never_runs(
    index: Index, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        script = f"open({str(canary)!r}, 'w').close()\n".encode()
        header = tarfile.TarInfo("evil-1.0/setup.py")
        header.size = len(script)
        archive.addfile(header, io.BytesIO(script))
    index.source("evil", "1.0", buffer.getvalue())
    with pytest.raises(Unsatisfiable, match=r"evil.* has no wheel for python 3\.11\.7"):
        resolve(index, "evil")
    assert not canary.exists()
    count("X6", canaries=1, never_run=1)


@pytest.mark.parametrize(
    "line",
    ["-e ./folder", "git+https://host.test/repo", "name @ git+https://host.test/repo",
     "https://host.test/a-1.tar.gz", "./wheels/a-1-py3-none-any.whl", "--no-binary :all:"],
)  # fmt: skip
def test_what_needs_code_to_run_is_refused_before_anything_is_asked(
    index: Index, line: str
) -> None:
    with pytest.raises(InvalidInput, match="cannot be locked") as raised:
        resolve(index, "leaf", line)
    assert line in raised.value.detail
    count("X6", requirements=1, named=1)


SMUGGLED = [
    "leaf --hash=sha256:{hash} -r {file}",
    "leaf --hash=sha256:{hash} -r{file}",
    "leaf --hash sha256:{hash} --requirement {file}",
    "leaf==1.0 --hash=sha256:{hash} --requirement={file}",
    "leaf==1.0 --hash=sha256:{hash} -c {file}",
    "leaf --hash=sha256:{hash} --hash=sha256:{hash} -e {file}",
    "leaf --hash=sha256:{hash} --index-url file://{file}",
    "leaf --hash=sha256:{hash} leaf -r {file}",
    "leaf --config-settings=x -r {file}",
    "leaf --global-option=x -r {file}",
    "leaf -r {file}",
    "leaf; python_version > '3' --hash=sha256:{hash} -r {file}",
    "leaf @ https://wheels.example.com/leaf-1.0-py3-none-any.whl --hash=sha256:{hash} -r {file}",
    "https://wheels.example.com/leaf-1.0-py3-none-any.whl -r {file}",
    "https://wheels.example.com/leaf-1.0-py3-none-any.whl# -r {file}",
    "https://wheels.example.com/leaf-1.0-py3-none-any.whl --hash=sha256:{hash} -r {file}.whl",
    "--pre -r {file}",
    "--index-url https://index.example/simple -r {file}",
    "--find-links=https://index.example -c {file}",
    "leaf\n-r {file}",
    "leaf\r-r {file}",
    "leaf \\\n-r {file}",
]


@pytest.mark.parametrize("line", SMUGGLED)
def test_no_line_makes_uv_read_another_file(index: Index, tmp_path: Path, line: str) -> None:
    # A name that is on no index: uv would tell it.
    (tmp_path / "outside").write_text("sentinel-name\n")
    with pytest.raises(InvalidInput, match="cannot be locked") as raised:
        resolve(index, line.format(file=tmp_path / "outside", hash="0" * 64))
    assert "sentinel-name" not in str(raised.value)
    count("X3", payloads=1, refused=1)


def test_hashes_may_follow_a_requirement(index: Index) -> None:
    digest = index.wheel("hashed", "1.0")
    for line in (f"hashed --hash=sha256:{digest}", f"hashed==1.0 --hash sha256:{digest}"):
        assert versions(resolve(index, line)) == {"hashed": "1.0"}


@pytest.mark.parametrize(
    "line",
    ["a @ {url}/${{SECRET_OF_THE_MACHINE}}/a-1-py3-none-any.whl",
     "{url}/${{SECRET_OF_THE_MACHINE}}/a-1-py3-none-any.whl",
     "--index-url {url}/${{SECRET_OF_THE_MACHINE}}/simple",
     "--extra-index-url={url}/${{SECRET_OF_THE_MACHINE}}",
     "--find-links {url}/${{SECRET_OF_THE_MACHINE}}", "--trusted-host ${{SECRET_OF_THE_MACHINE}}"],
)  # fmt: skip
def test_no_line_sends_a_variable_of_the_machine_to_a_host(tmp_path: Path, line: str) -> None:
    with serve_folders({"simple": tmp_path}) as server:
        request = PipRequest(
            platform="linux-64", requirements=(line.format(url=server.base), "leaf"),
            python_version="3.11.7", glibc="2.36", provided={},
        )  # fmt: skip
        environ = {**ENVIRONMENT, "SECRET_OF_THE_MACHINE": SECRET}
        with pytest.raises(InvalidInput, match="names a variable of the machine") as raised:
            UvResolver(environ=environ).resolve(request)
        assert server.requests() == []
    assert SECRET not in str(raised.value)
    count("X13", payloads=1, refused=1)


def test_a_name_that_no_index_has_is_named(index: Index) -> None:
    with pytest.raises(Unsatisfiable, match="no-such-thing"):
        resolve(index, "no-such-thing")


def test_another_index_cannot_slip_in_its_own(index: Index, tmp_path: Path) -> None:
    other = Index(tmp_path / "other")
    other.wheel("leaf", "9.0")
    found = resolve(index, f"--extra-index-url {other.url}", "app")
    assert versions(found)["leaf"] == "9.0"
    with pytest.raises(Unsatisfiable, match="only one asked for it"):
        resolve(index, f"--extra-index-url {other.url}", "leaf==1.0")


def error_of(url: str) -> EnvsyncError:
    resolver = UvResolver(
        environ={**ENVIRONMENT, "UV_DEFAULT_INDEX": url, "PIP_CONFIG_FILE": "/dev/null",
                 "UV_HTTP_TIMEOUT": "5", "UV_HTTP_RETRIES": "0"}
    )  # fmt: skip
    request = PipRequest(
        platform="linux-64", requirements=("leaf",), python_version="3.11.7", glibc="2.36",
        provided={},
    )  # fmt: skip
    with pytest.raises(EnvsyncError) as raised:
        resolver.resolve(request)
    return raised.value


def test_an_index_that_refuses_or_does_not_answer_is_no_decision(tmp_path: Path) -> None:
    with serve_folders({"simple": tmp_path}, login=("me", SECRET)) as server:
        refused = error_of(server.base.replace("://", f"://me:{SECRET}x@") + "/simple")
        server.fail(500)
        failing = error_of(server.url("simple"))
    gone = error_of("http://127.0.0.1:1/simple")
    assert isinstance(refused, NotAllowed)
    assert isinstance(failing, Unavailable)
    assert isinstance(gone, Unavailable)
    assert SECRET not in str(refused)
    count("X8", faults=1, **{"canaries found": 0})


def page(text: str, kind: str = "text/html", status: int = 200, **headers: str) -> Reply:
    return Reply(
        status=status, body=text.encode(),
        headers={"content-type": kind, **{k.replace("_", "-"): v for k, v in headers.items()}},
    )  # fmt: skip


INDEX_FAULTS = {
    "400": page(SECRET, status=400),
    "401": page("", status=401, www_authenticate='Basic realm="x"'),
    "403": page(SECRET, status=403),
    "404": page("", status=404),
    "500": page(SECRET, status=500),
    "a page": page("<html>Please log in</html>"),
    "other JSON": page("{", "application/vnd.pypi.simple.v1+json"),
    "cut": replace(page("<a href='leaf-1.0-py3-none-any.whl'>leaf</a>" * 9), cut=20),
    "a circle": page("", status=307, location="/simple/leaf/"),
    "a redirect": page("", status=307, location="http://127.0.0.1:1/simple/leaf/?sig=" + SECRET),
    "no HTTP": Reply(status=200, raw=b"\x00\xff\r\n\r\n"),
    "nothing": Reply(status=DROP),
}


@pytest.mark.parametrize("fault", INDEX_FAULTS)
@pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "PIP_INDEX_URL", "UV_INDEX"])
def test_a_login_of_an_index_is_in_no_error_and_no_cache(
    tmp_path: Path, fault: str, variable: str
) -> None:
    """Whatever the index does, and in whatever variable its URL stands."""
    cache = tmp_path / "uv"
    with proxied("127.0.0.1:1") as proxy:
        proxy.rule(lambda asked, ask: INDEX_FAULTS[fault])
        url = f"http://me:{SECRET}@{proxy.host}/simple"
        environ = {k: v for k, v in ENVIRONMENT.items() if not k.startswith(("UV_", "PIP_"))}
        environ |= {"PIP_CONFIG_FILE": "/dev/null", "UV_HTTP_TIMEOUT": "5", "UV_HTTP_RETRIES": "0",
                    "UV_CACHE_DIR": str(cache), "UV_DEFAULT_INDEX": "http://127.0.0.1:1/simple",
                    variable: url}  # fmt: skip
        if variable == "PIP_INDEX_URL":
            del environ["UV_DEFAULT_INDEX"]
        request = PipRequest(
            platform="linux-64", requirements=("leaf",), python_version="3.11.7", glibc="2.36",
            provided={},
        )  # fmt: skip
        with pytest.raises(EnvsyncError) as raised:
            UvResolver(environ=environ).resolve(request)
        assert proxy.asked
    pair = base64.b64encode(f"me:{SECRET}".encode())
    assert SECRET not in str(raised.value) + repr(vars(raised.value))
    for path in cache.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert SECRET.encode() not in data, path
        assert pair not in data, path
    count("X8", faults=1, **{"canaries found": 0})


def test_pips_settings_reach_uv_and_uvs_own_win(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://pip.test/simple\nfind-links = /a /b\n"
        "[install]\nextra-index-url = https://one.test\n  https://two.test\n"
    )
    environ = {"PIP_CONFIG_FILE": str(config), "HOME": str(tmp_path), "PATH": "/bin"}
    assert pip_options(environ)["index-url"] == "https://pip.test/simple"
    found = uv_environment(environ)
    assert found["UV_DEFAULT_INDEX"] == "https://pip.test/simple"
    assert found["UV_INDEX"] == "https://one.test https://two.test"
    assert found["UV_FIND_LINKS"] == "/a,/b"
    mine = uv_environment({**environ, "UV_INDEX_URL": "https://uv.test"})
    assert "UV_DEFAULT_INDEX" not in mine


def test_settings_that_choose_versions_do_not_reach_uv() -> None:
    found = uv_environment(
        {"UV_RESOLUTION": "lowest", "UV_EXCLUDE_NEWER": "2020-01-01", "PYTHONPATH": "/x",
         "UV_INDEX_TEAM_PASSWORD": "p", "UV_CACHE_DIR": "/c", "PIP_CONFIG_FILE": "/dev/null"}
    )  # fmt: skip
    assert set(found) == {"UV_INDEX_TEAM_PASSWORD", "UV_CACHE_DIR"}


def test_the_answer_does_not_depend_on_the_order_of_what_is_provided(index: Index) -> None:
    provided = {"array": "1.26.4", "python-thing": "1.0"}
    one = resolve(index, "app", provided=provided)
    two = resolve(index, "app", provided=dict(reversed(provided.items())))
    assert one == two
    assert replace(one, sizes={}) == replace(two, sizes={})

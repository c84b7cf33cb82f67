"""Resolving wheels with uv, on top of what conda packages provide.

What conda provides is handed to uv as stub wheels, of metadata only, that constrain their names to
one file each. So uv cannot choose another version, counts them as there, and says so when something
does not fit; from the result they are dropped.
"""

from __future__ import annotations

import datetime
import posixpath
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import uv
from packaging.markers import InvalidMarker, Marker
from packaging.utils import canonicalize_name

from envsync.adapters.http.addresses import check_place
from envsync.adapters.solving.pip_settings import uv_environment
from envsync.errors import EnvsyncError, InvalidInput, NotAllowed, Unavailable, Unsatisfiable
from envsync.model.canonical import sha256_hex
from envsync.model.channels import strip_credentials
from envsync.model.lock import LockedPackage
from envsync.model.own_wheels import url_in_repository, wheel_name
from envsync.model.pip_lines import PipLines, sort_pip_lines
from envsync.model.places import without_secrets
from envsync.model.virtual_packages import DEFAULT_GLIBC, DEFAULT_OSX
from envsync.model.wheel_tags import best_wheel, marker_environment, supported_tags
from envsync.ports.solver import OwnWheel, PipRequest, Solution

_MACHINES = {"linux-64": "x86_64", "linux-aarch64": "aarch64"}
_OTHERS = {
    "osx-64": "x86_64-apple-darwin",
    "osx-arm64": "aarch64-apple-darwin",
    "win-64": "x86_64-pc-windows-msvc",
}
# The glibc versions that uv has target platforms for.
_MANYLINUX = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)
_TIMEOUT_SECONDS = 600
_EXTRA = re.compile(r"The package `([\w.-]+)[^`]*` does not have an extra named `([^`]+)`")
_NO_WHEEL = re.compile(r"Wheels are required for `([^`]+)`")
_REFUSED = re.compile(r"\b40[13]\b|Unauthorized|Forbidden")


class UvResolver:
    """A `envsync.ports.solver.PipResolver`; indexes come from *environ* and pip's configuration."""

    def __init__(self, *, environ: Mapping[str, str]) -> None:
        self._environment = uv_environment(environ)

    def resolve(self, request: PipRequest) -> Solution:
        """Return the wheels to install; what conda provides is not among them."""
        lines = sort_pip_lines(request.requirements)
        if lines.refused:
            raise InvalidInput(
                "A pip requirement cannot be locked",
                detail="\n".join(f"{line}: {reason}" for line, reason in lines.refused),
                hint="Lock a released wheel, or build one and publish it to an index.",
            )
        for option in lines.options:
            check_place(option.partition(" ")[2], "a package index")
        with tempfile.TemporaryDirectory(prefix="envsync-pip-") as folder:
            work = Path(folder)
            stubs = _write_inputs(work, lines, request)
            locked = work / "pylock.toml"
            said = self._compile(work, lines, request, "pylock.toml")
            document = tomllib.loads(locked.read_text(encoding="utf-8"))
            packages = [
                entry
                for entry in document.get("packages", [])
                if entry["name"] not in stubs and _applies(entry, request)
            ]
            parents = self._parents(work, lines, request, packages) if packages else {}
            own = {sha256_hex(wheel.content): wheel for wheel in request.wheels.values()}
            wheels = [_wheel(entry, parents, request, work, own) for entry in packages]
        return Solution(
            packages=tuple(sorted((w for w, *_ in wheels), key=lambda package: package.name)),
            sizes={wheel.file_name: size for wheel, size, _ in wheels if size},
            released={wheel.file_name: day for wheel, _, day in wheels if day},
            warnings=tuple(
                f"{name} comes from conda, so pip's {name}[{extra}] adds nothing to it"
                for name, extra in _EXTRA.findall(said)
            ),
        )

    def _compile(self, work: Path, lines: PipLines, request: PipRequest, output: str) -> str:
        command = [uv.find_uv_bin(), "pip", "compile", "--no-config", "--no-header"]
        command += ["--no-python-downloads", "--python", sys.executable, "--no-progress"]
        command += ["--python-version", request.python_version]
        command += ["--python-platform", _uv_platform(request), "--only-binary", ":all:"]
        command += ["--constraints", "constraints.txt", "--output-file", output]
        command += ["--annotation-style", "split", "--color", "never"]
        if output == "pylock.toml":
            command += ["--format", "pylock.toml"]
        if request.exclude_newer is not None:
            command += ["--exclude-newer", request.exclude_newer.isoformat()]
        if lines.prereleases:
            command += ["--prerelease", "allow"]
        for host in lines.insecure_hosts:
            command += ["--allow-insecure-host", host]
        environment = {**self._environment, "MACOSX_DEPLOYMENT_TARGET": _osx(request)}
        try:
            done = subprocess.run(
                [*command, "requirements.in"],
                cwd=work,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(
                "The package index did not answer", detail=f"uv gave up after {error.timeout:.0f} s"
            ) from error
        if done.returncode:
            raise _fault(done.stderr, request)
        return done.stderr

    def _parents(
        self, work: Path, lines: PipLines, request: PipRequest, packages: Sequence[dict[str, Any]]
    ) -> dict[str, set[str]]:
        """Return by package the names it requires, from the comments of uv's other format.

        uv's pylock.toml does not say who requires what. The versions chosen are given as what the
        output file holds already, so that nothing is chosen anew.
        """
        pins = "".join(
            f"{entry['name']}=={entry['version']}\n" for entry in packages if "version" in entry
        )
        output = work / "requirements.txt"
        output.write_text(pins, encoding="utf-8")
        self._compile(work, lines, request, output.name)
        return _parse_via(output.read_text(encoding="utf-8"))


def _write_inputs(work: Path, lines: PipLines, request: PipRequest) -> frozenset[str]:
    """Write uv's inputs; return the names that conda provides."""
    own = [
        _own_wheel(work / f"own-{number}", path, request)
        for number, path in enumerate(dict.fromkeys(lines.wheels))
    ]
    (work / "requirements.in").write_text(
        "".join(f"{line}\n" for line in (*lines.options, *lines.requirements, *own)),
        encoding="utf-8",
    )
    constraints = [
        f"{name} @ {_stub(work, name, version).as_uri()}\n"
        for name, version in sorted(request.provided.items())
    ]
    constraints += [f"{line}\n" for line in request.constraints]
    (work / "constraints.txt").write_text("".join(constraints), encoding="utf-8")
    preferred = [p for p in request.prefer if p.manager == "pip"]
    if preferred:
        entries = [f'[[packages]]\nname = "{p.name}"\nversion = "{p.version}"\n' for p in preferred]
        text = 'lock-version = "1.0"\ncreated-by = "envsync"\n\n' + "\n".join(entries)
        (work / "pylock.toml").write_text(text, encoding="utf-8")
    return frozenset(request.provided)


def _own_wheel(folder: Path, path: str, request: PipRequest) -> str:
    """Write a wheel of the repository into *folder* and return the requirement that means it."""
    wheel, name = request.wheels.get(path), wheel_name(path)
    if wheel is None or not name:
        raise InvalidInput(
            "A pip requirement cannot be locked",
            detail=f"{path}: "
            + ("there is no such file" if wheel is None else "this is not the name of a wheel"),
            hint="A wheel is called name-version-python-abi-platform.whl; keep the name that it "
            "was built with.",
        )
    folder.mkdir()
    file = folder / posixpath.basename(path)
    file.write_bytes(wheel.content)
    return f"{name} @ {file.as_uri()}"


def _stub(work: Path, name: str, version: str) -> Path:
    """Write a wheel that has metadata and nothing else."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = work / f"{stem}-py3-none-any.whl"
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: envsync\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(zipfile.ZipInfo(f"{stem}.dist-info/{member}"), content)
    return path


def _uv_platform(request: PipRequest) -> str:
    if request.platform in _OTHERS:
        return _OTHERS[request.platform]
    minor = int((request.glibc or "2.17").split(".")[1])
    fitting = [known for known in _MANYLINUX if known <= minor] or [_MANYLINUX[0]]
    return f"{_MACHINES[request.platform]}-manylinux_2_{fitting[-1]}"


def _osx(request: PipRequest) -> str:
    return request.osx or DEFAULT_OSX


def _applies(entry: Mapping[str, Any], request: PipRequest) -> bool:
    text = entry.get("marker")
    if not text:
        return True
    try:
        marker = Marker(text)
    except InvalidMarker as error:
        raise Unavailable("uv's answer makes no sense", detail=str(error)) from error
    environment = marker_environment(request.platform, python=request.python_version)
    return marker.evaluate({**environment})


def _wheel(
    entry: Mapping[str, Any],
    parents: Mapping[str, set[str]],
    request: PipRequest,
    work: Path,
    own: Mapping[str, OwnWheel],
) -> tuple[LockedPackage, int, str]:
    """Return the wheel that fits best, its size in bytes, and the day when the index got it.

    What the index does not say is 0 and ''.
    """
    name, version = canonicalize_name(entry["name"]), str(entry.get("version", ""))
    candidates = [*entry.get("wheels", []), *([entry["archive"]] if "archive" in entry else [])]
    by_file = {}
    for candidate in candidates:
        url = _url(candidate, work)
        by_file[unquote(urlsplit(url).path).rpartition("/")[2]] = (url, candidate)
    tags = supported_tags(
        request.platform,
        python=request.python_version,
        glibc=request.glibc or DEFAULT_GLIBC,
        osx=_osx(request),
    )
    best = best_wheel(by_file, tags)
    if best is None:
        raise _no_wheel(name, version, request)
    url, chosen = by_file[best]
    sha256 = chosen.get("hashes", {}).get("sha256", "")
    if not sha256:
        raise Unavailable(
            "The package index has no sha256 for a wheel",
            detail=f"{strip_credentials(url)} cannot be locked without one",
        )
    package = LockedPackage(
        manager="pip",
        name=name,
        version=version or best.split("-")[1],
        platform=request.platform,
        # Where the wheel was put for uv is gone when it is read again.
        url=url_in_repository(own[sha256].path)
        if "archive" in entry and sha256 in own
        else strip_credentials(url).split("#")[0],
        sha256=sha256,
        depends=dict.fromkeys(sorted(parents.get(name, ())), "*"),
    )
    return package, int(chosen.get("size", 0)), _day(chosen.get("upload-time"))


def _day(uploaded: object) -> str:
    if not isinstance(uploaded, datetime.datetime):
        return ""
    return uploaded.astimezone(datetime.UTC).date().isoformat()


def _url(candidate: Mapping[str, Any], work: Path) -> str:
    if "url" in candidate:
        return str(candidate["url"])
    # An index on disk: the path is relative to the file it stands in.
    return (work / str(candidate["path"])).resolve().as_uri()


def _parse_via(text: str) -> dict[str, set[str]]:
    """Return by parent the names it requires, from ``# via`` comments of a requirements file."""
    found: dict[str, set[str]] = {}
    name = ""
    for line in text.splitlines():
        if line and not line[0].isspace() and line[0] not in "-#":
            name = canonicalize_name(re.split(r"[\s=@\[;]", line, maxsplit=1)[0])
        elif line.lstrip().startswith("#"):
            parent = line.lstrip().lstrip("#").strip().removeprefix("via").strip()
            if re.fullmatch(r"[A-Za-z0-9][\w.-]*", parent):
                found.setdefault(canonicalize_name(parent), set()).add(name)
    return found


def _no_wheel(name: str, version: str, request: PipRequest) -> Unsatisfiable:
    return Unsatisfiable(
        "A package has no wheel",
        detail=f"{request.platform}: {name} {version}".rstrip()
        + f" has no wheel for python {request.python_version}; building one would run its code, "
        "and locking runs no code of a package",
        hint="Ask for a version that has wheels, or take the package from a conda channel.",
    )


def _fault(stderr: str, request: PipRequest) -> EnvsyncError:
    text = without_secrets(
        "\n".join(
            line.removeprefix("error: ").replace("  cause: ", "")
            for line in stderr.splitlines()
            if not line.startswith(("Resolved", "Using", "warning:"))
        )
    ).strip()
    if _REFUSED.search(text):
        return NotAllowed("The package index refused access", detail=text)
    if missing := _NO_WHEEL.search(text):
        return _no_wheel(missing.group(1), "", request)
    if "No solution found" in text:
        ours = [
            f"conda provides {name} {version}, and pip may not install another version of it"
            for name, version in request.provided.items()
            if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text)
        ]
        # uv's own hints name options of uv.
        body, _, advice = (text.partition("\n")[2].strip() or text).partition("\n\nhint:")
        hint = "Change the version that conda provides, or the pip requirement." if ours else ""
        if "was found on" in advice:
            hint = (
                "The first index that has a package is the only one asked for it, so that no other "
                "index can slip in its own; put the right index first."
            )
        return Unsatisfiable(
            "No set of wheels satisfies the pip requirements",
            detail="\n".join([f"{request.platform}: {body}", *ours]),
            hint=hint,
        )
    if re.search(r"Couldn't parse|invalid|Expected", text):
        return InvalidInput("A pip requirement cannot be read", detail=text)
    return Unavailable("The package index cannot be reached", detail=text)

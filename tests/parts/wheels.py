"""PyPI wheels, fetched with the machine's own pip and repacked as conda packages."""

from __future__ import annotations

import configparser
import csv
import email.parser
import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.parts.cache import ENVIRONMENT, Unavailable, cache_root
from tests.parts.package import PLACEHOLDER, Entry, File, Package

PYTHON = "3.11"
_SITE_PACKAGES = f"lib/python{PYTHON}/site-packages"
_MACHINES = {"linux-64": "x86_64", "linux-aarch64": "aarch64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel to repack: `subdir` noarch takes the pure one, a platform takes the compiled one."""

    name: str
    version: str
    released: date
    subdir: Literal["noarch", "linux-64", "linux-aarch64"] = "noarch"


def fetch(wheels: Iterable[Wheel]) -> dict[Wheel, Path]:
    """Return the file of every wheel, downloading with pip those that no run had before."""
    wanted = list(wheels)
    found = {wheel: path for wheel in wanted if (path := _cached_file(wheel))}
    batches: dict[tuple[str, int], list[Wheel]] = defaultdict(list)
    seen: dict[tuple[str, str], int] = defaultdict(int)
    for wheel in wanted:
        if wheel not in found:
            # pip takes one version of a name at a time.
            nth = seen[wheel.subdir, wheel.name]
            seen[wheel.subdir, wheel.name] += 1
            batches[wheel.subdir, nth].append(wheel)
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(lambda item: _download(item[0][0], item[1]), batches.items()))
    for wheel in wanted:
        if wheel not in found:
            path = _cached_file(wheel)
            if path is None:
                raise Unavailable(f"pip brought no wheel of {wheel.name} {wheel.version}")
            found[wheel] = path
    return found


def _folder(subdir: str) -> Path:
    return cache_root() / "wheels" / subdir


def _cached_file(wheel: Wheel) -> Path | None:
    for path in sorted(_folder(wheel.subdir).glob("*.whl")):
        name, version, _, _ = parse_wheel_filename(path.name)
        if (name, str(version)) == (canonicalize_name(wheel.name), wheel.version):
            return path
    return None


def _download(subdir: str, wheels: list[Wheel]) -> None:
    folder = _folder(subdir)
    folder.mkdir(parents=True, exist_ok=True)
    platforms = ["any"]
    if subdir != "noarch":
        machine = _MACHINES[subdir]
        platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(28, 4, -1)]
        platforms.append(f"manylinux2014_{machine}")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as aside:
        command = [*_pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--dest", aside, "--python-version", PYTHON]
        command += [f"--platform={platform}" for platform in platforms]
        command += [f"{wheel.name}=={wheel.version}" for wheel in wheels]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise Unavailable(f"pip cannot download wheels for {subdir}: {last}")
        for path in Path(aside).glob("*.whl"):
            path.replace(folder / path.name)


def _pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
    uv = uv or shutil.which("uv")
    if uv is None:
        raise Unavailable("neither pip nor uv is installed beside the running python")
    return [uv, "run", "--quiet", "--no-project", "--with", "pip", "python", "-m", "pip"]


def repack(wheel: Wheel, path: Path) -> Package:
    """Return the conda package with the content of a wheel file."""
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {
            info.filename: (archive.read(info), bool(info.external_attr >> 16 & 0o111))
            for info in archive.infolist()
            if not info.is_dir() and not _is_test(info.filename)
        }
    info_dir = next(name.split("/")[0] for name in members if name.endswith(".dist-info/METADATA"))
    metadata = email.parser.BytesParser().parsebytes(members[f"{info_dir}/METADATA"][0])
    scripts = _console_scripts(members.get(f"{info_dir}/entry_points.txt", (b"", False))[0])
    compiled = wheel.subdir != "noarch"
    site = _SITE_PACKAGES if compiled else "site-packages"
    record = f"{info_dir}/RECORD"
    members[record] = (_kept_rows(members[record][0], members), False)
    members[f"{info_dir}/INSTALLER"] = (b"conda\n", False)
    entries = [
        _entry(name, data, executable, site, compiled)
        for name, (data, executable) in members.items()
    ]
    if compiled:
        entries += [_launcher(script) for script in scripts]
    digest = hashlib.sha256(content).hexdigest()[:7]
    return Package(
        name=wheel.name,
        version=wheel.version,
        build=f"py311h{digest}_0" if compiled else f"pyh{digest}_0",
        released=wheel.released,
        subdir=wheel.subdir,
        noarch=None if compiled else "python",
        depends=tuple(sorted(_depends(metadata, wheel.subdir))),
        entries=tuple(entries),
        entry_points=() if compiled else tuple(scripts),
        license=str(metadata.get("License-Expression") or "LicenseRef-See-Metadata"),
        license_text=_license_text(members, info_dir),
        summary=str(metadata.get("Summary", "")),
    )


def _is_test(name: str) -> bool:
    # Half of the files of the scientific packages; leaving them out makes everything twice as fast.
    # Not all of them: numpy.testing imports a module that lies among the tests.
    path = PurePosixPath(name)
    return "tests" in path.parts[:-1] and (path.name.startswith("test_") or path.suffix != ".py")


def _entry(name: str, data: bytes, executable: bool, site: str, compiled: bool) -> Entry:
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return File(path=f"{site}/{name}", data=data, executable=executable)
    kind, _, rest = rest.partition("/")
    if kind == "scripts":
        folder = "bin" if compiled else "python-scripts"
        first, newline, body = data.partition(b"\n")
        if not first.startswith(b"#!python"):
            return File(path=f"{folder}/{rest}", data=data, executable=True)
        script = f"#!{PLACEHOLDER}/bin/python".encode() + newline + body
        return File(path=f"{folder}/{rest}", data=script, executable=True, placeholder="text")
    root = {"data": "", "headers": f"include/python{PYTHON}/"}.get(kind, f"{site}/")
    return File(path=f"{root}{rest}", data=data, executable=executable)


def _launcher(script: str) -> File:
    name, _, target = (part.strip() for part in script.partition("="))
    module, _, attribute = target.partition(":")
    text = (
        f"#!{PLACEHOLDER}/bin/python{PYTHON}\nimport sys\n\nfrom {module} import "
        f"{attribute.split('.')[0]}\n\nif __name__ == '__main__':\n    sys.exit({attribute}())\n"
    )
    return File(path=f"bin/{name}", data=text.encode(), executable=True, placeholder="text")


def _console_scripts(text: bytes) -> list[str]:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text.decode())
    if not parser.has_section("console_scripts"):
        return []
    return sorted(f"{name} = {target}" for name, target in parser.items("console_scripts"))


def _kept_rows(record: bytes, members: dict[str, tuple[bytes, bool]]) -> bytes:
    rows = [row for row in csv.reader(record.decode().splitlines()) if row and row[0] in members]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def _depends(metadata: Message, subdir: str) -> Iterator[str]:
    environment = {
        "python_version": PYTHON,
        "python_full_version": f"{PYTHON}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_system": "Linux",
        "platform_machine": _MACHINES.get(subdir, "x86_64"),
        "extra": "",
    }
    for text in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            yield f"{name} {_conda_version(requirement.specifier)}".strip()
    if subdir == "noarch":
        requires = SpecifierSet(metadata.get("Requires-Python") or ">=3.7")
        yield f"python {_conda_version(requires)}"
    else:
        yield from (f"python >={PYTHON},<3.12.0a0", f"python_abi {PYTHON}.* *_cp311")
        yield "__glibc >=2.17,<3.0.a0"


def _conda_version(specifiers: SpecifierSet) -> str:
    return ",".join(sorted(str(one).replace("===", "==") for one in specifiers))


def _license_text(members: dict[str, tuple[bytes, bool]], info_dir: str) -> bytes:
    for name in sorted(members):
        if name.startswith(f"{info_dir}/") and "LICEN" in name.upper():
            return members[name][0]
    return b"The wheel has no license file.\n"

"""Docker as a peer: a Dockerfile built and pushed, the engine's own CPU time counted."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import certifi
import rattler

from benchmarks.linker import main as link_packages
from benchmarks.measure import Usage, observed, timed, together
from benchmarks.science import NAME, Science
from tests.parts.engine import Engine
from tests.parts.process import tool

_INSTALLER = (
    "FROM {base}\nCOPY installer /opt/installer\nCOPY ca.crt /etc/ssl/certs/ca-certificates.crt\n"
)
_RUN = """\
FROM {base}
COPY linker.py packages.json /work/
RUN /opt/installer/bin/python /work/linker.py /work/packages.json /opt/env /opt/env /tmp/packages \\
 && rm -r /tmp/packages
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerPeer:
    """Builds and pushes images of the environment with an engine."""

    engine: Engine
    science: Science
    address: str
    """Where containers find the channels."""
    installer: str
    """Reference of an image with Debian, a python and py-rattler."""

    def install_in_image(self, *, cached: bool, name: str = NAME, base: str = "") -> Usage:
        """Build a Dockerfile that installs the packages of an environment, and push.

        *base* is a base image that the installer is put on first, uncounted.
        """
        folder = self._context("run")
        shutil.copy(Path(__file__).with_name("linker.py"), folder)
        (folder / "packages.json").write_text(self.science.packages(self.address, name))
        installer = self.installer
        if base:
            # The engine keeps to what a tag meant when it saw it last.
            self.engine.docker("pull", "--quiet", base)
            installer = make_installer(self.engine, self.science)
        (folder / "Dockerfile").write_text(_RUN.format(base=installer))
        return self._build_and_push(folder, "run", cached=cached)

    def pull(self, image: str) -> Usage:
        """Pull an image; what the registry sent for it is measured as well."""
        return self._with_engine(
            lambda: observed(self.science.registry, lambda: self._docker("pull", image))
        )

    def identity(self, image: str) -> str:
        """Return the id by which the engine knows an image, which outlives its names."""
        return self.engine.docker("inspect", "--format={{.Id}}", image).strip()

    def remove(self, *images: str) -> None:
        """Make the engine forget images and the layers that no other image has."""
        for image in images:
            self._docker("rmi", "--force", image)

    def _context(self, name: str) -> Path:
        folder = self.science.place.folder / f"context-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def _build_and_push(self, folder: Path, name: str, *, cached: bool) -> Usage:
        image = f"{self.science.registry.host}/peer/{name}:latest"
        if not cached:
            self._docker("rmi", "--force", image)
        options = [] if cached else ["--no-cache"]
        words = ["build", *options, "--network=host", f"--tag={image}", str(folder)]
        build = self._with_engine(lambda: self._docker(*words))
        push = self._with_engine(
            lambda: observed(self.science.registry, lambda: self._docker("push", image))
        )
        return together(build, push)

    def _docker(self, *words: str) -> Usage:
        environment = {**self.science.place.environment, "DOCKER_HOST": self.engine.host}
        return timed([tool("docker"), *words], environment=environment)

    def _with_engine(self, run: Callable[[], Usage]) -> Usage:
        before = _engine_seconds(self.engine)
        usage = run()
        return replace(usage, cpu=usage.cpu + _engine_seconds(self.engine) - before)


def make_installer(engine: Engine, science: Science) -> str:
    """Build and push the image that the Dockerfile with an installer begins from."""
    folder = science.place.folder / "context-installer"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    install_here(science, folder / "installer", prefix="/opt/installer", only=_python_alone)
    packages = next((folder / "installer/lib").glob("python3.*")) / "site-packages"
    shutil.copytree(Path(rattler.__file__).parent, packages / "rattler")
    # It asks for authorities even where it will meet none.
    shutil.copy(certifi.where(), folder / "ca.crt")
    (folder / "Dockerfile").write_text(_INSTALLER.format(base=science.base))
    image = f"{science.registry.host}/base/installer:1"
    engine.docker("build", f"--tag={image}", str(folder))
    engine.docker("push", image)
    return image


def install_here(
    science: Science,
    folder: Path,
    *,
    prefix: str = "/opt/env",
    only: Callable[[str], str] = str,
    name: str = NAME,
) -> Usage:
    """Install the environment into a folder of this machine."""
    aside = science.place.folder / "peer"
    aside.mkdir(exist_ok=True)
    listed = aside / "packages.json"
    listed.write_text(only(science.packages(name=name)), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    linker = Path(sys.modules[link_packages.__module__].__file__ or "")
    words = [sys.executable, str(linker), str(listed), str(folder), prefix, str(aside / "cache")]
    return timed(words, environment=science.place.environment)


def _python_alone(listed: str) -> str:
    found = {package["name"]: package for package in json.loads(listed)}
    wanted, todo = dict[str, object](), ["python"]
    while todo:
        name = todo.pop()
        if name in found and name not in wanted:
            wanted[name] = found[name]
            todo += [text.split(" ")[0] for text in found[name]["depends"]]
    return json.dumps(list(wanted.values()))


def _engine_seconds(engine: Engine) -> float:
    """Return the CPU seconds of the engine, its containerd, and all containers so far."""
    ids = ["docker.pid", "run/containerd/containerd.pid"]
    pids = [int((engine.folder / name).read_text()) for name in ids]
    ticks = sum(sum(_ticks(pid)) for pid in pids)
    groups = Path("/sys/fs/cgroup/cpuacct").glob("**/docker/cpuacct.usage")
    return ticks / os.sysconf("SC_CLK_TCK") + sum(int(g.read_text()) for g in groups) / 1e9


def _ticks(pid: int) -> Sequence[int]:
    """Return user and system time of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return [int(field) for field in fields[11:15]]

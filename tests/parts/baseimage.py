"""Base images: Debian from debootstrap, busybox for two platforms, and one made of nothing."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.parts import debs
from tests.parts.cache import ENVIRONMENT, Unavailable, cached, key_of, source_key
from tests.parts.layout import PlatformImage, tar_of, write_layout
from tests.parts.process import tool
from tests.parts.registry import Registry

_SOURCES = source_key("baseimage.py", "layout.py")
# What debootstrap leaves that differs from run to run, tells of the machine, or is not needed.
_DROPPED = (
    *["var/cache", "var/log", "var/lib/apt/lists", "etc/hostname", "etc/resolv.conf"],
    *["etc/machine-id", "usr/share/doc", "usr/share/man", "usr/share/locale", "dev", "proc", "sys"],
    *["tmp", "run", "etc/apt/sources.list"],
)
_APPLETS = ("sh", "cat", "ls", "env", "echo", "true", "false", "test", "id", "sleep", "find")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """An image, or an index of images, in an OCI layout folder under the tag `latest`."""

    name: str
    layout: Path

    def push(self, registry: Registry, *, tag: str = "1", docker_format: bool = False) -> str:
        """Copy it to a registry with skopeo and return `host/base/<name>:<tag>`.

        With `docker_format` it has Docker's media types instead of OCI's, as most public bases do.
        """
        reference = f"{registry.host}/base/{self.name}:{tag}"
        command = [tool("skopeo"), "copy", "--quiet", "--all", "--insecure-policy"]
        command += ["--format=v2s2"] if docker_format else ["--preserve-digests"]
        command += [f"--dest-cert-dir={registry.certificates}"] if registry.ca else []
        command += [] if registry.ca else ["--dest-tls-verify=false"]
        command += [f"--dest-creds={':'.join(registry.login)}"] if registry.login else []
        command += [f"oci:{self.layout}:latest", f"docker://{reference}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"skopeo cannot push {reference}: {done.stderr}")
        return reference


def debian_base() -> BaseImage:
    """Return a minimal Debian of the machine's own release; making it the first time needs root."""
    key = key_of([_SOURCES, debs.release_codename()])
    layout = cached("bases", f"debian-{key}", _make_debian)
    return BaseImage(name="debian", layout=layout)


def busybox_base() -> BaseImage:
    """Return an index of two small images that run, for amd64 and arm64."""
    programs = {
        machine: (debs.unpacked(["busybox-static"], machine) / "bin/busybox").read_bytes()
        for machine in ("amd64", "arm64")
    }

    def build(folder: Path) -> None:
        applets = {f"bin/{name}": "busybox" for name in _APPLETS}
        images = [
            PlatformImage(
                architecture=machine, layers=[tar_of({"bin/busybox": program, **applets})]
            )
            for machine, program in programs.items()
        ]
        write_layout(folder, images)

    layout = cached("bases", f"busybox-{key_of([_SOURCES, *programs.values()])}", build)
    return BaseImage(name="busybox", layout=layout)


@contextmanager
def hollow_base(
    *,
    name: str = "hollow",
    architectures: Sequence[str] = ("amd64", "arm64"),
    layers: int = 2,
    content: str = "",
) -> Iterator[BaseImage]:
    """Make a base that cannot run and needs nothing but Python; other `content`, other digest."""
    with TemporaryDirectory(prefix="envsync-base-") as folder:
        images = [
            PlatformImage(
                architecture=machine,
                layers=[
                    tar_of({f"etc/hollow-{number}": f"{machine} {number} {content}\n".encode()})
                    for number in range(layers)
                ],
            )
            for machine in architectures
        ]
        # A name of its own: that of a temporary folder may be none that a repository can have.
        layout = Path(folder, "hollow")
        layout.mkdir()
        write_layout(layout, images)
        yield BaseImage(name=name, layout=layout)


def _make_debian(folder: Path) -> None:
    if os.geteuid() != 0:
        raise Unavailable("debootstrap needs root")
    root = folder / "root"
    release = debs.release_codename()
    command = [tool("debootstrap"), "--variant=minbase", release, str(root), debs.mirror()]
    # Its scripts call programs that are not in every user's path.
    path = os.pathsep.join([ENVIRONMENT.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    environment = {**ENVIRONMENT, "PATH": path, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"debootstrap failed: {done.stdout[-1000:]}{done.stderr[-500:]}")
    for name in _DROPPED:
        _empty(root / name)
    image = PlatformImage(architecture="amd64", layers=[_tar(root)], command=["/bin/bash"])
    write_layout(folder, [image])
    shutil.rmtree(root)


def _empty(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        path.mkdir()
    else:
        path.unlink(missing_ok=True)


def _tar(root: Path) -> bytes:
    """Return the tree as a tar that is the same for the same packages."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:

        def normal(header: tarfile.TarInfo) -> tarfile.TarInfo:
            header.mtime = 1_700_000_000
            header.uname = header.gname = ""
            if header.name in ("tmp", "var/tmp"):
                header.mode = 0o1777
            return header

        for path in sorted(root.iterdir()):
            # Adding a folder adds what is in it, in sorted order.
            archive.add(path, arcname=path.name, filter=normal)
    return buffer.getvalue()

"""The Dockerfile that describes an image, and builds the same packages without envsync."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envsync.errors import InvalidInput
from envsync.model.conda_pins import pin
from envsync.model.dockerfile import pinned, uses
from envsync.model.document import Faults
from envsync.model.explicit_text import MARK
from envsync.model.exports.source import Exported, Source
from envsync.model.lock import LockedPackage
from envsync.model.spec import SCRATCH

_INSTALLER = "docker.io/mambaorg/micromamba:2"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INSTALL = "uv pip install --no-deps --require-hashes"
_WHEELS = "ghcr.io/astral-sh/uv:latest"


def dockerfile(source: Source, platforms: Sequence[str], prefix: str) -> Exported:
    """Return a Dockerfile for each platform; *prefix* is where images have their environment.

    envsync does not use it. What it builds has the same base, packages and variables; its digest is
    another, for only envsync makes reproducible layers.
    """
    if source.spec.kind == "build":
        return Exported(files={"Dockerfile": _as_locked(source).encode()})
    if source.lock is None:
        raise InvalidInput(
            f"{source.spec.name} is not locked",
            hint=f"Lock it:\n    envsync lock {source.spec.name}",
        )
    if source.spec.kind == "image":
        reference = _at(source.lock.image.location, source.lock.image.digest)
        return Exported(files={"Dockerfile": f"{_head(source)}FROM {reference}\n".encode()})
    alone = len(platforms) == 1
    texts = {platform: _text(source, platform, prefix) for platform in platforms}
    return Exported(
        files={
            "Dockerfile" if alone else f"Dockerfile.{platform}": text.encode()
            for platform, text in texts.items()
        }
    )


def _as_locked(source: Source) -> str:
    """Return a Dockerfile as it is built: on the digests that are locked for its images."""
    build, lock = source.spec.build, source.lock
    if build is None or lock is None:
        return source.dockerfile
    found = uses(build.dockerfile, source.spec.settings.build_arguments, build.file, Faults())
    digests = next(iter(lock.image.bases.values()), {})
    if any(use.key not in digests for use in found):
        return source.dockerfile
    return pinned(build.dockerfile, found, digests)


def _head(source: Source) -> str:
    return "".join(f"# {line}\n" for line in source.about)


def _text(source: Source, platform: str, prefix: str) -> str:
    packages = source.packages[platform]
    lock = source.lock
    base = SCRATCH
    if lock is not None and lock.image.image != SCRATCH:
        found = lock.image.platforms.get(platform)
        base = _at(lock.image.location, found.digest if found else "")
    docker = {"linux-aarch64": "linux/arm64"}.get(platform, "linux/amd64")
    lines = [
        "# syntax=docker/dockerfile:1",
        f"{_head(source)}# It describes what envsync puts into the image, for {platform}. Building",
        "# it gives the same packages and another digest.",
        "",
        f"FROM --platform={docker} {_INSTALLER} AS packages",
        "USER root",
        "COPY <<'EOF' /tmp/conda.lock",
        MARK,
        *(f"{p.url}#sha256:{p.sha256}" for p in packages if p.manager == "conda"),
        "EOF",
        f"RUN micromamba create --yes --prefix {prefix} --file /tmp/conda.lock",
        *_wheels(packages, prefix),
        "",
        f"FROM --platform={docker} {base}" if base != SCRATCH else f"FROM {SCRATCH}",
        f"COPY --from=packages {prefix} {prefix}",
        *_settings(source, prefix),
    ]
    return "\n".join(lines) + "\n"


def _wheels(packages: Sequence[LockedPackage], prefix: str) -> list[str]:
    wheels = [package for package in packages if package.manager == "pip"]
    if not wheels:
        return []
    return [
        f"COPY --from={_WHEELS} /uv /usr/local/bin/uv",
        "COPY <<'EOF' /tmp/wheels.txt",
        *(f"{p.name} @ {p.url} --hash=sha256:{p.sha256}  # {pin(p)}" for p in wheels),
        "EOF",
        f"RUN {_INSTALL} --python {prefix}/bin/python --requirements /tmp/wheels.txt",
    ]


def _settings(source: Source, prefix: str) -> list[str]:
    variables: Mapping[str, str] = {
        **(source.spec.conda.variables if source.spec.conda else {}),
        **source.spec.settings.environment_variables,
    }
    path = _PATH if source.spec.image == SCRATCH else "$PATH"
    lines = [f"ENV PATH={prefix}/bin:{path} CONDA_PREFIX={prefix} CONDA_DEFAULT_ENV={prefix}"]
    for name in sorted(variables):
        several = "\n" in variables[name]
        value = "its value has several lines" if several else _quoted(variables[name])
        lines.append(f"# ENV {name}: {value}" if several else f"ENV {name}={value}")
    if source.spec.settings.user:
        lines.append(f"USER {source.spec.settings.user}")
    return lines


def _quoted(text: str) -> str:
    for character in '\\"$':
        text = text.replace(character, f"\\{character}")
    return f'"{text}"'


def _at(image: str, digest: str) -> str:
    name = image.partition("@")[0]
    return f"{name}@{digest}" if digest else image

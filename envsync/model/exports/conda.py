"""Exports for conda and its relatives: explicit locks, pinned environment files, requirements."""

from __future__ import annotations

from collections.abc import Sequence

from envsync.model.channels import channel_urls, strip_credentials
from envsync.model.conda_pins import channel_text, pin
from envsync.model.explicit_text import render_explicit
from envsync.model.exports.source import Exported, Source
from envsync.model.lock import LockedPackage
from envsync.model.pypi_names import distributions
from envsync.model.yaml_text import Plain, render_yaml


def explicit(source: Source, platforms: Sequence[str]) -> Exported:
    """Return an explicit lock for each platform: URLs with SHA-256, wheels as conda-lock has them.

    ``conda create --file``, ``micromamba create --file`` and ``conda-lock install`` read it.
    """
    return Exported(
        files={
            f"conda-{platform}.lock": render_explicit(
                source.packages[platform], platform, about=source.about
            ).encode()
            for platform in platforms
        }
    )


def environment_file(source: Source, platforms: Sequence[str]) -> Exported:
    """Return a conda environment file for each platform, every package pinned to its build."""
    alone = len(platforms) == 1
    return Exported(
        files={
            "environment.yml" if alone else f"environment-{platform}.yml": _environment(
                source, platform
            )
            for platform in platforms
        }
    )


def requirements(source: Source, platforms: Sequence[str]) -> Exported:
    """Return a requirements file for each platform: its wheels with hashes.

    Distributions that conda packages bring stand in comments: pip checks hashes for all lines or
    for none, and their wheels are not what is in the image.
    """
    alone = len(platforms) == 1
    return Exported(
        files={
            "requirements.txt" if alone else f"requirements-{platform}.txt": _requirements(
                source, platform
            )
            for platform in platforms
        },
        lost=("conda packages stand in comments: pip cannot install them",),
    )


def _environment(source: Source, platform: str) -> bytes:
    packages = source.packages[platform]
    listed = _channels(source, packages, platform)
    # Under strict priority, the first channel would hide what comes from a later one.
    dependencies: list[Plain] = [
        f"{channel_text(p.channel)}::{pin(p)}" if listed[p.channel] else pin(p)
        for p in packages
        if p.manager == "conda"
    ]
    wheels: list[Plain] = [
        f"{pin(package)} --hash=sha256:{package.sha256}"
        for package in packages
        if package.manager == "pip"
    ]
    document: dict[str, Plain] = {
        "name": source.spec.name,
        "channels": [channel_text(url) for url in listed],
        "dependencies": [*dependencies, *([{"pip": wheels}] if wheels else [])],
    }
    if source.spec.conda is not None and source.spec.conda.variables:
        document["variables"] = dict(source.spec.conda.variables)
    return (_comments(source, platform) + render_yaml(document)).encode()


def _channels(source: Source, packages: Sequence[LockedPackage], platform: str) -> dict[str, int]:
    """Return the URLs of the channels in the order of the spec, then others, with their places."""
    asked = [
        strip_credentials(url)
        for channel in source.channels
        for url in channel_urls(channel, platform=platform, root="/")
    ]
    found = dict.fromkeys(p.channel for p in packages if p.manager == "conda")
    ordered = [url for url in dict.fromkeys(asked) if url in found]
    ordered += [url for url in found if url not in ordered]
    return {url: place for place, url in enumerate(ordered)}


def _requirements(source: Source, platform: str) -> bytes:
    lines = []
    for package in source.packages[platform]:
        if package.manager == "pip":
            lines += [f"{pin(package)} \\", f"    --hash=sha256:{package.sha256}"]
    brought = [
        f"#   {name}=={package.version}  (conda {package.name} {package.build})"
        for package in source.packages[platform]
        for name in distributions(package)
    ]
    if brought:
        lines += ["", "# Brought by conda packages of the image:", *brought]
    return (_comments(source, platform) + "\n".join(lines).strip("\n") + "\n").encode()


def _comments(source: Source, platform: str) -> str:
    return "".join(f"# {line}\n" for line in (*source.about, f"platform {platform}"))

"""Rules about where things come from: channels, indexes, registries, base images, and code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from envsync.errors import InvalidInput
from envsync.model.channels import channel_urls, sources_of, strip_credentials
from envsync.model.config import CONFIG_FILE, LAYOUT_HOST, LOCKS
from envsync.model.dockerfile import uses
from envsync.model.document import Faults
from envsync.model.lock import IMAGE_FILE, LockedPackage
from envsync.model.names import PLATFORMS
from envsync.model.own_wheels import path_in_repository
from envsync.model.pip_lines import sort_pip_lines
from envsync.model.policy import Breach
from envsync.model.reference import ImageReference, names_environment, parse_image_reference
from envsync.model.spec import SCRATCH
from envsync.planning.policy_case import Case, few, listed


def channels(case: Case) -> Iterator[Breach]:
    """Yield channels that are not allowed: those of packages, and those that the spec names."""
    rule = case.policy.channels
    if rule is None or case.spec.conda is None:
        return
    says = f"allows {listed(rule.texts)}"
    globs = {url for text in rule.texts for url in _channel_urls(case, text)}
    by_channel: dict[str, list[str]] = {}
    for package in case.packages:
        if package.manager == "conda" and not _fits(package.channel, globs):
            by_channel.setdefault(package.channel, []).append(package.name)
    for channel, names in sorted(by_channel.items()):
        yield case.breach(
            "channels", rule.where, says, f"{few(names, 'comes', 'come')} from {channel}",
            case.relock("Take the channel out of the spec and lock again"),
        )  # fmt: skip
    conda = case.spec.conda
    for channel in sources_of(conda.channels or case.rules.config.channels, conda.dependencies):
        # What a variable of the machine completes is known when it is locked.
        urls = () if "$" in channel else _channel_urls(case, channel)
        if not all(_fits(url, globs) for url in urls):
            own = channel not in conda.channels and channel in case.rules.config.channels
            file = CONFIG_FILE if own and not conda.channels else case.written
            yield case.breach(
                "channels", rule.where, says,
                f"{file} names the channel {strip_credentials(channel)}",
                "Name an allowed one, or let the owners of the policy allow it.",
            )  # fmt: skip


def _channel_urls(case: Case, text: str) -> tuple[str, ...]:
    """Return the URLs of a channel on any platform, globs staying globs."""
    found = (
        url
        for platform in PLATFORMS
        for url in channel_urls(
            text, platform=platform, root=case.rules.root, alias=case.rules.channel_alias
        )
    )
    return tuple(dict.fromkeys(map(strip_credentials, found)))


def wheel_urls(case: Case) -> Iterator[Breach]:
    """Yield wheels of an index that come from somewhere else; those of the repository do not."""
    rule = case.policy.wheel_urls
    if rule is None:
        return
    by_host: dict[str, list[LockedPackage]] = {}
    for package in case.packages:
        own = path_in_repository(package.url)
        if package.manager == "pip" and not own and not _fits(package.url, rule.texts):
            by_host.setdefault(package.origin, []).append(package)
    for host, packages in sorted(by_host.items()):
        yield case.breach(
            "wheel_urls", rule.where, f"allows {listed(rule.texts)}",
            f"{few([p.name for p in packages], 'comes', 'come')} from {host}",
            case.relock("Take them from an allowed index and lock again"),
        )  # fmt: skip


def registries(case: Case) -> Iterator[Breach]:
    """Yield images that come from another registry."""
    rule = case.policy.registries
    if rule is None:
        return
    says = f"allows {listed(rule.texts)}"
    hint = "Choose an image of an allowed registry."
    for text, what in _images(case).items():
        image = _parsed(text)
        if image is None:
            yield case.breach("registries", rule.where, says, f"{what} is {text}", hint)
        elif not _own(case, text) and not _fits(image.registry, rule.texts):
            found = f"{what} {text} comes from {image.registry}"
            yield case.breach("registries", rule.where, says, found, hint)


def base_images(case: Case) -> Iterator[Breach]:
    """Yield images that are not allowed, by their name in full."""
    rule = case.policy.base_images
    if rule is None:
        return
    says = f"allows {listed(rule.texts)}"
    for text, what in _images(case).items():
        image = _parsed(text)
        names = _names(image) if image is not None else ()
        if not _own(case, text) and not any(_fits(name, rule.texts) for name in names):
            found = f"{what} is {names[-1] if names else text}"
            yield case.breach(
                "base_images", rule.where, says, found, "Choose an image that is allowed."
            )


def _images(case: Case) -> dict[str, str]:
    """Return every image that the environment stands on, and what it is."""
    spec, lock, found = case.spec, case.lock, dict[str, str]()
    if spec.build is not None and spec.build.remote:
        return {spec.build.path: "its build context, whose images nobody has locked,"}
    if spec.build is not None:
        for use in uses(spec.build.dockerfile, spec.settings.build_arguments, "", Faults()):
            found.setdefault(use.image, f"an image of {spec.build.file}")
    what = "the image" if spec.kind == "image" else "the base image"
    if spec.image not in {None, SCRATCH} and not names_environment(spec.image or ""):
        found[spec.image or ""] = what
    if lock is None:
        return found
    file = f"{LOCKS}/{spec.name}/{IMAGE_FILE}"
    if lock.image.location not in {"", SCRATCH}:
        found.setdefault(lock.image.location, f"{what} in {file}")
    for images in lock.image.bases.values():
        for key in images:
            found.setdefault(key.partition(" ")[0], f"an image in {file}")
    return found


def _parsed(text: str) -> ImageReference | None:
    try:
        return parse_image_reference(text)
    except InvalidInput:
        return None


def _names(image: ImageReference) -> tuple[str, str]:
    """Return an image without and with what decides which one it is.

    A tag beside a digest decides nothing, so no rule can be satisfied by it.
    """
    name = f"{image.registry}/{image.repository}"
    return name, f"{name}@{image.digest}" if image.digest else f"{name}:{image.tag}"


def _own(case: Case, text: str) -> bool:
    """Tell whether *text* is an environment of this repository, in the policy's own registry."""
    own = case.policy.own_registry or LAYOUT_HOST
    named = names_environment(case.spec.image or "")
    return (
        named
        and case.lock is not None
        and text == case.lock.image.source
        and (text.startswith(f"{own}/"))
    )


def wheels_only(case: Case) -> Iterator[Breach]:
    """Yield what runs code of a package or of the repository while an image is made."""
    rule = case.policy.wheels_only
    if rule is None:
        return
    where = rule.where
    says = "lets nothing be installed by running its code"
    if case.spec.build is not None:
        path = case.spec.build.path if case.spec.build.remote else case.spec.build.file
        yield case.breach(
            "wheels_only", where, says, f"{path} runs commands",
            "Use 'image' and 'conda_file' instead of 'build'.",
        )  # fmt: skip
    for line, reason in sort_pip_lines(case.spec.conda.pip if case.spec.conda else ()).refused:
        yield case.breach(
            "wheels_only", where, says, f"{case.written} asks {line}: {reason}",
            "Ask for a version that has wheels.",
        )  # fmt: skip


def _fits(text: str, globs: Iterable[str]) -> bool:
    """Tell whether one of *globs* means *text*; a host is compared with a host alone.

    Otherwise ``https://*.example.org/*`` would mean ``https://evil.test/x.example.org/y``.
    """
    host, path = _host_and_path(text)
    return any(
        glob == "*" or (fnmatchcase(host, first) and fnmatchcase(path, rest))
        for glob in globs
        for first, rest in [_host_and_path(glob)]
    )


def _host_and_path(text: str) -> tuple[str, str]:
    start = text.find("://") + 3 if "://" in text else 0
    end = text.find("/", start)
    return (text, "") if end < 0 else (text[:end], text[end + 1 :])

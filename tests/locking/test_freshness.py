from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from envsync.adapters.solving.rattler_match import matches
from envsync.model.config import Config
from envsync.model.lock import BasePlatform, ImageLock, Lock, LockedPackage, Manager
from envsync.model.request import request_hash
from envsync.model.spec import BuildContext, CondaFile, Settings, Spec
from envsync.planning.freshness import LockRules, Stale, freshness

CONFIG = Config(platforms=("linux-64",))
RULES = LockRules(config=CONFIG, matches=matches, root="/repository")
DIGEST = "sha256:" + "d" * 64
CHANNEL = "https://conda.anaconda.org/conda-forge"


def package(
    name: str, version: str, *, depends: dict[str, str] | None = None, channel: str = CHANNEL,
    manager: Manager = "conda", platform: str = "linux-64",
) -> LockedPackage:  # fmt: skip
    file = f"{name}-{version}-h1_0.conda" if manager == "conda" else f"{name}-{version}-py3.whl"
    return LockedPackage(
        manager=manager, name=name, version=version, platform=platform, sha256="0" * 64,
        build="h1_0" if manager == "conda" else "", url=f"{channel}/noarch/{file}",
        depends=depends or {},
    )  # fmt: skip


PACKAGES = (
    package("libblas", "3.9.0"),
    package("numpy", "1.26.4", depends={"python": ">=3.11,<3.12.0a0", "libblas": ">=3.9.0,<4.0a0"}),
    package("python", "3.11.9", depends={"__glibc": ">=2.17,<3.0.a0", "__unix": ""}),
    package("httpx", "0.28.1", manager="pip", depends={"idna": "*"}),
    package("idna", "3.10", manager="pip"),
)
SPEC = Spec(
    name="train",
    path="environments/train/environment.yaml",
    image="debian:12",
    conda=CondaFile(
        channels=("conda-forge",),
        dependencies=("python=3.11", "numpy >=1.26"),
        pip=("httpx>=0.27",),
    ),
)


def lock_of(spec: Spec = SPEC, packages: tuple[LockedPackage, ...] = PACKAGES) -> Lock:
    return Lock(
        image=ImageLock(
            request=request_hash(spec, CONFIG), image="debian:12", digest=DIGEST, conda_lock="1",
            platforms={"linux-64": BasePlatform(digest=DIGEST, glibc="2.36")},
        ),
        packages={"linux-64": packages}, channels=("conda-forge",), conda_lock="1",
    )  # fmt: skip


def why(spec: Spec = SPEC, lock: Lock | None = None) -> list[tuple[str, str]]:
    """Check with a request hash that does not match, so without the shortcut."""
    lock = lock or lock_of()
    slow = replace(lock, image=replace(lock.image, request="0" * 64))
    return [(reason.kind, str(reason)) for reason in freshness(spec, slow, RULES)]


def conda(change: Callable[[CondaFile], CondaFile]) -> Spec:
    assert SPEC.conda is not None
    return replace(SPEC, conda=change(SPEC.conda))


def test_a_lock_of_the_same_request_is_fresh_with_and_without_the_shortcut() -> None:
    assert freshness(SPEC, lock_of(), RULES) == ()
    assert why() == []


def test_a_spec_may_change_in_ways_that_the_lock_satisfies() -> None:
    turned = conda(lambda c: replace(c, dependencies=("numpy >=1.20,<2", "python >=3.10")))
    assert request_hash(turned, CONFIG) != request_hash(SPEC, CONFIG)
    assert freshness(turned, lock_of(), RULES) == ()


CASES: dict[str, tuple[Spec, Lock, str, str]] = {
    "version": (
        conda(lambda c: replace(c, dependencies=("python", "numpy >=2"))), lock_of(),
        "lock_unsatisfied",
        "numpy 1.26.4 h1_0 is locked, the spec asks numpy >=2 (linux-64)",
    ),
    "new package": (
        conda(lambda c: replace(c, dependencies=(*c.dependencies, "scipy"))), lock_of(),
        "lock_unsatisfied", "scipy is not locked, the spec asks scipy (linux-64)",
    ),
    "package taken out": (
        conda(lambda c: replace(c, dependencies=("python",))), lock_of(),
        "lock_unsatisfied", "numpy is locked, nothing asks for it any more (linux-64)",
    ),
    "pip version": (
        conda(lambda c: replace(c, pip=("httpx<0.28",))), lock_of(),
        "lock_unsatisfied", "httpx 0.28.1 is locked, the spec asks httpx<0.28 (linux-64)",
    ),
    "pip name": (
        conda(lambda c: replace(c, pip=(*c.pip, "rich"))), lock_of(),
        "lock_unsatisfied", "rich is not locked, the spec asks rich (linux-64)",
    ),
    "dependency missing": (
        SPEC, lock_of(packages=PACKAGES[1:]),
        "lock_unsatisfied", "libblas is not locked, numpy asks libblas >=3.9.0,<4.0a0 (linux-64)",
    ),
    "dependency too old": (
        SPEC, lock_of(packages=(package("libblas", "3.8.0"), *PACKAGES[1:])),
        "lock_unsatisfied",
        "libblas 3.8.0 h1_0 is locked, numpy asks libblas >=3.9.0,<4.0a0 (linux-64)",
    ),
    "wheel's dependency missing": (
        SPEC, lock_of(packages=PACKAGES[:-1]),
        "lock_unsatisfied", "idna is not locked, httpx asks idna * (linux-64)",
    ),
    "base too old": (
        SPEC,
        replace(lock_of(), image=replace(
            lock_of().image, platforms={"linux-64": BasePlatform(digest=DIGEST, glibc="2.12")})),
        "lock_unsatisfied",
        "the machine has __glibc 2.12, python asks __glibc >=2.17,<3.0.a0 (linux-64)",
    ),
    "graphics card": (
        conda(lambda c: replace(c, dependencies=(*c.dependencies, "__cuda >=12"))), lock_of(),
        "lock_unsatisfied", "the machine has no __cuda, the spec asks __cuda >=12 (linux-64)",
    ),
    "virtual packages": (
        replace(SPEC, settings=Settings(virtual_packages={"__cuda": "12.4"})), lock_of(),
        "lock_unsatisfied",
        "locked for machines with nothing special, the spec says __cuda 12.4",
    ),
    "channels": (
        conda(lambda c: replace(c, channels=("bioconda", "conda-forge"))), lock_of(),
        "lock_unsatisfied",
        "channels conda-forge are locked, the spec says bioconda, conda-forge",
    ),
    "package's channel": (
        conda(lambda c: replace(c, dependencies=("python", "pytorch::numpy"))), lock_of(),
        "lock_unsatisfied",
        f"numpy is locked from {CHANNEL}, the spec asks pytorch::numpy (linux-64)",
    ),
    "base image": (
        replace(SPEC, image="debian:13"), lock_of(),
        "lock_unsatisfied", "the base debian:12 is locked, the spec says debian:13",
    ),
    "new platform": (
        replace(SPEC, settings=Settings(platforms=("linux-64", "osx-arm64"))), lock_of(),
        "lock_platform_missing", "nothing is locked for osx-arm64 (osx-arm64)",
    ),
    "platform gone": (
        SPEC,
        replace(lock_of(), packages={"linux-64": PACKAGES, "linux-aarch64": ()}),
        "lock_unsatisfied", "linux-aarch64 is locked, the spec is not for it (linux-aarch64)",
    ),
    "base's platform": (
        SPEC, replace(lock_of(), image=replace(lock_of().image, platforms={})),
        "lock_platform_missing", "the base image has no digest for linux-64 (linux-64)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_lock_that_does_not_satisfy_says_why(case: str) -> None:
    spec, lock, kind, text = CASES[case]
    assert (kind, text) in why(spec, lock)


def test_a_package_from_another_channel_is_found_even_when_the_request_is_the_same() -> None:
    evil = package("numpy", "1.26.4", channel="https://evil.test/conda-forge")
    lock = lock_of(packages=(PACKAGES[0], evil, *PACKAGES[2:]))
    (reason, *_) = freshness(SPEC, lock, RULES)
    assert str(reason) == (
        "numpy is locked from https://evil.test/conda-forge, which is no channel of the spec "
        "(linux-64)"
    )


def test_two_files_that_do_not_belong_together_are_found() -> None:
    mixed = replace(lock_of(), conda_lock="2")
    (reason,) = freshness(SPEC, mixed, RULES)
    assert reason.kind == "lock_integrity"


def test_what_was_never_locked_is_missing() -> None:
    assert freshness(SPEC, None, RULES) == (
        Stale(kind="lock_missing", platform="", text="it was never locked"),
    )


def test_a_build_context_needs_the_digests_of_the_images_that_its_dockerfile_names() -> None:
    text = "FROM debian:12 AS a\nFROM a\nCOPY --from=alpine:3 / /\n"
    spec = Spec(name="x", path="p", build=BuildContext(path="docker", dockerfile=text))

    def why(**bases: dict[str, str]) -> list[str]:
        locked = {platform.replace("_", "-"): images for platform, images in bases.items()}
        lock = Lock(image=ImageLock(request="1" * 64, image="", bases=locked))
        return [str(stale) for stale in freshness(spec, lock, RULES)]

    both = {"debian:12": "sha256:1", "alpine:3": "sha256:2"}
    assert [stale.kind for stale in freshness(spec, None, RULES)] == ["lock_missing"]
    assert why(linux_64=both) == []
    assert why() == ["nothing is locked for linux-64 (linux-64)"]
    assert why(linux_64={**both, "x:1": "sha256:3"}) == [
        "x:1 is locked, docker/Dockerfile does not ask it any more (linux-64)"
    ]
    assert why(linux_64={"debian:12": "sha256:1"}) == [
        "alpine:3 has no digest, docker/Dockerfile asks it (linux-64)"
    ]
    assert why(linux_64=both, linux_aarch64=both) == [
        "linux-aarch64 is locked, the spec is not for it (linux-aarch64)"
    ]


def test_a_build_context_at_a_url_needs_no_lock() -> None:
    spec = Spec(name="x", path="p", build=BuildContext(path="https://example.org/x.git"))
    assert freshness(spec, None, RULES) == ()


def test_markers_and_conda_decide_what_pip_has_to_bring() -> None:
    spec = conda(
        lambda c: replace(c, pip=("httpx", "numpy>=1", "pywin32 ; sys_platform == 'win32'"))
    )
    assert why(spec) == []


def test_an_image_environment_is_fresh_when_its_platforms_have_digests() -> None:
    spec = replace(SPEC, conda=None, settings=Settings(platforms=("linux-64", "osx-arm64")))
    image = replace(lock_of().image, conda_lock="")
    assert freshness(spec, Lock(image=image), RULES) == ()
    (reason,) = freshness(spec, Lock(image=replace(image, platforms={})), RULES)
    assert reason.kind == "lock_platform_missing"

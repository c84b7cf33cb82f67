"""The work of locking: base images, conda packages, wheels, and the bytes of the lock."""

from __future__ import annotations

import datetime
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from envsync.errors import EnvsyncError, InvalidInput
from envsync.model.canonical import sha256_hex
from envsync.model.channels import strip_credentials
from envsync.model.config import LOCKS, Config
from envsync.model.lock import ImageLock, Lock, LockedPackage
from envsync.model.lock_text import render_conda_lock, render_image
from envsync.model.names import IMAGE_PLATFORMS
from envsync.model.own_wheels import url_in_repository
from envsync.model.pypi_names import provided
from envsync.model.reference import names_environment, parse_environment_reference
from envsync.model.spec import SCRATCH, CondaFile, Spec
from envsync.model.virtual_packages import virtual_packages
from envsync.operations.base_images import Base, resolve_base
from envsync.operations.lock_images import locked_images
from envsync.planning.freshness import LockRules, Stale
from envsync.ports.bases import FindEnvironment, FindGlibc, OpenRegistry
from envsync.ports.locks import ContentHashes, LockFiles, ParseLock, WriteLocks
from envsync.ports.progress import Progress
from envsync.ports.solver import (
    CondaRequest,
    CondaSolver,
    OwnWheel,
    PipRequest,
    PipResolver,
    Solution,
)

_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LockChoices:
    """What a run of `lock` may change."""

    upgrade: bool = False
    """Choose everything anew, base images too."""
    packages: frozenset[str] = frozenset()
    """Names of conda packages or distributions to choose anew, and what that forces."""
    exclude_newer: datetime.datetime | None = None
    """What a solve may not see; a lock that is satisfied stays as it is."""

    @property
    def chooses_anew(self) -> bool:
        """Whether anything is chosen anew although it is locked."""
        return self.upgrade or bool(self.packages)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockTools:
    """The outside that locking needs."""

    conda: CondaSolver
    pip: PipResolver
    open_registry: OpenRegistry
    find_glibc: FindGlibc
    find_environment: FindEnvironment
    parse: ParseLock
    write: WriteLocks
    content_hashes: ContentHashes
    progress: Progress
    now: Callable[[], datetime.datetime]


@dataclass(slots=True, kw_only=True)
class LockWork:
    """One environment on its way to a lock."""

    spec: Spec
    old: Lock | None
    why: tuple[Stale, ...]
    request: str
    platforms: tuple[str, ...]
    base: Base = field(default_factory=Base)
    packages: dict[str, tuple[LockedPackage, ...]] = field(default_factory=dict)
    images: dict[str, dict[str, str]] = field(default_factory=dict)
    """Those that a Dockerfile names, by platform."""
    channels: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)
    licenses: dict[str, str] = field(default_factory=dict)
    released: dict[str, str] = field(default_factory=dict)
    chosen: str = ""
    """See `envsync.model.lock.ImageLock.chosen`."""
    source: str = ""
    """The environment whose lock was taken over, '' when it was solved."""
    warnings: list[str] = field(default_factory=list)
    error: EnvsyncError | None = None
    wheels: Mapping[str, OwnWheel] = field(default_factory=dict)
    """Wheels of the repository, by their path as written."""

    @property
    def based(self) -> tuple[str, ...]:
        """The platforms of the base image that the lock has to name."""
        if self.spec.image in {None, SCRATCH}:
            return ()
        if self.spec.kind == "image":
            return self.platforms
        return tuple(platform for platform in self.platforms if platform in IMAGE_PLATFORMS)

    @property
    def unsolved(self) -> tuple[str, ...]:
        """The platforms that no packages are known for yet."""
        if self.spec.conda is None:
            return ()
        return tuple(platform for platform in self.platforms if platform not in self.packages)

    def keep(self, lock: Lock) -> None:
        """Take over what *lock* has for the platforms of this environment."""
        self.packages = {p: lock.packages[p] for p in self.platforms if p in lock.packages}
        self.sizes = dict(lock.image.sizes)
        self.licenses, self.released = dict(lock.image.licenses), dict(lock.image.released)
        self.chosen = lock.image.chosen
        self.images = {p: dict(images) for p, images in lock.image.bases.items()}
        found = {p: lock.image.platforms[p] for p in self.based if p in lock.image.platforms}
        self.base = Base(digest=lock.image.digest, platforms=found, source=lock.image.source)

    def share(self, leader: LockWork) -> None:
        """Take over everything that was found out for the same request."""
        self.base, self.packages, self.sizes = leader.base, leader.packages, leader.sizes
        self.licenses, self.released = leader.licenses, leader.released
        self.images, self.chosen = leader.images, leader.chosen
        self.warnings, self.error = leader.warnings, leader.error
        self.source = leader.source or leader.spec.name

    def take(self, platform: str, solution: Solution) -> None:
        """Add what a solver found."""
        found = (*self.packages.get(platform, ()), *solution.packages)
        self.packages[platform] = tuple(sorted(found, key=lambda p: (p.manager, p.name)))
        self.sizes.update(solution.sizes)
        self.licenses.update(solution.licenses)
        self.released.update(solution.released)
        self.warnings += [warning for warning in solution.warnings if warning not in self.warnings]

    def preferred(self, platform: str, choices: LockChoices) -> tuple[LockedPackage, ...]:
        """Return what is locked now and should stay where the request allows it."""
        if self.old is None or choices.upgrade:
            return ()
        packages = self.old.packages.get(platform, ())
        return tuple(p for p in packages if p.name not in choices.packages)

    def assumed(self, platform: str) -> dict[str, str]:
        """Return the virtual packages of the machines that will run the environment."""
        base = self.base.platforms.get(platform)
        return virtual_packages(
            platform,
            glibc=base.glibc if base else None,
            spec=self.spec.settings.virtual_packages,
        )


def solve(
    works: Sequence[LockWork], rules: LockRules, tools: LockTools, choices: LockChoices
) -> None:
    """Find base images, packages and wheels for all *works*; errors stand in the works."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        list(pool.map(lambda work: _resolve_base(work, tools, choices), works))
    jobs = [(work, platform) for work in _well(works) for platform in work.unsolved]
    _solve_conda(jobs, rules.config, tools, choices)
    _solve_pip([(w, p) for w, p in jobs if w.error is None], tools, choices)


def render(work: LockWork, tools: LockTools) -> tuple[Lock, LockFiles]:
    """Return the lock of a finished work, and its bytes."""
    return lock_files(work, tools.content_hashes)


def lock_files(work: LockWork, content_hashes: ContentHashes) -> tuple[Lock, LockFiles]:
    """Return the lock of a finished work, and its bytes; nothing of the outside is asked."""
    conda, name = work.spec.conda, work.spec.name
    files = {p.file_name for packages in work.packages.values() for p in packages}
    lock = Lock(
        image=ImageLock(
            request=work.request,
            image=work.spec.image or "",
            source=work.base.source,
            digest=work.base.digest,
            platforms=work.base.platforms,
            bases=work.images,
            virtual_packages=work.spec.settings.virtual_packages,
            sizes={file: size for file, size in work.sizes.items() if file in files},
            licenses={file: text for file, text in work.licenses.items() if file in files},
            released={file: day for file, day in work.released.items() if file in files},
            chosen=work.chosen,
        ),
        packages=_by_own_paths(work),
        channels=work.channels,
    )
    written = None
    if conda is not None:
        sources = [posixpath.relpath(conda.path, f"{LOCKS}/{name}")] if conda.path else []
        hashes = content_hashes(conda, work.channels, lock.platforms)
        written = render_conda_lock(lock, content_hash=hashes, sources=sources)
    own = sha256_hex(written) if written is not None else ""
    image = replace(lock.image, conda_lock=own)
    top = render_image(image)
    lock = replace(lock, image=image, conda_lock=own, sha256=sha256_hex((written or b"") + top))
    return lock, LockFiles(conda_lock=written, image=top)


def _by_own_paths(work: LockWork) -> dict[str, tuple[LockedPackage, ...]]:
    """Return the packages; a wheel of the repository is named by where this environment has it."""
    if not work.wheels:
        return work.packages
    urls = {
        sha256_hex(wheel.content): url_in_repository(wheel.path) for wheel in work.wheels.values()
    }
    return {
        platform: tuple(
            replace(p, url=urls.get(p.sha256, p.url)) if p.manager == "pip" else p for p in packages
        )
        for platform, packages in work.packages.items()
    }


def _well(works: Iterable[LockWork]) -> list[LockWork]:
    return [work for work in works if work.error is None]


def _resolve_base(work: LockWork, tools: LockTools, choices: LockChoices) -> None:
    spec, old = work.spec, work.old
    try:
        if spec.kind == "conda" and spec.os_type == "windows":
            raise InvalidInput(
                "Packages cannot be put on a Windows image",
                detail=f"{spec.path}: images with conda packages are made for linux only",
                hint="Use the image as it is, without `conda_file`, or `os_type: linux`.",
            )
        if spec.build is not None:
            locked = work.images or (old.image.bases if old else {})
            kept = {} if choices.upgrade else locked
            tools.progress.step(spec.name, f"resolving the images of {spec.build.file}")
            work.images = locked_images(spec, work.platforms, kept, tools.open_registry)
        if not work.based:
            return
        # A tag that has moved is no reason to lock again; only an upgrade follows it.
        if old and old.image.image == spec.image and not choices.upgrade and not work.base.digest:
            found = {p: old.image.platforms[p] for p in work.based if p in old.image.platforms}
            work.base = Base(digest=old.image.digest, platforms=found, source=old.image.source)
        missing = [p for p in work.based if p not in work.base.platforms]
        if not missing:
            return
        tools.progress.step(spec.name, f"resolving {spec.image}")
        source = work.base.source
        if not source and spec.image and names_environment(spec.image):
            source = str(tools.find_environment(parse_environment_reference(spec.image)))
        # What the spec says about glibc itself needs no look into the image.
        searched = spec.conda is not None and "__glibc" not in spec.settings.virtual_packages
        found_base = resolve_base(
            source or spec.image or SCRATCH,
            missing,
            open_registry=tools.open_registry,
            find_glibc=tools.find_glibc if searched else None,
            digest=work.base.digest,
            known=work.base.platforms,
        )
        platforms = {**work.base.platforms, **found_base.platforms}
        work.base = Base(digest=found_base.digest, platforms=platforms, source=source)
    except EnvsyncError as error:
        work.error = error


def _conda(spec: Spec) -> CondaFile:
    return spec.conda or CondaFile()


def _solve_conda(
    jobs: Sequence[tuple[LockWork, str]], config: Config, tools: LockTools, choices: LockChoices
) -> None:
    requests = []
    for work, platform in jobs:
        tools.progress.step(work.spec.name, f"solving for {platform}")
        requests.append(
            CondaRequest(
                platform=platform,
                channels=_conda(work.spec).channels or config.channels,
                dependencies=_conda(work.spec).dependencies,
                virtual_packages=work.assumed(platform),
                prefer=work.preferred(platform, choices),
                exclude_newer=choices.exclude_newer,
            )
        )
    solutions = tools.conda.solve(requests) if requests else []
    for (work, platform), solution in zip(jobs, solutions, strict=True):
        if isinstance(solution, EnvsyncError):
            work.error = work.error or _explained(solution, work, platform)
        elif isinstance(solution, Exception):
            raise solution
        else:
            work.take(platform, solution)


def _explained(error: EnvsyncError, work: LockWork, platform: str) -> EnvsyncError:
    base = work.base.platforms.get(platform)
    if base is not None and not base.glibc and "__glibc" in error.detail:
        error.hint = (
            f"The base image {work.spec.image} has no glibc (it may be Alpine); conda packages for "
            "linux need one. Choose a base such as debian:stable-slim."
        )
    return error


def _solve_pip(
    jobs: Sequence[tuple[LockWork, str]], tools: LockTools, choices: LockChoices
) -> None:
    jobs = [(work, platform) for work, platform in jobs if _conda(work.spec).pip]

    def one(job: tuple[LockWork, str]) -> Solution | EnvsyncError:
        work, platform = job
        try:
            tools.progress.step(work.spec.name, f"resolving wheels for {platform}")
            return tools.pip.resolve(_pip_request(work, platform, choices))
        except EnvsyncError as error:
            return error

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        for (work, platform), result in zip(jobs, pool.map(one, jobs), strict=True):
            if isinstance(result, EnvsyncError):
                work.error = work.error or result
            else:
                work.take(platform, result)


def _pip_request(work: LockWork, platform: str, choices: LockChoices) -> PipRequest:
    packages = work.packages[platform]
    python = next((p.version for p in packages if p.name == "python"), "")
    if not python:
        raise InvalidInput(
            "The pip requirements have no python to be installed for",
            detail=f"{work.spec.path}: no conda package of the environment brings python",
            hint="Add python to the dependencies, such as:\n- python=3.12",
        )
    conda, assumed = _conda(work.spec), work.assumed(platform)
    return PipRequest(
        platform=platform,
        requirements=conda.pip,
        constraints=conda.pip_constraints,
        python_version=python,
        glibc=assumed.get("__glibc", ""),
        osx=assumed.get("__osx", ""),
        provided=provided(packages),
        wheels=work.wheels,
        prefer=work.preferred(platform, choices),
        exclude_newer=choices.exclude_newer,
    )


def locked_channels(spec: Spec, config: Config) -> tuple[str, ...]:
    """Return the channels as they stand in the lock: those of the spec, without credentials."""
    if spec.conda is None:
        return ()
    return tuple(map(strip_credentials, spec.conda.channels or config.channels))

"""Solving conda requests with py-rattler: one gateway, so one reading of repodata, for a run."""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from string import Template

import rattler
from rattler.exceptions import (
    GatewayError,
    InvalidChannelError,
    InvalidMatchSpecError,
    InvalidUrlError,
    SolverError,
)
from rattler.package.build_string import BuildString

from envsync.adapters.http.addresses import check_place
from envsync.adapters.solving.rattler_client import open_client
from envsync.adapters.solving.solver_faults import available_hint, gateway_fault, unsatisfiable
from envsync.errors import EnvsyncError, InvalidInput, Unavailable
from envsync.model.channels import (
    CHANNEL_ALIAS,
    channel_urls,
    sources_of,
    spec_channel,
    strip_credentials,
)
from envsync.model.licenses import plain_license
from envsync.model.lock import LockedPackage
from envsync.model.match_spec import match_spec_name
from envsync.model.places import without_secrets
from envsync.ports.solver import CondaRequest, Solution

_AT_ONCE = max(2, os.cpu_count() or 2)
_MATCHLESS = re.compile(r"No candidates were found for (\S+)")


class RattlerSolver:
    """A `envsync.ports.solver.CondaSolver`; credentials come from rattler's authentication store.

    *root* is the folder that relative channel paths start from; *environ* replaces ``$NAME`` in
    channel URLs and gives ``CONDA_CHANNEL_ALIAS``. *cache* holds downloaded repodata.
    """

    def __init__(self, *, cache: Path, root: Path, environ: Mapping[str, str]) -> None:
        self._cache = cache
        self._root = root
        self._environ = environ

    def solve(self, requests: Sequence[CondaRequest]) -> list[Solution | Exception]:
        """Solve all requests at once over one gateway, each answer in its request's place."""
        # Registered again it still runs once, and it runs before what was registered earlier.
        atexit.unregister(_let_threads_end)
        atexit.register(_let_threads_end)
        return asyncio.run(self._solve_all(requests))

    async def _solve_all(self, requests: Sequence[CondaRequest]) -> list[Solution | Exception]:
        with self._folder(requests) as folder:
            return await self._solve_in(folder, requests)

    async def _solve_in(
        self, folder: Path, requests: Sequence[CondaRequest]
    ) -> list[Solution | Exception]:
        gateway = rattler.Gateway(cache_dir=folder, client=open_client())
        # Each solve holds its candidates in memory; more at once than cores gains nothing.
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(request: CondaRequest) -> Solution | Exception:
            async with turn:
                try:
                    return await self._solve(gateway, request)
                except EnvsyncError as error:
                    return error

        return list(await asyncio.gather(*map(one, requests)))

    async def _solve(self, gateway: rattler.Gateway, request: CondaRequest) -> Solution:
        specs = [self._match_spec(text, request.platform) for text in request.dependencies]
        # rattler fetches for a direct spec only what matches it, so a version that no channel but
        # the last has would hide the first channel's own package from strict priority. A spec of
        # the bare name beside it brings all of them into view.
        specs += [
            rattler.MatchSpec(match_spec_name(text))
            for text in request.dependencies
            if not spec_channel(text)
        ]
        sources = [
            _channel(url)
            for channel in sources_of(request.channels, request.dependencies)
            for url in self._urls(channel, request.platform)
        ]
        platforms = [rattler.Subdir(request.platform), rattler.Subdir("noarch")]
        try:
            records = await rattler.solve(
                sources,
                specs,
                gateway=gateway,
                platforms=platforms,
                locked_packages=await _preferred(gateway, sources, platforms, request),
                virtual_packages=_virtual(request.virtual_packages),
                exclude_newer=request.exclude_newer,
                # CEP 42 lets a channel pull in others; a lock may only use the spec's own channels.
                channel_relations="disabled",
            )
        except SolverError as error:
            names = _MATCHLESS.findall(str(error))
            known = await _known_versions(gateway, sources, platforms, names)
            raise unsatisfiable(request, str(error), available_hint(known)) from error
        except GatewayError as error:
            raise gateway_fault(str(error), [source.base_url for source in sources]) from error
        return _solution(records, request, {_bare(source.base_url) for source in sources})

    @contextmanager
    def _folder(self, requests: Sequence[CondaRequest]) -> Iterator[Path]:
        """Give the folder for repodata: one that goes away for channels with a login in their URL.

        rattler writes a channel's URL beside its repodata, as it was given it.
        """
        if any(map(self._has_login, requests)):
            with tempfile.TemporaryDirectory(prefix="envsync-repodata-") as private:
                yield Path(private)
            return
        self._cache.mkdir(parents=True, exist_ok=True)
        yield self._cache

    def _has_login(self, request: CondaRequest) -> bool:
        channels = sources_of(request.channels, request.dependencies)
        try:
            urls = [url for one in channels for url in self._urls(one, request.platform)]
        except InvalidInput:
            return False  # it is told in its place, and nothing is asked of it
        return any(strip_credentials(url) != url for url in urls)

    def _urls(self, channel: str, platform: str) -> tuple[str, ...]:
        try:
            text = Template(channel).substitute(self._environ)
        except (KeyError, ValueError) as error:
            raise InvalidInput(
                "A channel's URL cannot be completed",
                detail=f"{strip_credentials(channel)}: environment variable {error} is not set",
            ) from error
        alias = self._environ.get("CONDA_CHANNEL_ALIAS") or CHANNEL_ALIAS
        return channel_urls(text, platform=platform, root=self._root.as_posix(), alias=alias)

    def _match_spec(self, text: str, platform: str) -> rattler.MatchSpec:
        channel, separator, rest = text.rpartition("::")
        if separator:
            # rattler knows only the public alias, so the channel goes in as its URL.
            text = f"{self._urls(channel.strip(), platform)[0]}::{rest}"
        try:
            return rattler.MatchSpec(text)
        except InvalidMatchSpecError as error:
            raise InvalidInput(
                "A dependency is not a valid conda match spec",
                detail=f"{rest.strip()!r}: {without_secrets(str(error).splitlines()[0])}",
                hint="Write a package as `name`, `name=1.2`, `name >=1.2,<2` or `channel::name`.",
            ) from error


def _let_threads_end() -> None:
    """Wait until rattler's threads have left Python, for a moment before the interpreter ends.

    A thread that hands over a result holds a thread state a little longer than the result takes to
    arrive. When the interpreter ends in between, the process aborts: 2 of 60 runs did, 0 of 160
    with this, measured on busy cores with py-rattler 0.28 on CPython 3.11.
    """
    for _ in range(10):
        time.sleep(0.003)


def _channel(url: str) -> rattler.Channel:
    check_place(url, "a channel")
    try:
        return rattler.Channel(url)
    except (InvalidChannelError, InvalidUrlError) as error:
        raise InvalidInput(
            "A channel is not a name, a URL or a path",
            detail=f"{strip_credentials(url)}: {without_secrets(str(error))}",
        ) from error


def _virtual(packages: Mapping[str, str]) -> list[rattler.GenericVirtualPackage]:
    found = []
    for name, text in packages.items():
        version, _, build = text.partition(" ")
        found.append(
            rattler.GenericVirtualPackage(
                rattler.PackageName(name), rattler.Version(version), BuildString(build or "0")
            )
        )
    return found


async def _preferred(
    gateway: rattler.Gateway,
    sources: Sequence[rattler.Channel],
    platforms: Sequence[rattler.Subdir],
    request: CondaRequest,
) -> list[rattler.RepoDataRecord]:
    """Return the channel's records of the packages to keep.

    A package that the channel no longer has is not preferred: a withdrawn build should go away.
    Nor is one that a channel before its own has too, whatever made it stand in the lock: rattler
    does not apply strict priority to what it is to keep.
    """
    packages = {one.sha256: one for one in request.prefer if one.manager == "conda"}
    if not packages:
        return []
    specs = [
        rattler.MatchSpec(f"{package.name} =={package.version}[build='{package.build}']")
        for package in packages.values()
    ]
    found = await gateway.query(
        sources, platforms, specs, recursive=False, channel_relations="disabled"
    )
    kept = [
        record
        for records in found
        for record in records
        if record.sha256 is not None and record.sha256.hex() in packages
    ]
    order = [_bare(source.base_url) for source in sources]

    def place(record: rattler.RepoDataRecord) -> int:
        channel = _bare(record.channel or "")
        return order.index(channel) if channel in order else len(order)

    named = {match_spec_name(text) for text in request.dependencies if spec_channel(text)}
    later = {record.name.normalized for record in kept if place(record)} - named
    first: dict[str, int] = {}
    if later:
        everywhere = await gateway.query(
            sources, platforms, sorted(later), recursive=False, channel_relations="disabled"
        )
        for record in (record for records in everywhere for record in records):
            name = record.name.normalized
            first[name] = min(place(record), first.get(name, len(order)))
    return [one for one in kept if first.get(one.name.normalized, place(one)) == place(one)]


def _bare(channel: str) -> str:
    return strip_credentials(channel).rstrip("/")


async def _known_versions(
    gateway: rattler.Gateway,
    sources: Sequence[rattler.Channel],
    platforms: Sequence[rattler.Subdir],
    names: Iterable[str],
) -> dict[str, tuple[list[str], list[str]]]:
    """Return by wanted name its versions, oldest first, and all names the channels have.

    The names are there only for a package that no channel has, to suggest the nearest.
    """
    found: dict[str, tuple[list[str], list[str]]] = {}
    for name in dict.fromkeys(names):
        if name.startswith("__"):
            continue
        records = await gateway.query(
            sources, platforms, [name], recursive=False, channel_relations="disabled"
        )
        versions = sorted({record.version for part in records for record in part})
        others = [] if versions else await gateway.names(sources, platforms)
        found[name] = ([str(v) for v in versions], sorted(n.normalized for n in others))
    return found


def _solution(
    records: Sequence[rattler.RepoDataRecord], request: CondaRequest, sources: set[str]
) -> Solution:
    kept = {package.sha256: package for package in request.prefer}
    packages = []
    sizes, licenses, released = {}, {}, {}
    for record in records:
        package = _locked(record, request.platform)
        # What two channels have stays with the one that it was locked from. Nothing else of what
        # a lock says is taken over: somebody may have changed it by hand.
        before = kept.get(package.sha256, package)
        if before == replace(package, url=before.url) and before.channel in sources:
            package = before
        packages.append(package)
        if record.size is not None:
            sizes[package.file_name] = record.size
        if text := plain_license(record.license or ""):
            licenses[package.file_name] = text
        # The channel's own clock counts before that of whoever made the package, as in a solve.
        if (moment := record.indexed_timestamp or record.timestamp) is not None:
            released[package.file_name] = moment.date().isoformat()
    return Solution(
        packages=tuple(sorted(packages, key=lambda package: package.name)),
        sizes=dict(sorted(sizes.items())),
        licenses=dict(sorted(licenses.items())),
        released=dict(sorted(released.items())),
    )


def _locked(record: rattler.RepoDataRecord, platform: str) -> LockedPackage:
    url = strip_credentials(record.url)
    if record.sha256 is None:
        raise Unavailable(
            "The channel's index has no sha256 for a package",
            detail=f"{url} cannot be locked without one",
        )
    return LockedPackage(
        manager="conda",
        name=record.name.normalized,
        version=str(record.version),
        build=str(record.build),
        platform=platform,
        url=url,
        sha256=record.sha256.hex(),
        md5=record.md5.hex() if record.md5 else "",
        depends=depends_mapping(record.depends),
    )


def depends_mapping(depends: Iterable[str]) -> dict[str, str]:
    """Return dependencies as a lock has them: one constraint per name, sorted by name.

    A package may name another twice; version constraints are joined, of two builds the last wins.
    """
    found: dict[str, str] = {}
    for text in depends:
        name, _, constraint = text.strip().partition(" ")
        name, constraint = name.lower(), constraint.strip()
        before = found.get(name, "")
        if before and constraint and before != constraint:
            old_version, _, old_build = before.partition(" ")
            version, _, build = constraint.partition(" ")
            constraint = f"{old_version},{version} {build or old_build}".strip()
        found[name] = constraint or before
    return dict(sorted(found.items()))

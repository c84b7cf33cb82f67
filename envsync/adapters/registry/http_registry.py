"""Reading any OCI registry over HTTP; what cannot be proved is unknown, never absent.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from envsync.adapters.http.retries import Again
from envsync.adapters.http.wire import Answer
from envsync.adapters.registry.manifest_bytes import (
    MANIFEST_MAX,
    MANIFEST_TYPES,
    manifest_type,
    require_digest,
    require_reference,
    require_repository,
)
from envsync.adapters.registry.registry_auth import Scopes
from envsync.adapters.registry.registry_host import RegistryHost
from envsync.adapters.registry.streams import verified
from envsync.errors import NotAllowed, Unavailable
from envsync.model.json_text import read_json
from envsync.model.reading import ABSENT, Present, Reading, Unknown
from envsync.oci.descriptor import Descriptor, RawManifest, digest_of, is_digest

_ACCEPT = (("Accept", ", ".join(MANIFEST_TYPES)),)
_NEXT_PAGE = re.compile(r'<([^>]*)>[^,]*;\s*rel="?next"?', re.IGNORECASE)
_PAGE_MAX = 8 << 20
_PAGES_MAX = 10_000
_CATALOGUE: Scopes = frozenset({"registry:catalog:*"})
_NO_CATALOGUE = frozenset({403, 404, 405, 501})

_Page = tuple[set[str], str | None]
"""What a page lists, and where the next one is."""

T = TypeVar("T")


def pull(repository: str) -> Scopes:
    """Return the scope that reading needs."""
    return frozenset({f"repository:{repository}:pull"})


class HttpReader:
    """A RegistryReader over HTTP."""

    def __init__(self, host: RegistryHost) -> None:
        self._host = host

    @property
    def name(self) -> str:
        """``host[:port]`` as it is written."""
        return self._host.name

    def head(self, repository: str, reference: str) -> Reading[Descriptor]:
        """Ask with a HEAD, and with a GET too where the HEAD's answer does not say everything."""
        _require(repository, reference)
        return self._read(lambda: self._head(repository, reference))

    def manifest(self, repository: str, reference: str) -> Reading[RawManifest]:
        """Get a manifest, and verify its digest."""
        _require(repository, reference)
        return self._read(lambda: self._manifest(repository, reference))

    def tags(self, repository: str) -> Reading[tuple[str, ...]]:
        """List the tags over all pages."""
        require_repository(repository)
        first = f"/v2/{repository}/tags/list?n=1000"
        return self._all_pages(first, partial(self._tags, repository), "tags")

    def repositories(self) -> Reading[tuple[str, ...]]:
        """List the catalogue over all pages; many registries have none, or show it to nobody."""
        return self._all_pages("/v2/_catalog?n=1000", self._catalogue, "repositories")

    def _all_pages(
        self, first: str, read: Callable[[str], _Page | None], what: str
    ) -> Reading[tuple[str, ...]]:
        found = set[str]()
        target = first
        for _ in range(_PAGES_MAX):
            page = self._read(partial(read, target))
            if not isinstance(page, Present):
                return page
            listed, following = page.value
            found |= listed
            if following is None:
                return Present(tuple(sorted(found))) if found else ABSENT
            target = following
        return Unknown(why="unavailable", reason=f"{self.name} lists {what} without end")

    @contextmanager
    def blob(self, repository: str, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        """Stream a blob, going on where it broke off."""
        require_repository(repository)
        require_digest(descriptor.digest)
        with closing(self._stream(repository, descriptor)) as chunks:
            yield verified(chunks, descriptor, f"{self.name}/{repository}")

    def blob_part(self, repository: str, descriptor: Descriptor, start: int, length: int) -> bytes:
        """Ask for a range; of a server that does not know ranges, read only as far as needed."""
        require_repository(repository)
        require_digest(descriptor.digest)
        return self._host.run(lambda: self._part(repository, descriptor, start, length))

    def _part(self, repository: str, descriptor: Descriptor, start: int, length: int) -> bytes:
        with self._open(repository, descriptor, start, start + length - 1) as answer:
            surplus = start if answer.status == 200 else 0
            found = bytearray()
            for chunk in answer.chunks():
                found += chunk[surplus:]
                surplus = max(0, surplus - len(chunk))
                if len(found) >= length:
                    return bytes(found[:length])
        raise Unavailable(
            f"{descriptor.digest} is damaged",
            detail=f"{self.name} gives no {length} bytes from {start} of it.",
        )

    def _read(self, attempt: Callable[[], T | None]) -> Reading[T]:
        try:
            value = self._host.run(attempt)
        except NotAllowed as error:
            return Unknown(why="not allowed", reason=str(error))
        except Unavailable as error:
            return Unknown(why="unavailable", reason=str(error))
        return ABSENT if value is None else Present(value)

    def _head(self, repository: str, reference: str) -> Descriptor | None:
        target = f"/v2/{repository}/manifests/{reference}"
        with self._host.send("HEAD", target, pull(repository), _ACCEPT) as answer:
            if answer.status == 200:
                found = _descriptor(answer)
                if found and (found.digest == reference or not is_digest(reference)):
                    return found
            elif answer.status == 404 and answer.origin == self._host.origin:
                # The answer to a HEAD has no body that could prove more. One about another address,
                # such as a page to log in, proves nothing; the body of a GET may.
                if answer.media_type != "text/html" and not answer.redirected:
                    return None
            elif answer.status != 405:
                raise self._host.refusal(answer, f"HEAD {repository}:{reference}")
        manifest = self._manifest(repository, reference)
        return None if manifest is None else manifest.descriptor

    def _manifest(self, repository: str, reference: str) -> RawManifest | None:
        target = f"/v2/{repository}/manifests/{reference}"
        with self._host.send("GET", target, pull(repository), _ACCEPT) as answer:
            if answer.status == 404:
                self._require_absence(answer, repository)
                return None
            if answer.status != 200:
                raise self._host.refusal(answer, f"GET {repository}:{reference}")
            body = answer.read(MANIFEST_MAX)
            stated = answer.media_type if answer.media_type in MANIFEST_TYPES else ""
            header = answer.headers.get("docker-content-digest", "")
        expected = {d for d in (reference, header) if is_digest(d)}
        if expected - {digest_of(body)}:
            raise Again(f"{self.name} answered other bytes than {repository}@{min(expected)}")
        try:
            kind = manifest_type(body, stated)
        except ValueError:
            raise Again(f"{self.name} answered something else than a manifest") from None
        if kind is None:
            raise self._host.nonsense(f"{repository}:{reference} has a type envsync cannot read")
        if stated and kind != stated:
            raise Again(f"{self.name} calls {repository}:{reference} {stated}, and it is {kind}")
        return RawManifest(media_type=kind, body=body)

    def _require_absence(self, answer: Answer, repository: str) -> None:
        """Raise Again for a 404 that proves nothing."""
        if not self._host.proves_absence(answer):
            where = answer.origin.netloc
            raise Again(f"{where} answered 404 for {repository} in no registry's words")

    def _tags(self, repository: str, target: str) -> _Page | None:
        with self._host.send("GET", target, pull(repository)) as answer:
            if answer.status == 404:
                self._require_absence(answer, repository)
                return None
            if answer.status != 200:
                raise self._host.refusal(answer, f"list the tags of {repository}")
            return self._page(answer, target, "tags")

    def _catalogue(self, target: str) -> _Page | None:
        with self._host.send("GET", target, _CATALOGUE) as answer:
            if answer.status in _NO_CATALOGUE:
                return None
            if answer.status != 200:
                raise self._host.refusal(answer, "list the repositories")
            return self._page(answer, target, "repositories")

    def _page(self, answer: Answer, target: str, key: str) -> _Page:
        """Return what a page lists, and where the next one is."""
        try:
            document = read_json(answer.read(_PAGE_MAX))
            listed = {str(one) for one in document[key] or ()}
        except (ValueError, KeyError, TypeError):
            raise Again(f"{self.name} answered something else than {key}") from None
        match = _NEXT_PAGE.search(answer.headers.get("link", ""))
        if match is None:
            return listed, None
        following = self._host.resolve(target, match[1])
        if following == target or not following.startswith("/"):
            raise self._host.nonsense(f"The next page of {target} is elsewhere")
        return listed, following

    def _stream(self, repository: str, descriptor: Descriptor) -> Generator[bytes]:
        position = failures = 0
        while True:
            start = position
            with self._host.run(partial(self._open, repository, descriptor, start)) as answer:
                # A server that does not know ranges begins at the beginning again.
                surplus = start if answer.status == 200 else 0
                try:
                    for chunk in answer.chunks():
                        fresh = chunk[surplus:]
                        surplus = max(0, surplus - len(chunk))
                        position += len(fresh)
                        yield fresh
                    return
                except Again as failure:
                    broken = failure
            failures = 1 if position > start else failures + 1
            self._host.rest(failures, broken)

    def _open(
        self, repository: str, descriptor: Descriptor, position: int, last: int | None = None
    ) -> Answer:
        """Ask for a blob from *position*, to the byte *last* or to its end."""
        wanted = f"bytes={position}-{'' if last is None else last}"
        ranges = () if wanted == "bytes=0-" else (("Range", wanted),)
        target = f"/v2/{repository}/blobs/{quote(descriptor.digest, safe=':')}"
        answer = self._host.send("GET", target, pull(repository), ranges)
        if answer.status == 200:
            return answer
        with_range = answer.headers.get("content-range", "")
        if answer.status == 206 and with_range.startswith(f"bytes {position}-"):
            return answer
        with answer:
            if answer.status == 404 and self._host.proves_absence(answer):
                raise Unavailable(
                    f"{self.name} has no blob {descriptor.digest}",
                    detail=f"It is not in {repository}.",
                )
            raise self._host.refusal(answer, f"GET {repository}@{descriptor.digest}")


def _require(repository: str, reference: str) -> None:
    require_repository(repository)
    require_reference(reference)


def _descriptor(answer: Answer) -> Descriptor | None:
    """Return what the headers of a HEAD say, None unless they say everything."""
    digest = answer.headers.get("docker-content-digest", "")
    size = answer.headers.get("content-length", "")
    if not is_digest(digest) or not size.isdigit() or answer.media_type not in MANIFEST_TYPES:
        return None
    return Descriptor(media_type=answer.media_type, digest=digest, size=int(size))

"""Writing to any OCI registry over HTTP; every write may be repeated, and is verified.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal
from urllib.parse import quote, urlencode

from envsync.adapters.http.retries import RETRIED_STATUS, Again
from envsync.adapters.http.wire import Answer
from envsync.adapters.registry.http_registry import HttpReader, pull
from envsync.adapters.registry.manifest_bytes import (
    require_digest,
    require_manifest,
    require_repository,
)
from envsync.adapters.registry.registry_auth import Scopes
from envsync.adapters.registry.registry_host import Complaint, RegistryHost
from envsync.adapters.registry.streams import Content, Differs, outgoing
from envsync.errors import Conflict, EnvsyncError, InvalidInput, Unavailable
from envsync.model.reading import Present
from envsync.oci.descriptor import Descriptor, RawManifest
from envsync.ports.registry import ContentMissing

_BLINKS = 3
"""Times a registry may say that content is missing before it is believed."""
_EMPTY = (("Content-Length", "0"),)
_LOST_SESSION = frozenset(
    {"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID", "SIZE_INVALID"}
)
_MISSING = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})


def push(repository: str) -> Scopes:
    """Return the scope that writing needs."""
    return frozenset({f"repository:{repository}:pull,push"})


class HttpRegistry(HttpReader):
    """A RegistryWriter over HTTP."""

    def __init__(self, host: RegistryHost) -> None:
        super().__init__(host)
        # Upload sessions that a refused mount has opened, by repository and digest.
        self._sessions: dict[tuple[str, str], str] = {}

    def has_blob(self, repository: str, digest: str) -> bool:
        """Ask with a HEAD; a wrong *no* would only cost an upload."""
        require_repository(repository)
        require_digest(digest)
        return self._host.run(lambda: self._has_blob(repository, digest, pull(repository)))

    def mount_blob(self, repository: str, digest: str, source: str) -> bool:
        """Ask for a mount; any refusal is a *no*, because the upload will say what is wrong."""
        require_repository(repository)
        require_repository(source)
        require_digest(digest)
        query = urlencode({"mount": digest, "from": source}, safe=":/")
        scopes = push(repository) | pull(source)
        try:
            return self._host.run(lambda: self._mount(repository, digest, query, scopes))
        except EnvsyncError:
            return False

    def put_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        content: Content,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """Upload in one PUT; after a failure look whether it arrived, then start a new session."""
        require_repository(repository)
        require_digest(descriptor.digest)
        failed: list[Exception] = []

        def attempt() -> None:
            if failed and self._has_blob(repository, descriptor.digest, push(repository)):
                return
            try:
                self._upload(repository, descriptor, content, sent)
            except Again as failure:
                failed.append(failure)
                raise
            except Differs as damage:
                # What another registry streams to us may be damaged once; a file stays damaged.
                if any(isinstance(failure, Differs) for failure in failed):
                    raise
                failed.append(damage)
                raise Again(damage.summary) from damage

        self._host.run(attempt, long=True)

    def put_manifest(self, repository: str, reference: str, manifest: RawManifest) -> bool:
        """Put a manifest; a tag that may not move, and names it already, is as good as put."""
        require_repository(repository)
        require_manifest(reference, manifest)
        missing = 0

        def attempt() -> Complaint | bool:
            nonlocal missing
            try:
                said = self._put_manifest(repository, reference, manifest)
            except ContentMissing as error:
                # What another process uploads again at this moment, or what was uploaded a moment
                # ago, is not always seen: distribution 2.8 rewrites its links in place.
                missing += 1
                if missing == _BLINKS:
                    raise
                raise Again(error.summary) from error
            if said != "unsure":
                return said
            if names():
                return False
            raise Again(f"{self.name} says that it took a manifest, and does not have it")

        def names() -> bool:
            found = self.head(repository, reference)
            return isinstance(found, Present) and found.value.digest == manifest.digest

        immovable = self._host.run(attempt)
        if isinstance(immovable, bool):
            return immovable
        if names():
            return False
        raise Conflict(
            f"{self.name} does not let the tag {repository}:{reference} move",
            detail=f"It was to name {manifest.digest}. {immovable.words}".strip(),
            hint="Somebody else put it there, or it was put there for another image.",
        )

    def _has_blob(self, repository: str, digest: str, scopes: Scopes) -> bool:
        target = f"/v2/{repository}/blobs/{digest}"
        with self._host.send("HEAD", target, scopes) as answer:
            if answer.status == 404:
                return False
            if answer.status != 200:
                raise self._host.refusal(answer, f"HEAD {repository}@{digest}")
            self._check_digest(answer, digest)
            return True

    def _mount(self, repository: str, digest: str, query: str, scopes: Scopes) -> bool:
        target = f"/v2/{repository}/blobs/uploads/?{query}"
        with self._host.send("POST", target, scopes, _EMPTY) as answer:
            if answer.status == 201:
                self._check_digest(answer, digest)
                return True
            if answer.status == 202:
                location = self._host.resolve(target, answer.headers.get("location"))
                self._sessions[repository, digest] = location
            elif answer.status in RETRIED_STATUS:
                raise self._host.refusal(answer, f"mount {digest} in {repository}")
            return False

    def _upload(
        self,
        repository: str,
        descriptor: Descriptor,
        content: Content,
        sent: Callable[[int], None] | None,
    ) -> None:
        location = self._sessions.pop((repository, descriptor.digest), None)
        location = location or self._begin(repository)
        separator = "&" if "?" in location else "?"
        target = f"{location}{separator}digest={quote(descriptor.digest, safe=':')}"
        headers = (
            ("Content-Type", "application/octet-stream"),
            ("Content-Length", str(descriptor.size)),
        )
        with content() as source:
            body = outgoing(source, descriptor, sent)
            answer = self._host.send("PUT", target, push(repository), headers, body, patient=True)
        with answer:
            if answer.status == 201:
                self._check_digest(answer, descriptor.digest)
                return
            complaint = self._host.complaint(answer)
            if answer.status == 404 or complaint.codes & _LOST_SESSION:
                raise Again(f"{self.name} lost an upload to {repository}: {complaint.words}")
            raise self._host.refusal(answer, f"an upload to {repository}", complaint)

    def _begin(self, repository: str) -> str:
        target = f"/v2/{repository}/blobs/uploads/"
        with self._host.send("POST", target, push(repository), _EMPTY) as answer:
            if answer.status == 202:
                return self._host.resolve(target, answer.headers.get("location"))
            complaint = self._host.complaint(answer)
            if answer.status == 404 and "NAME_UNKNOWN" in complaint.codes:
                raise Unavailable(
                    f"{self.name} has no repository {repository}",
                    detail=complaint.words,
                    hint="This registry does not make repositories by itself: create it there.",
                )
            raise self._host.refusal(answer, f"begin an upload to {repository}", complaint)

    def _put_manifest(
        self, repository: str, reference: str, manifest: RawManifest
    ) -> Complaint | Literal["unsure"] | bool:
        """Put it; return whether its subject was taken in, or the complaint when a tag is fixed.

        ``unsure``: the answer is not the one that a registry gives to a manifest that it took.
        """
        headers = (
            ("Content-Type", manifest.media_type),
            ("Content-Length", str(len(manifest.body))),
        )
        target = f"/v2/{repository}/manifests/{reference}"
        with self._host.send(
            "PUT", target, push(repository), headers, manifest.body, patient=True
        ) as answer:
            if answer.status == 201:
                self._check_digest(answer, manifest.digest)
                return "oci-subject" in answer.headers
            if answer.status in {200, 202}:
                return "unsure"
            complaint = self._host.complaint(answer)
            if answer.status in {400, 404} and complaint.codes & _MISSING:
                raise ContentMissing(
                    f"{self.name} does not have what manifest {manifest.digest} names",
                    detail=f"In {repository}: {complaint.words}",
                )
            if answer.status in {409, 412} or "immutable" in complaint.words.lower():
                return complaint
            if answer.status == 400:
                raise InvalidInput(
                    "the registry refuses a manifest",
                    detail=f"{self.name} says: {complaint.words or 'nothing more'}",
                )
            raise self._host.refusal(answer, f"PUT {repository}:{reference}", complaint)

    def _check_digest(self, answer: Answer, digest: str) -> None:
        found = answer.headers.get("docker-content-digest", digest)
        if found != digest:
            raise Again(f"{self.name} answered for another digest than {digest}")

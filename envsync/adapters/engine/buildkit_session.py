"""A session with the engine's BuildKit: it asks, while it builds, for secrets and logins.

That is how a secret reaches a step and nothing else: the engine mounts it for the step alone. The
session is one connection on which the engine is the client: gRPC over HTTP/2, four messages of it.
Sources: https://docs.docker.com/reference/api/engine/ (Session) and the ``.proto`` files of
https://github.com/moby/buildkit/tree/master/session
"""

from __future__ import annotations

import struct
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError

from envsync.adapters.engine.protobuf import text_field, text_fields
from envsync.adapters.registry.docker_config import Credentials
from envsync.errors import EnvsyncError, Unavailable

_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"  # noqa: S105 - a method's name
_LOGIN = "/moby.filesync.v1.Auth/Credentials"
_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"
_OK, _NOT_FOUND, _UNIMPLEMENTED = "0", "5", "12"
_HUB = {"registry-1.docker.io", "index.docker.io", "https://index.docker.io/v1/"}


class BuildKitSession:
    """Answers the engine until its context ends; *login* is asked for a registry's login."""

    def __init__(
        self,
        api: Any,
        secrets: Mapping[str, str],
        login: Callable[[str], Credentials | None],
    ) -> None:
        self.id = uuid.uuid4().hex
        self._api = api
        self._secrets = secrets
        self._login = login
        self._calls: dict[int, tuple[str, bytearray]] = {}

    def __enter__(self) -> Self:
        """Open the session; Unavailable when the engine has no BuildKit."""
        self._answer = self._api.post(
            f"{self._api.base_url}/v{self._api.api_version}/session",
            headers={
                "Connection": "Upgrade",
                "Upgrade": "h2c",
                "X-Docker-Expose-Session-Uuid": self.id,
                "X-Docker-Expose-Session-Name": "envsync",
                "X-Docker-Expose-Session-Sharedkey": "",
                "X-Docker-Expose-Session-Grpc-Method": f"{_SECRET},{_LOGIN}",
            },
            stream=True,
        )
        if self._answer.status_code != 101:
            self._answer.close()
            raise Unavailable(
                "the engine has no BuildKit, which this Dockerfile needs",
                detail=f"It answered {self._answer.status_code} where a session begins.",
            )
        # What the engine sent right after its answer is in this reader already.
        self._reader = self._answer.raw._fp.fp  # noqa: SLF001 - no other way to the bytes
        raw = self._reader.raw
        self._socket = getattr(raw, "_sock", raw)
        self._socket.settimeout(None)
        threading.Thread(target=self._serve, name="buildkit", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(2)
        self._answer.close()

    def _serve(self) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        with suppress(OSError, ValueError, ProtocolError):  # the session ended, or was closed
            self._socket.sendall(connection.data_to_send())
            while data := self._reader.read1(1 << 16):
                for event in connection.receive_data(data):
                    self._take(connection, event)
                self._socket.sendall(connection.data_to_send())

    def _take(self, connection: H2Connection, event: Event) -> None:
        if isinstance(event, RequestReceived) and event.stream_id is not None:
            path = next((str(v) for k, v in event.headers or () if str(k) == ":path"), "")
            self._calls[event.stream_id] = (path, bytearray())
        elif isinstance(event, DataReceived) and event.stream_id in self._calls:
            self._calls[event.stream_id][1].extend(event.data or b"")
            length = event.flow_controlled_length or 0
            connection.acknowledge_received_data(length, event.stream_id)
        elif isinstance(event, StreamEnded) and event.stream_id in self._calls:
            path, body = self._calls.pop(event.stream_id)
            status, reply = self._reply(path, bytes(body[5:]))
            stream = event.stream_id
            connection.send_headers(
                stream, [(":status", "200"), ("content-type", "application/grpc")]
            )
            if status == _OK:
                connection.send_data(stream, b"\0" + struct.pack(">I", len(reply)) + reply)
            connection.send_headers(stream, [("grpc-status", status)], end_stream=True)

    def _reply(self, path: str, message: bytes) -> tuple[str, bytes]:
        if path == _HEALTH:
            return _OK, _SERVING
        asked = next((value.decode() for key, value in text_fields(message) if key == 1), "")
        if path == _SECRET and asked in self._secrets:
            return _OK, text_field(1, self._secrets[asked].encode())
        if path == _LOGIN:
            with suppress(EnvsyncError):
                found = self._login("docker.io" if asked in _HUB else asked)
                if found is None:
                    return _OK, b""
                secret = found.identity_token or found.password
                user = "" if found.identity_token else found.username
                return _OK, text_field(1, user.encode()) + text_field(2, secret.encode())
        return (_NOT_FOUND if path == _SECRET else _UNIMPLEMENTED), b""

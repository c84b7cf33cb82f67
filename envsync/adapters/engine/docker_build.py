"""Building from Dockerfiles with the Docker engine, through its API.

The engine's own builder is used, which needs no session with the client; BuildKit where there are
secrets, or instructions that only it has.
Source: https://docs.docker.com/reference/api/engine/ (ImageBuild)
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from docker.errors import APIError, DockerException
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from envsync.adapters.engine.buildkit_session import BuildKitSession
from envsync.adapters.engine.buildkit_trace import TRACE, Trace
from envsync.adapters.engine.docker_connection import ANSWER_SECONDS, Connection, first_line
from envsync.adapters.registry.docker_config import Credentials
from envsync.errors import InvalidInput, Unavailable
from envsync.ports.dockerfiles import BuildOrder, StepFailed

_STEP = re.compile(r"Step (\d+)/(\d+) : ")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_HUB = "https://index.docker.io/v1/"
_HUB_NAMES = {"docker.io", "index.docker.io"}
_GONE = (RequestException, HTTPError, DockerException, OSError)


class DockerBuilder:
    """Implements `envsync.ports.dockerfiles.DockerfileEngine` with what DOCKER_HOST names."""

    def __init__(
        self,
        environ: Mapping[str, str],
        login: Callable[[str], Credentials | None],
        *,
        network: str = "",
    ) -> None:
        """Connect; Unavailable when no engine answers. *login* is asked for a registry's login.

        *network* is that of the steps, as for ``docker build --network``.
        """
        self._login = login
        self._network = network
        self._connection = Connection(
            environ,
            purpose="building from a Dockerfile needs a Docker engine",
            hint="Start one, or name one that is elsewhere:\n    export DOCKER_HOST=…",
        )
        self._api = self._connection.api

    @property
    def platform(self) -> str:
        """The engine's, which may be another machine's."""
        return self._connection.platform

    def build(self, order: BuildOrder, log: Callable[[str], None]) -> str:
        """Build and return the id of the image; see the port."""
        step, image, trace = 0, "", Trace()
        for line in self._lines(order):
            if "stream" in line:
                for text in _clean(str(line["stream"])):
                    log(text)
                    if found := _STEP.match(text):
                        step = int(found[1])
            elif "error" in line:
                said = str(line["error"]).strip()
                log(said)
                raise StepFailed(step, said, trace.failed)
            elif line.get("id") == TRACE:
                for text in trace.lines(str(line["aux"])):
                    for shown in _clean(text):
                        log(shown)
                continue
            elif "status" in line and "progressDetail" not in line:
                log(" ".join(_clean(f"{line.get('id', '')} {line['status']}".strip())))
            image = str((line.get("aux") or {}).get("ID", image))
        for text in trace.rest():
            log(text)
        if not image:
            raise Unavailable("the engine built, and does not say what")
        return image

    def save(self, image: str) -> Iterator[bytes]:
        """Yield an image of the engine as an archive."""
        self._api.timeout = None  # it comes when the engine has packed it
        try:
            yield from self._api.get_image(image)
        except _GONE as error:
            raise Unavailable(
                "the engine does not give the image that it built", detail=first_line(error)
            ) from error
        finally:
            self._api.timeout = ANSWER_SECONDS

    def _lines(self, order: BuildOrder) -> Iterator[dict[str, Any]]:
        try:
            with ExitStack() as stack:
                session = None
                if order.buildkit:
                    session = BuildKitSession(self._api, order.secrets, self._login)
                    stack.enter_context(session)
                answer, over = stack.enter_context(self._answer(order, session))
                yield from _parsed(answer, over, order.timeout)
        except APIError as error:
            raise InvalidInput(
                "the engine does not accept the build",
                detail=first_line(error.explanation or error),
            ) from error
        except _GONE as error:
            raise Unavailable(
                "the engine went away while it built", detail=first_line(error)
            ) from error

    @contextmanager
    def _answer(
        self, order: BuildOrder, session: BuildKitSession | None
    ) -> Iterator[tuple[Any, threading.Event]]:
        """Send the build; its answer ends when the time is over, which stops the engine too."""
        answer = self._api.post(
            f"{self._api.base_url}/v{self._api.api_version}/build",
            params={
                "dockerfile": order.dockerfile_path,
                "buildargs": json.dumps(dict(order.arguments)),
                "labels": json.dumps(dict(order.labels)),
                "rm": "1",
                "forcerm": "1",
                **({"networkmode": self._network} if self._network else {}),
                **({"version": "2", "session": session.id} if session else {}),
            },
            data=order.context(),
            headers={
                "Content-Type": "application/x-tar",
                "X-Registry-Config": self._logins(order.registries),
            },
            stream=True,
            timeout=(ANSWER_SECONDS, order.timeout),
        )
        over = threading.Event()

        def stop() -> None:
            over.set()
            answer.raw.shutdown()

        timer = threading.Timer(order.timeout, stop)
        timer.daemon = True
        timer.start()
        try:
            if answer.status_code >= 400:
                said = answer.json().get("message", answer.reason)
                raise APIError(str(said), response=answer, explanation=str(said))
            yield answer, over
        finally:
            timer.cancel()
            answer.close()

    def _logins(self, registries: tuple[str, ...]) -> str:
        found = {}
        for host in registries:
            login = self._login(host)
            if login is not None:
                found[_HUB if host in _HUB_NAMES else host] = (
                    {"identitytoken": login.identity_token}
                    if login.identity_token
                    else {"username": login.username, "password": login.password}
                )
        return base64.urlsafe_b64encode(json.dumps(found).encode()).decode()


def _parsed(answer: Any, over: threading.Event, seconds: int) -> Iterator[dict[str, Any]]:
    try:
        for line in answer.iter_lines():
            if line:
                yield json.loads(line)
    except (*_GONE, ValueError):
        if not over.is_set():
            raise
    if over.is_set():
        raise Unavailable(
            f"the build took longer than {seconds} seconds, and was stopped",
            hint="Give it more time, in seconds:\nenvsync:\n  build_timeout: 7200",
        )


def _clean(text: str) -> list[str]:
    """Return the lines of a program's output without colours and what it wrote over."""
    lines = _ESCAPES.sub("", text).split("\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return [
        "".join(c if c.isprintable() or c == "\t" else "�" for c in line)
        for line in shown
        if line.strip()
    ]

"""HEADs without httpcore's state machine: the same answers, the same failures, judged by h11."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import h11
import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envsync.adapters.http.connections import Direct
from envsync.adapters.http.head_exchange import HEAD_MAX, head_request, parse_head
from envsync.adapters.http.wire import Answer, Origin, Pace

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX-A: b\r\n\r\n"
FIELDS = (("Host", "registry.test"), ("Accept", "*/*"))

Answers = Callable[[int], Iterable[bytes]]
"""Number of the request, from 1 on, to the pieces that are sent; an empty one closes."""


class Server:
    """Answers with exactly the bytes that it is told, and counts what it sees."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.requests: list[bytes] = []
        self.connections = 0
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._accepting.join(10)
        self.wait_until_closed()

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connected,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connected: socket.socket) -> None:
        with connected, suppress(OSError):  # whoever asked may have gone
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            received = b""
            while True:
                while b"\r\n\r\n" not in received:
                    data = connected.recv(4096)
                    if not data:
                        return
                    received += data
                request, _, received = received.partition(b"\r\n\r\n")
                self.requests.append(request)
                for piece in self._answers(len(self.requests)):
                    if not piece:
                        return
                    connected.sendall(piece)

    def wait_until_closed(self) -> None:
        """Wait until the connections that were made have been closed."""
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


@contextmanager
def asking(
    answers: Answers, *, read: float = 10.0
) -> Iterator[tuple[Server, Callable[[], Answer]]]:
    """Yield a server, and what asks it; *read* is the time-out in seconds."""
    server = Server(answers)
    place = httpcore.Origin(b"http", b"127.0.0.1", server.port)
    sender = Direct(place, None, httpcore.SyncBackend())

    def ask() -> Answer:
        exchange = sender.head("/v2/a/manifests/1", FIELDS, connect=10.0, read=read)
        return Answer(exchange, Origin("http", "127.0.0.1", server.port), Pace())

    try:
        yield server, ask
    finally:
        sender.close()
        server.close()


def always(*pieces: bytes) -> Answers:
    return lambda _: pieces


def test_what_is_sent_is_what_h11_reads() -> None:
    with asking(always(OK)) as (server, ask):
        ask()
    judge = h11.Connection(h11.SERVER)
    judge.receive_data(server.requests[0] + b"\r\n\r\n")
    request = judge.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (b"HEAD", b"/v2/a/manifests/1")
    assert list(request.headers) == [(b"host", b"registry.test"), (b"accept", b"*/*")]
    assert isinstance(judge.next_event(), h11.EndOfMessage)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_an_answer_is_read_however_it_is_cut_up(size: int) -> None:
    pieces = [OK[start : start + size] for start in range(0, len(OK), size)]
    with asking(always(*pieces)) as (_, ask), ask() as answer:
        assert answer.status == 200
        assert answer.headers == {"content-length": "7", "x-a": "b"}
        assert answer.read(10) == b""


def test_one_connection_serves_one_head_after_another() -> None:
    with asking(always(OK)) as (server, ask):
        for _ in range(5):
            assert ask().status == 200
        assert (server.connections, len(server.requests)) == (1, 5)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: X-A, Close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsurplus",
    ],
)
def test_a_connection_that_cannot_be_trusted_with_another_head_is_not_asked(answer: bytes) -> None:
    with asking(always(answer)) as (server, ask):
        assert [ask().status, ask().status] == [200, 200]
        assert server.connections == 2


def test_bytes_that_come_after_an_answer_are_nobody_elses_answer() -> None:
    """A body that a HEAD must not have, sent late, would be read as the head of the next."""
    read, sent = threading.Event(), threading.Event()

    def answers(number: int) -> Iterator[bytes]:
        yield OK
        if number == 1:
            read.wait(10)
            yield b"HTTP/1.1 404 Not Found\r\n\r\n"
            sent.set()

    with asking(answers) as (server, ask):
        assert ask().status == 200
        read.set()
        assert sent.wait(10)
        assert ask().status == 200
        assert server.connections == 2


def test_a_connection_that_the_server_closed_meanwhile_is_not_asked() -> None:
    with asking(always(OK, b"")) as (server, ask):
        for _ in range(3):
            assert ask().status == 200
            server.wait_until_closed()
        assert server.connections == 3


def test_answers_before_the_answer_are_passed_over() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    with asking(always(early, early + OK)) as (server, ask):
        assert ask().headers == {"content-length": "7", "x-a": "b"}
        assert ask().status == 200
        assert server.connections == 1


NOT_HTTP = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "no number": b"HTTP/1.1 abc OK\r\n\r\n",
    "a status that is none": b"HTTP/1.1 999 OK\r\n\r\n",
    "a name with a space": b"HTTP/1.1 200 OK\r\nX A: b\r\n\r\n",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nX-A : b\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nX-A\r\n\r\n",
    "a NUL": b"HTTP/1.1 200 OK\r\nX-A: b\0c\r\n\r\n",
    "a lone carriage return": b"HTTP/1.1 200 OK\r\nX-A: b\rX-B: c\r\n\r\n",
    "protocols switched": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * (2 * HEAD_MAX),
}


@pytest.mark.parametrize("answer", NOT_HTTP.values(), ids=NOT_HTTP)
def test_what_is_not_http_is_a_failure_as_httpcore_has_it(answer: bytes) -> None:
    """The server waits for more: who went on reading would fail with a time-out instead."""
    with (
        asking(always(answer), read=1.0) as (_, ask),
        pytest.raises(httpcore.RemoteProtocolError),
    ):
        ask()


@pytest.mark.parametrize("answer", [b"", OK[:20]])
def test_an_answer_that_breaks_off_is_a_failure(answer: bytes) -> None:
    with asking(always(answer, b"")) as (_, ask), pytest.raises(httpcore.RemoteProtocolError):
        ask()


def test_a_server_that_says_nothing_is_not_waited_for_without_end() -> None:
    with asking(always(OK[:20]), read=0.05) as (_, ask), pytest.raises(httpcore.ReadTimeout):
        ask()


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ("/v2/a\r\nX-B: c", FIELDS),
        ("/v2/a HTTP/1.0", FIELDS),
        ("/v2/ä", FIELDS),
        ("", FIELDS),
        ("/v2/a", (("Authorization", "Bearer a\r\nX-B: c"),)),
        ("/v2/a", (("Authorization", "Bearer a\nX-B: c"),)),
        ("/v2/a", (("Authorization", "Bearer ä"),)),
    ],
)
def test_a_request_cannot_become_two(target: str, fields: Sequence[tuple[str, str]]) -> None:
    with pytest.raises(httpcore.LocalProtocolError):
        head_request(target, fields)


_NAMES = st.from_regex(r"\AX-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}\Z")
_VALUES = st.from_regex(r"\A(|[!-~]|[!-~][ -~\t]{0,30}[!-~])\Z")
_ENDS = st.sampled_from([b"\r\n", b"\n"])
_FOLDS = st.sampled_from([b"", b"\r\n  folded", b"\n\tfolded"])
_LINES = st.tuples(_NAMES, _VALUES, _FOLDS, _ENDS)


@given(
    status=st.sampled_from([200, 204, 301, 307, 401, 404, 429, 503]),
    lines=st.lists(_LINES, max_size=6),
    end=_ENDS,
)
def test_a_head_says_what_h11_reads_in_it(
    status: int, lines: list[tuple[str, str, bytes, bytes]], end: bytes
) -> None:
    head = b"HTTP/1.1 %d Words%s" % (status, end) + b"".join(
        name.encode() + b": " + value.encode() + fold + ending
        for name, value, fold, ending in lines
    )
    judge = h11.Connection(h11.CLIENT)
    judge.send(h11.Request(method="HEAD", target="/", headers=[("Host", "a")]))
    judge.send(h11.EndOfMessage())
    judge.receive_data(head + end)
    expected = judge.next_event()
    assert isinstance(expected, h11.Response)
    found, fields, lasts = parse_head(head.removesuffix(b"\n").removesuffix(b"\r"))
    assert (found, lasts) == (expected.status_code, True)
    assert [(name.lower(), value) for name, value in fields] == list(expected.headers)

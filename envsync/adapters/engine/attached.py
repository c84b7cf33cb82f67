"""A container's streams joined to this process's own: input, output, errors, or one terminal."""

from __future__ import annotations

import os
import socket
import struct
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_HEADER = struct.Struct(">BxxxL")
_CHUNK = 1 << 16
_STDERR = 2


def pump(connection: socket.socket, *, terminal: bool) -> None:
    """Copy until the container's output ends; input is copied beside it.

    Without a terminal output and errors come in frames.
    Source: https://docs.docker.com/reference/api/engine/ (Attach to a container, stream format)
    """
    threading.Thread(target=_send, args=(connection,), daemon=True).start()
    if terminal:
        while data := _receive(connection, _CHUNK):
            _write(1, data)
        return
    while len(header := _exactly(connection, _HEADER.size)) == _HEADER.size:
        stream, rest = _HEADER.unpack(header)
        while rest and (data := _receive(connection, min(rest, _CHUNK))):
            _write(2 if stream == _STDERR else 1, data)
            rest -= len(data)


def _send(connection: socket.socket) -> None:
    """Copy standard input, and close the container's when it ends."""
    with suppress(OSError):
        while data := os.read(0, _CHUNK):
            connection.sendall(data)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


def _receive(connection: socket.socket, size: int) -> bytes:
    try:
        return connection.recv(size)
    except ConnectionResetError:
        return b""


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := _receive(connection, size - len(data))):
        data += more
    return data


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextmanager
def raw_terminal(resize: Callable[[int, int], None]) -> Iterator[None]:
    """Give every key to the container, Ctrl-C too; *resize* hears height and width now."""
    before = termios.tcgetattr(0)
    with suppress(OSError):
        size = os.get_terminal_size(0)
        resize(size.lines, size.columns)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)

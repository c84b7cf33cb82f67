"""Where connections may go: not to the addresses at which clouds give out credentials."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import httpcore

from envsync.errors import Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Iterable[str]]
"""Host and port to IP addresses; raises OSError."""

NEVER = "link-local and metadata addresses are never connected to"

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        *("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192"),
        "168.63.129.16",
    )
)
"""Metadata services that are not link-local: AWS, Google, Alibaba, Oracle, Azure."""
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog"})
_LAST_32_BITS = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96"))
)
"""Networks whose addresses end with an IPv4 address: NAT64, and two older translations."""


class AddressRefused(Exception):
    """A host resolves to addresses that are never connected to, and to no other."""


def is_refused(text: str) -> bool:
    """Tell whether an IP address is link-local or a metadata service's, in any notation."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and any(address in network for network in _LAST_32_BITS):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None and address.teredo is not None:
            inner = address.teredo[1]
        if inner is not None and (inner.is_link_local or inner in _METADATA):
            return True
    return address.is_link_local or address in _METADATA


def is_loopback(host: str) -> bool:
    """Tell whether a host, without port, is this machine by its very name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_refused_host(host: str) -> bool:
    """Tell whether a host, without port, is such an address by its very name.

    An IPv4 address may be written as C programs read it: ``2852039166``, ``0xa9.254.0251.254``.
    """
    name = host.removesuffix(".").lower()
    if name in _METADATA_NAMES:
        return True
    try:
        return is_refused(name)
    except ValueError:
        pass
    try:
        return is_refused(socket.inet_ntoa(socket.inet_aton(name)))
    except (OSError, ValueError):
        return False


def check_place(url: str, what: str) -> None:
    """Raise Unavailable for an http(s) URL at such an address; *what* is there, as errors say it.

    For programs that connect by themselves, and look at no address.
    """
    try:
        refuse_place(url, resolve)
    except AddressRefused as error:
        raise Unavailable(
            f"{what} is at an address that is never asked", detail=f"{error}: {NEVER}."
        ) from error


def refuse_place(url: str, resolve: Resolve) -> None:
    """Raise AddressRefused for an http(s) URL whose host has no other addresses than such.

    What cannot be resolved is left to who wants to connect.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
    except ValueError:
        return
    if parts.scheme not in {"http", "https"}:
        return
    if is_refused_host(host):
        raise AddressRefused(f"{host} is asked for by its address")
    try:
        addresses = list(resolve(host, port))
    except (OSError, UnicodeError):
        return
    if addresses and all(map(is_refused, addresses)):
        raise AddressRefused(f"{host} is {', '.join(addresses)}")


def resolve(host: str, port: int) -> list[str]:
    """Ask the system for the IP addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class CheckedBackend(httpcore.SyncBackend):
    """Connects to what a name resolves to, after looking at it: no second look-up in between."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers; AddressRefused when none may be used."""
        try:
            addresses = list(self._resolve(host, port))
        except OSError as error:
            raise httpcore.ConnectError(error) from error
        allowed = [address for address in addresses if not is_refused(address)]
        if not allowed:
            raise AddressRefused(f"{host} is {', '.join(addresses)}")
        for address in allowed[:-1]:
            try:
                return super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return super().connect_tcp(allowed[-1], port, timeout, local_address, socket_options)

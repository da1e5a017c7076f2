"""Addresses that a name leads to, and which of them are somebody's on the public internet."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Resolve = Callable[[str, int], Sequence[str]]
"""From a host's name and a port to addresses as text, the best first."""

# RFC 6890: older versions of Python know a part of it. A cloud keeps its metadata here.
_PROTOCOLS: Final = IPv4Network("192.0.0.0/24")
# RFC 4291: everything outside is no address of one machine, or not yet anybody's.
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
# RFC 6052: the last 32 bits are an IPv4 address that a gateway translates to.
_NAT64: Final = IPv6Network("64:ff9b::/96")
# RFC 3056 and 4380: tunnels to an IPv4 address that is somewhere inside.
_TUNNELS: Final = (IPv6Network("2002::/16"), IPv6Network("2001::/32"))


def resolve(host: str, port: int) -> list[str]:
    """As this machine's resolver has it. May take as long as that likes.

    Raises:
        OSError: The name is not known, or nobody can be asked.
        UnicodeError: It cannot be a name.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an address is a single machine's on the public internet.

    What stands for an IPv4 address inside an IPv6 one is judged as that; tunnels are refused.

    Raises:
        ValueError: It is no address.
    """
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped
        if inner is None and found in _NAT64:
            inner = IPv4Address(int(found) & 0xFFFF_FFFF)
        if inner is None:
            is_tunnel = any(found in one for one in _TUNNELS)
            return found in _GLOBAL_UNICAST and found.is_global and not is_tunnel
        found = inner
    is_for_many = found.is_multicast or found.is_reserved or found in _PROTOCOLS
    return found.is_global and not is_for_many

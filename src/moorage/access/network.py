"""How addresses are read, and where somebody asks from in the grain that one person or site has."""

import ipaddress
from functools import lru_cache
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_IPV6: Final = 64
"""Bits: within it, whoever has one address has them all."""


def read_address(text: str) -> Address | None:
    """An address without its zone, an IPv4-mapped one as IPv4; None for a text that is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=4096)
def network(peer: str, ipv4: int = 24) -> str:
    """The network of a peer's address: `ipv4` bits of it, or 64 of an IPv6 address.

    What is no address, as of a client on a Unix socket, is a network of its own.
    """
    address = read_address(peer)
    if address is None:
        return peer or "a Unix socket"
    bits = ipv4 if address.version == 4 else _IPV6
    if bits == address.max_prefixlen:
        return str(address)
    return str(ipaddress.ip_network((address, bits), strict=False))

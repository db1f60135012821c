"""Where somebody asks from, in the grain that one person or site has."""

import ipaddress
from functools import lru_cache
from typing import Final

_IPV6: Final = 64
"""Bits: within it, whoever has one address has them all."""


@lru_cache(maxsize=4096)
def network(peer: str, ipv4: int = 24) -> str:
    """The network of a peer's address: `ipv4` bits of it, or 64 of an IPv6 address.

    What is no address, as of a client on a Unix socket, is a network of its own.
    """
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer or "a Unix socket"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    bits = ipv4 if address.version == 4 else _IPV6
    if bits == address.max_prefixlen:
        return str(address)
    return str(ipaddress.ip_network((address, bits), strict=False))

"""Who is at the other end: X-Forwarded-* are believed only when a trusted proxy says them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from moorage.access.network import Address, read_address
from moorage.edge.server.networks import read_network
from moorage.edge.server.targets import is_host

FORWARDED: Final = frozenset({"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"})

UNKNOWN: Final = "unknown"
"""The address of a client of which a trusted proxy says nothing that can be read."""


class Trust:
    """The proxies in front of us: addresses, networks (`10.0.0.0/8`) or `unix` for those on a Unix socket.

    Raises ValueError for a text that is none of these; there is no way to trust everybody by accident.
    """

    def __init__(self, proxies: Iterable[str]) -> None:
        names = list(proxies)
        self._unix = "unix" in names
        self._networks = [read_network(name) for name in names if name != "unix"]

    def trusts(self, peer: str) -> bool:
        if not peer:
            return self._unix
        address = read_address(peer)
        return address is not None and self._has(address)

    def _has(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def client(self, peer: str, scheme: str, noted: Mapping[str, Sequence[str]]) -> tuple[str, str, str | None]:
        """The client's address, scheme and, where a proxy names it, host; for a `peer` that is trusted."""
        for hop in reversed(_listed(noted, "x-forwarded-for")):
            # The right-most address that is not one of our proxies: everything left of it is the client's own claim.
            address = _read_hop(hop)
            peer = str(address or UNKNOWN)
            if address is None or not self._has(address):
                break
        said = _listed(noted, "x-forwarded-proto")
        if said and said[-1].lower() in {"http", "https"}:
            scheme = said[-1].lower()
        hosts = _listed(noted, "x-forwarded-host")
        host = hosts[-1] if hosts and is_host(hosts[-1]) else None
        return peer, scheme, host


def _read_hop(text: str) -> Address | None:
    """What a proxy wrote about its client; some add the port (`192.0.2.1:4711`, `[2001:db8::1]:4711`)."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return read_address(text)


def _listed(noted: Mapping[str, Sequence[str]], name: str) -> list[str]:
    return [part.strip() for value in noted.get(name, ()) for part in value.split(",") if part.strip()]

"""Which addresses may come in: `http.allow` and `http.deny`."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from time import monotonic
from typing import Final, final

from moorage.access.network import read_address
from moorage.errors import Code, RegistryError
from moorage.telemetry import logger
from moorage.telemetry.metrics import counter

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

log: Final = logger("moorage.server")

_REFUSED: Final = counter(
    "registry_http_addresses_refused", "Requests from addresses that are not let in.", ("listener",)
)
_REMEMBERED: Final = 4096
"""Addresses whose judgement is kept."""
_QUIET: Final = 60
"""Seconds between two lines of the log about refused addresses."""


def read_network(text: str) -> Network:
    """An address or network, an IPv4-mapped one as IPv4, as addresses are.  Raises ValueError."""
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


@final
class Admission:
    """Who may ask at one address of ours: whom `deny` names may not; where `allow` names some, only they may.

    Unix sockets always may: the folder's rights decide there.  `settings` is where the lists come from, in words for
    whoever is refused.  Raises ValueError for what is no network.
    """

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = (), settings: str = "http") -> None:
        self._allow = [read_network(text) for text in allow]
        self._deny = [read_network(text) for text in deny]
        self._settings = settings
        self.judges = bool(self._allow or self._deny)
        """Whether there is anything to judge by."""
        self.admits = lru_cache(_REMEMBERED)(self._judge)
        """Whether an address may come in, as text; empty for a Unix socket.  What is no address may not."""
        self._untold = 0
        self._quiet_until = 0.0

    def _judge(self, peer: str) -> bool:
        if not peer or not self.judges:
            return True
        address = read_address(peer)
        if address is None or any(address in network for network in self._deny):
            return False
        return not self._allow or any(address in network for network in self._allow)

    def check(self, peer: str) -> None:
        """Count a refusal and tell the log from time to time.  Raises DENIED, which says why but not who may."""
        if self.admits(peer):
            return
        _REFUSED.add(self._settings)
        self._untold += 1
        if monotonic() >= self._quiet_until:
            log.warning("an address is not let in", address=peer, settings=self._settings, times=self._untold)
            self._quiet_until, self._untold = monotonic() + _QUIET, 0
        raise RegistryError(
            Code.DENIED,
            f"the address {peer} is not let in: {self._settings}.allow and {self._settings}.deny decide that; whoever "
            "runs the registry can change them",
            address=peer,
        )


EVERYBODY: Final = Admission()
"""Nothing is set: whoever can reach us may ask."""

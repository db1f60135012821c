"""What the rooms of this package know of a connection, so that none of them imports it."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Protocol

from uvicorn.protocols.http.flow_control import FlowControl

from moorage.edge.http import Handler, Observer
from moorage.edge.server.answers import Starts
from moorage.edge.server.ids import RequestIds
from moorage.edge.server.limits import Limits
from moorage.edge.server.networks import Admission
from moorage.edge.server.pool import Pool
from moorage.edge.server.proxies import Trust
from moorage.edge.server.turns import Turns
from moorage.telemetry import logger

NEVER: Final = float("inf")

log: Final = logger("moorage.server")


class Seats:
    """How many connections are served at a time; with `turns`, other processes are told how many there are."""

    def __init__(self, count: int | None, turns: Turns | None = None) -> None:
        self._free = count
        self._turns = turns

    def take(self) -> bool:
        """Whether there was a seat; who took one must `leave`."""
        if self._free is not None:
            if self._free <= 0:
                return False
            self._free -= 1
        if self._turns is not None:
            self._turns.come()
        return True

    def leave(self) -> None:
        if self._free is not None:
            self._free += 1
        if self._turns is not None:
            self._turns.go()


class Unsent:
    """Large answers that their clients do not take, whole in memory as long as that lasts.

    Not to read costs a client nothing.  Where such answers come to more than `most` bytes together, the one that has
    waited longest is cut.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._total = 0
        self._sizes: dict[Wire, int] = {}

    def add(self, wire: "Wire", size: int) -> None:
        """An answer of `size` bytes waits for this connection's client."""
        self.remove(wire)
        self._sizes[wire] = size
        self._total += size
        while self._total > self._most:
            longest = min(self._sizes, key=lambda one: one.flush_by)
            log.info("too much of answers is not taken: the oldest is cut", bytes=self._total)
            self.remove(longest)
            wire.loop.call_soon(longest.cut)

    def remove(self, wire: "Wire") -> None:
        """Nothing waits for this one any more."""
        self._total -= self._sizes.pop(wire, 0)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all connections of a server have in common."""

    handler: Handler
    observe: Observer | None
    limits: Limits
    trust: Trust
    admission: Admission
    ids: RequestIds
    starts: Starts
    pool: Pool
    seats: Seats
    unsent: Unsent
    readers: Executor
    """Threads for file bytes that are not in memory: a cold disk must not stop the loop."""
    certificates: bool
    """Whether handlers are told of the certificates that clients show."""


class Wire(Protocol):
    """One connection, as those who answer on it see it."""

    shared: Shared
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    flow: FlowControl
    plain: bool
    """Not TLS: the kernel may send files and fill buffers by itself."""
    gone: bool
    """The other side is not there any more."""
    tasks: set[asyncio.Task[None]]
    flush_by: float
    """When the client must have taken something of its answer (loop time)."""

    def settle(self, *, streamed: bool) -> bool:
        """An answer is about to go: decide on what is left of the body, and whether the connection goes on."""

    def over(self, *, keep: bool) -> None:
        """The exchange is over."""

    def cut(self) -> None:
        """Reset the connection: what was sent must not look complete."""

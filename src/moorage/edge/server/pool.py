"""A bounded pool of receive buffers, shared by all connections."""

from typing import Final, Protocol

from moorage.edge.server.limits import KIB, MIB

SIZE: Final = MIB
SMALL: Final = 64 * KIB
"""What an upload gets when the pool is empty and little of it has come: it holds up nobody, and nobody it."""

KEPT: Final = 4
"""So many are kept when nobody wants them: a few uploads, one after the other, would have them made anew."""


class Taker(Protocol):
    """Who waits for a buffer."""

    def lend(self, buffer: bytearray, /) -> None: ...


class Pool:
    """Buffers of 1 MiB: fresh pages cost more than the receiving, so they are kept while they are in use."""

    def __init__(self, count: int = 16) -> None:
        self._unmade = count
        self._free: list[bytearray] = []
        self._idle = 0
        """How many of the free ones nobody has wanted since `shrink`."""
        self._waiting: dict[Taker, None] = {}

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for a buffer."""
        return bool(self._waiting)

    def take(self) -> bytearray | None:
        """A buffer, if there is one."""
        if self._free:
            buffer = self._free.pop()
            self._idle = min(self._idle, len(self._free))
            return buffer
        if self._unmade:
            self._unmade -= 1
            return bytearray(SIZE)
        return None

    def wait(self, taker: Taker) -> None:
        """Have the next buffer lent to this one, when those who came before have theirs."""
        self._waiting[taker] = None

    def forgo(self, taker: Taker) -> None:
        self._waiting.pop(taker, None)

    def put(self, buffer: bytearray) -> None:
        if len(buffer) != SIZE:
            return
        if self._waiting:
            first = next(iter(self._waiting))
            del self._waiting[first]
            first.lend(buffer)
        else:
            self._free.append(buffer)

    def forget(self, buffer: bytearray) -> None:
        """Somebody may still look at this one: another may be made instead."""
        if len(buffer) != SIZE:
            return
        if self._waiting:
            self.put(bytearray(SIZE))
        else:
            self._unmade += 1

    def shrink(self) -> bool:
        """Let go of buffers that were free all the time since this was called last; whether there were any."""
        spare = max(0, self._idle - KEPT)
        del self._free[:spare]
        self._unmade += spare
        self._idle = len(self._free)
        return spare > 0

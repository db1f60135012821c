"""A bounded pool of receive buffers, shared by all connections."""

from typing import Final

from moorage.edge.server.limits import KIB, MIB

SIZE: Final = MIB
SMALL: Final = 64 * KIB
"""What an upload gets when the pool is empty: slower, never refused."""


class Pool:
    """Buffers of 1 MiB: fresh pages cost more than the receiving, so they are kept."""

    def __init__(self, count: int = 48) -> None:
        self._unmade = count
        self._free: list[bytearray] = []

    def take(self) -> bytearray:
        if self._free:
            return self._free.pop()
        if self._unmade:
            self._unmade -= 1
            return bytearray(SIZE)
        return bytearray(SMALL)

    def put(self, buffer: bytearray) -> None:
        if len(buffer) == SIZE:
            self._free.append(buffer)

    def forget(self, buffer: bytearray) -> None:
        """Somebody may still look at this one: another may be made instead."""
        if len(buffer) == SIZE:
            self._unmade += 1

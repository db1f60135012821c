"""Taking turns at one listening socket: of several processes, whoever has more connections than others stands back.

The kernel wakes all of them for each connection that comes, and without this the first to wake takes all of a burst.

    listening      1 │ 1 │ 0        a number for each process, in memory that they share
    connections    3 │ 4 │ 0
"""

import mmap
from dataclasses import dataclass


def shared_numbers(count: int) -> "memoryview[int]":
    """Numbers, 0 at first, in memory that this process and all that it forks have in common."""
    return memoryview(mmap.mmap(-1, 4 * count)).cast("i")


@dataclass(frozen=True, slots=True)
class Turns:
    """The place of process `mine` among those that share a listening socket."""

    listening: "memoryview[int]"
    connections: "memoryview[int]"
    mine: int

    @property
    def ahead(self) -> bool:
        """Whether another that listens has clearly fewer connections."""
        mine = self.connections[self.mine]
        others = (count for count, listens in zip(self.connections, self.listening, strict=True) if listens)
        least = min(others, default=mine)
        return mine > least + least // 8

    def join(self) -> None:
        """This process listens from now on."""
        self.listening[self.mine] = 1

    def leave(self) -> None:
        """It does no longer; its connections may go on."""
        self.listening[self.mine] = 0

    def come(self) -> None:
        """It has one more connection."""
        self.connections[self.mine] += 1

    def go(self) -> None:
        """And one less."""
        self.connections[self.mine] -= 1

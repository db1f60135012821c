"""Whose turn it is at a socket that several listen on: here two of them in one loop, as two processes would."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from moorage.edge.server import accepting
from moorage.edge.server.accepting import Accepting
from moorage.edge.server.binding import bound
from moorage.edge.server.turns import Turns, shared_numbers


class Guest(asyncio.Protocol):
    """A connection that counts for as long as the test lasts, whatever its client does."""

    def __init__(self, side: "Side") -> None:
        self._side = side
        side.taken += 1
        side.turns.come()

    def connection_lost(self, _: Exception | None) -> None:
        self._side.gone += 1


class Side:
    """One that listens."""

    def __init__(self, listening: socket.socket, turns: Turns) -> None:
        self.turns = turns
        self.taken = self.gone = 0
        turns.join()
        self._accepting = Accepting(listening.dup(), turns, lambda: Guest(self), None, None)

    def close(self) -> None:
        self._accepting.close()
        self.turns.leave()


@pytest.fixture
def door() -> Iterator[socket.socket]:
    (one,) = bound("127.0.0.1", 0)
    one.listen(100)
    yield one
    one.close()


def two_turns() -> tuple[Turns, Turns]:
    listening, connections = shared_numbers(2), shared_numbers(2)
    return Turns(listening, connections, 0), Turns(listening, connections, 1)


async def knock(door: socket.socket, times: int, sides: list[Side]) -> None:
    """Connect so often at once, and wait until all are let in."""
    wanted = sum(side.taken for side in sides) + times
    clients = [socket.create_connection(door.getsockname()) for _ in range(times)]
    async with asyncio.timeout(30):
        while sum(side.taken for side in sides) < wanted:
            await asyncio.sleep(0.001)
        for client in clients:
            client.close()
        while sum(side.gone for side in sides) < wanted:
            await asyncio.sleep(0.001)


async def test_whoever_has_fewer_connections_takes_the_next(
    door: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "_STAND_BACK", 30.0)  # a busy machine is no reason for the other to be late
    for ahead in (0, 1):
        sides = [Side(door, turns) for turns in two_turns()]
        for _ in range(20):
            sides[ahead].turns.come()
        await knock(door, 15, sides)
        assert (sides[ahead].taken, sides[1 - ahead].taken) == (0, 15)
        for side in sides:
            side.close()


async def test_what_another_leaves_is_taken_all_the_same(door: socket.socket) -> None:
    here, there = two_turns()
    there.join()  # it listens, and is stuck
    side = Side(door, here)
    for _ in range(50):
        here.come()
    await knock(door, 40, [side])
    assert side.taken == 40
    side.close()


async def test_nobody_stands_back_for_who_does_not_listen(door: socket.socket) -> None:
    here, there = two_turns()
    side = Side(door, here)
    for _ in range(50):
        here.come()
    assert not here.ahead
    there.join()
    assert here.ahead
    there.leave()
    assert not here.ahead
    side.close()

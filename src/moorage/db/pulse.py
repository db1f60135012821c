"""Feeling the pulse of a PostgreSQL server: whether one that keeps us waiting is slow, or cut off.

A network that swallows everything gives no error, and its connections stand still for as long as TCP hopes.  So
whoever has waited for long has the server asked, over a new connection; if that is not even accepted in time, all
that are open are hung up, which wakes the threads that wait on them.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg

from moorage.db.threads import Threads
from moorage.telemetry import logger


class Pulse:
    """Watches over the connections that are in use.  `connect` makes a new one, within a few seconds or not at all."""

    def __init__(
        self, connect: Callable[[], "psycopg.Connection[Any]"], dead: Callable[[], None], pause: float
    ) -> None:
        """`dead` is called before connections are hung up; `pause` is how many seconds lie between two questions."""
        self._connect = connect
        self._dead = dead
        self._pause = pause
        self._used: set[psycopg.Connection[Any]] = set()
        self._feeling: asyncio.Task[None] | None = None
        self.watched: Sequence[Threads] = ()

    def use(self, connection: "psycopg.Connection[Any]") -> None:
        """A thread is about to wait for an answer on this connection."""
        self._used.add(connection)

    def leave(self, connection: "psycopg.Connection[Any]") -> None:
        self._used.discard(connection)

    def doubt(self) -> None:
        """Somebody has waited for long: have the server asked, unless that is going on."""
        if self._feeling is None or self._feeling.done():
            self._feeling = asyncio.get_running_loop().create_task(self._feel())

    async def _feel(self) -> None:
        while any(threads.overdue for threads in self.watched):
            if not await asyncio.to_thread(self._is_alive):
                logger(__name__).warning("the database server is cut off: its connections are hung up")
                self._hang_up()
                return
            await asyncio.sleep(self._pause)

    def _is_alive(self) -> bool:
        """Whether the server takes a new connection, or at least says why not."""
        try:
            self._connect().close()
        except psycopg.errors.ConnectionTimeout:
            return False
        except psycopg.Error:
            return True
        return True

    def _hang_up(self) -> None:
        self._dead()
        for connection in list(self._used):
            # The thread that waits on it holds the connection's own lock; the socket can be shut under it.
            with suppress(psycopg.Error, OSError):
                end = socket.socket(fileno=connection.fileno())
                try:
                    end.shutdown(socket.SHUT_RDWR)
                finally:
                    end.detach()
        for threads in self.watched:
            threads.give_up()

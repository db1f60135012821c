"""The server: listens, keeps the connections' time, and knows how to stop."""

import asyncio
import ctypes
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import final

from uvicorn.server import ServerState

from moorage.edge.http import Handler, Observer
from moorage.edge.server.accepting import Accepting
from moorage.edge.server.answers import Starts
from moorage.edge.server.binding import bound, bound_unix
from moorage.edge.server.connection import Connection
from moorage.edge.server.ids import RequestIds
from moorage.edge.server.limits import Limits
from moorage.edge.server.networks import EVERYBODY, Admission
from moorage.edge.server.pool import Pool
from moorage.edge.server.proxies import Trust
from moorage.edge.server.renewal import Renewable
from moorage.edge.server.turns import Turns
from moorage.edge.server.wire import Seats, Shared, Unsent

BACKLOG = 2048
READERS = 4
"""Threads that read files which are not in memory."""


@final
class Server:
    """Serves one handler on any number of addresses of the running loop.

    `trusted_proxies` are addresses, networks or `unix`; ValueError for anything else.  With `certificates`, handlers
    are told of those that clients show, where TLS verifies them.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        limits: Limits | None = None,
        observe: Observer | None = None,
        trusted_proxies: tuple[str, ...] = (),
        admission: Admission = EVERYBODY,
        certificates: bool = False,
        turns: Turns | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._shared = Shared(
            handler,
            observe,
            self.limits,
            Trust(trusted_proxies),
            admission,
            RequestIds(),
            Starts(),
            Pool(),
            Seats(self.limits.connections, turns),
            Unsent(self.limits.unsent_bytes),
            ThreadPoolExecutor(READERS, "moorage-read"),
            certificates,
        )
        self._turns = turns
        self._state = ServerState()
        self._listening: list[asyncio.AbstractServer | Accepting] = []
        self._tls: list[Renewable] = []
        self._clock: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._state.connections)

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> tuple[str, int]:
        """Accept connections; gives the address, with the port chosen where `port` is 0.  Raises OSError."""
        sockets = bound(host, port)
        name = sockets[0].getsockname()
        await self.listen_on(sockets, tls)
        return str(name[0]), int(name[1])

    async def listen_unix(self, path: str, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections on a Unix socket.  Raises OSError."""
        await self.listen_on([bound_unix(path)], tls)

    async def listen_on(self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None = None) -> None:
        """Accept connections on sockets that are bound; they are ours from here on.  Raises OSError."""
        loop = asyncio.get_running_loop()
        context = self._renewable(tls)
        handshake = self.limits.header_seconds if tls else None

        def protocol() -> Connection:
            return Connection(self._shared, self._state, loop)

        for one in sockets:
            if self._turns is not None:
                one.listen(BACKLOG)
                self._listening.append(Accepting(one, self._turns, protocol, context, handshake))
                self._turns.join()
                continue
            create = loop.create_unix_server if one.family == socket.AF_UNIX else loop.create_server
            self._listening.append(
                await create(protocol, sock=one, backlog=BACKLOG, ssl=context, ssl_handshake_timeout=handshake)
            )
        if self._clock is None:
            self._clock = loop.call_later(self.limits.tick, self._tick, loop)

    def _renewable(self, tls: ssl.SSLContext | None) -> Renewable | None:
        if tls is None:
            return None
        self._tls.append(Renewable(tls))
        return self._tls[-1]

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        # One walk over all connections costs less than a timer set and unset with every request.
        now = loop.time()
        self._clock = loop.call_later(self.limits.tick, self._tick, loop)
        for connection in self._connections():
            connection.check(now)
        if self._shared.pool.shrink():
            self._shared.readers.submit(_give_memory_back)

    def _connections(self) -> list[Connection]:
        return [one for one in self._state.connections if isinstance(one, Connection)]

    def swap_tls(self, tls: ssl.SSLContext) -> None:
        """New handshakes use this.  Open connections live on, but whoever showed a certificate has to show it again."""
        for one in self._tls:
            one.current = tls
        for connection in self._connections():
            if connection.certified:
                connection.shutdown()

    async def drain(self, seconds: float | None = None) -> None:
        """Accept no more; let running exchanges finish for up to `seconds`; then abort what is left."""
        loop = asyncio.get_running_loop()
        self._stop_listening()
        for connection in self._connections():
            connection.shutdown()
        until = loop.time() + (self.limits.drain_seconds if seconds is None else seconds)
        while (self._state.connections or self._state.tasks) and loop.time() < until:  # noqa: ASYNC110 - both sets are uvicorn's
            await asyncio.sleep(0.02)
        self.abort()
        tasks = [task for task in self._state.tasks if task is not asyncio.current_task()]
        if tasks:
            await asyncio.wait(tasks, timeout=1)

    def abort(self) -> None:
        """Stop at once: connections are reset, handlers cancelled."""
        self._stop_listening()
        for connection in self._connections():
            connection.cut()
        for task in list(self._state.tasks):
            task.cancel()
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        self._shared.readers.shutdown(wait=False)

    def _stop_listening(self) -> None:
        if self._turns is not None:
            self._turns.leave()
        for server in self._listening:
            server.close()
        self._listening.clear()


def _give_memory_back() -> None:
    """A crowd has left: let the system have the pages that what is left of the heap lies between."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)

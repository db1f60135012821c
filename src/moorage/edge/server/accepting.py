"""Accepting connections on a socket that other processes listen on as well, in turns with them."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

from moorage.edge.server.turns import Turns
from moorage.edge.server.wire import log

_STAND_BACK: Final = 0.005
"""Seconds that others are given to take what this process leaves to them."""

_MOST: Final = 16
"""The most connections that are taken together where nobody else did: the others may be busy, or stuck."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_REST: Final = 1.0
"""Seconds until accepting is tried again where the system has no room for a connection."""


class Accepting:
    """Accepts on one socket, for the running loop, when it is this process's turn."""

    def __init__(
        self,
        listening: socket.socket,
        turns: Turns,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        handshake: float | None,
    ) -> None:
        """`handshake` is how many seconds that of TLS may take."""
        self._listening, self._turns, self._protocol = listening, turns, protocol
        self._tls, self._handshake = tls, handshake
        self._loop = asyncio.get_running_loop()
        self._making: set[asyncio.Task[None]] = set()
        self._later: asyncio.TimerHandle | None = None
        self._lot = 1
        """How many to take after the next wait: twice as many with each that was for nothing."""
        self._loop.add_reader(listening, self._look)

    def close(self) -> None:
        """Accept no more; connections stay."""
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    def _look(self) -> None:
        if self._turns.ahead:
            self._pause(_STAND_BACK)
        else:
            self._lot = 1
            self._accept()

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._later = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._later = None
        self._loop.add_reader(self._listening, self._look)
        for _ in range(self._lot):
            if not self._accept():
                self._lot = 1
                return
        self._lot = min(2 * self._lot, _MOST)

    def _accept(self) -> bool:
        """Whether there was a connection."""
        try:
            accepted, _ = self._listening.accept()
        except OSError as reason:  # mostly another process was faster
            if reason.errno in _EXHAUSTED:
                log.error("no connection can be accepted", error=str(reason))
                self._pause(_REST)
            return False
        accepted.setblocking(False)
        self._turns.come()
        task = self._loop.create_task(self._make(accepted))
        self._making.add(task)
        task.add_done_callback(self._making.discard)
        return True

    async def _make(self, accepted: socket.socket) -> None:
        """Hand it to its protocol, which takes a seat and is counted by that."""
        try:
            await self._loop.connect_accepted_socket(
                self._protocol, accepted, ssl=self._tls, ssl_handshake_timeout=self._handshake
            )
        except OSError as reason:  # its client went away, or does not speak TLS
            log.debug("a connection came to nothing", error=str(reason))
        finally:
            self._turns.go()

"""A request's body on its way in, with reading paused while the handler is busy."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from moorage.errors import Code, Interrupted, RegistryError

BACKLOG: Final = 1024 * 1024
"""Bytes that may wait for the handler before reading is paused."""


class IncomingBody:
    """What `moorage.edge.http.Body` promises, fed by the parser."""

    def __init__(self, transport: asyncio.Transport, length: int | None, patience: float, *, expects: bool) -> None:
        self.length = length
        self._transport, self._patience, self._expects = transport, patience, expects
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._arrival: asyncio.Future[None] | None = None
        self._paused = self._lost = False
        self.complete = False
        self.discarded = 0
        self._discarding = False

    def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        return self

    async def __anext__(self) -> bytes | memoryview:
        while not self._pieces:
            if self.complete:
                raise StopAsyncIteration
            if self._lost:
                raise Interrupted
            await self._more()
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        return piece

    async def _more(self) -> None:
        if self._expects:
            self._expects = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        loop = asyncio.get_running_loop()
        self._arrival = loop.create_future()
        timer = loop.call_later(self._patience, self._stalled)
        try:
            await self._arrival
        finally:
            timer.cancel()
            self._arrival = None

    def _stalled(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_exception(
                RegistryError(Code.REQUEST_TIMEOUT, f"nothing of the body has arrived for {self._patience:g} seconds")
            )

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def feed(self, piece: bytes) -> None:
        if self._discarding:
            self.discarded += len(piece)
            return
        self._pieces.append(piece)
        self._waiting += len(piece)
        if self._waiting >= BACKLOG and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def finish(self) -> None:
        self.complete = True
        self._wake()

    def lose(self) -> None:
        self._lost = True
        self._wake()

    def discard(self) -> None:
        """The handler has answered: whatever is still to come is of no interest."""
        self._discarding = True
        self._pieces.clear()
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    @property
    def unsolicited(self) -> bool:
        """The client still waits for leave to send the body, so it will not come."""
        return self._expects

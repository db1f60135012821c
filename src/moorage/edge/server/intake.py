"""A large body on its way from the kernel straight into the buffer that storage will write from.

While one is under way this little protocol stands in for the connection's: the transport receives into a
pooled buffer, never past the body's end, and pauses while the handler works.
"""

import asyncio
from typing import Final, Protocol, final

from uvicorn.protocols.http.flow_control import FlowControl

from moorage.edge.server.bodies import Incoming
from moorage.edge.server.pool import Pool

SILENCE: Final = 0.5
"""After so many seconds without a byte a partly filled buffer is handed over: a slow client hoards none."""


class Host(Protocol):
    """The connection whose place is taken for a while."""

    loop: asyncio.AbstractEventLoop
    flow: FlowControl

    def body_arrives(self) -> None: ...
    def body_pauses(self) -> None: ...
    def intake_ended(self) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


@final
class Intake(asyncio.BufferedProtocol):
    """Receives the `left` bytes that are still to come of `body`."""

    def __init__(self, host: Host, body: Incoming, pool: Pool, left: int) -> None:
        self.left = left
        self._host = host
        self._body = body
        self._pool = pool
        self._buffer: bytearray | None = None
        self._filled = 0
        self._end = 0
        self._heard = 0
        self._timer: asyncio.TimerHandle | None = None

    def fill(self) -> None:
        """The handler waits: receive the next buffer."""
        if self._buffer is None:
            self._buffer = self._pool.take()
            self._filled = self._heard = 0
            self._end = min(len(self._buffer), self.left)
            self._timer = self._host.loop.call_later(SILENCE, self._silence)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        assert self._buffer is not None, "reading is paused while there is no buffer"
        return memoryview(self._buffer)[self._filled : self._end]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        self.left -= nbytes
        if self._filled == self._end:
            self._hand_over()
        else:
            self._host.body_arrives()

    def _silence(self) -> None:
        if self._filled > self._heard or not self._filled:
            self._heard = self._filled
            self._timer = self._host.loop.call_later(SILENCE, self._silence)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        buffer = self._release()
        if self.left:
            self._host.body_pauses()
        if buffer is not None:
            self._body.give(buffer, self._filled)
        if not self.left:
            self._body.end()
            self._host.intake_ended()

    def _release(self) -> bytearray | None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        buffer, self._buffer = self._buffer, None
        return buffer

    def stop(self) -> None:
        """Nobody wants the rest."""
        buffer = self._release()
        if buffer is not None:
            self._pool.put(buffer)

    def eof_received(self) -> bool | None:
        return self._host.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        # What came before the cut is handed over: it may be kept, and the upload continued behind it.
        buffer = self._release()
        if buffer is not None:
            if self._filled:
                self._body.give(buffer, self._filled)
            else:
                self._pool.put(buffer)
        self._host.connection_lost(exc)

    def pause_writing(self) -> None:
        self._host.pause_writing()

    def resume_writing(self) -> None:
        self._host.resume_writing()

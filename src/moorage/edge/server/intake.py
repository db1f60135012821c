"""A large body on its way from the kernel straight into the buffer that storage will write from.

While one is under way this little protocol stands in for the connection's: the transport receives into a
pooled buffer, never past a known end, and pauses while the handler works.  Of a chunked body the framing is
squeezed out where it lies.  Where there are more uploads than buffers, those whose bytes pile up in the kernel
take turns: a turn in small pieces would cost each of them, and the loop, many times as much.
"""

import asyncio
from typing import Final, Protocol, final

from uvicorn.protocols.http.flow_control import FlowControl

from moorage.edge.server.bodies import Incoming
from moorage.edge.server.chunks import Chunks
from moorage.edge.server.kernel import unread
from moorage.edge.server.limits import KIB
from moorage.edge.server.pool import SMALL, Pool
from moorage.errors import RegistryError

SILENCE: Final = 0.5
"""After so many seconds without a byte, or while others wait, a partly filled buffer is handed over."""
_FRAMED: Final = 256 * KIB
"""The most that is received at once of a chunked body: tiny chunks take long to squeeze out, and others wait."""


class Host(Protocol):
    """The connection whose place is taken for a while."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    flow: FlowControl

    def body_arrives(self, count: int) -> None: ...
    def body_pauses(self) -> None: ...
    def body_goes_on(self) -> None: ...
    def intake_ended(self, rest: bytes) -> None: ...
    def intake_failed(self, error: RegistryError) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


@final
class Intake(asyncio.BufferedProtocol):
    """Receives what is still to come of `body`: `left` bytes, or what `chunks` say."""

    def __init__(self, host: Host, body: Incoming, pool: Pool, left: int, chunks: Chunks | None) -> None:
        self.left = left
        self._chunks = chunks
        self._host = host
        self._body = body
        self._pool = pool
        self._buffer: bytearray | None = None
        self._filled = 0
        self._end = 0
        self._heard = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> bool:
        """Get ready to receive.  False where that has to wait for a buffer: it will be lent, and the host told."""
        if self._buffer is None and unread(self._host.transport) >= SMALL:
            buffer = self._pool.take()
            if buffer is None:
                self._pool.wait(self)
                return False
            self._use(buffer)
        return True

    def lend(self, buffer: bytearray, /) -> None:
        self._use(buffer)
        self._host.body_goes_on()

    def _use(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self._filled = self._heard = 0
        size = len(buffer)
        self._end = size if self._chunks is not None else min(size, self.left)
        self._timer = self._host.loop.call_later(SILENCE, self._silence)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Called when there is something to receive: who sends nothing holds no buffer."""
        if self._buffer is None:
            self._use(self._pool.take() or bytearray(SMALL))
        assert self._buffer is not None
        end = self._end if self._chunks is None else min(self._end, self._filled + _FRAMED)
        return memoryview(self._buffer)[self._filled : end]

    def buffer_updated(self, nbytes: int) -> None:
        self._host.body_arrives(nbytes)
        if self._chunks is not None:
            self._squeeze(self._chunks, nbytes)
            return
        self._filled += nbytes
        self.left -= nbytes
        if not self.left:
            self._finish(b"")
        elif self._filled == self._end:
            self._hand_over()

    def _squeeze(self, chunks: Chunks, nbytes: int) -> None:
        assert self._buffer is not None
        try:
            self._filled, rest = chunks.squeeze(self._buffer, self._filled, self._filled + nbytes)
        except RegistryError as error:
            self.stop()
            self._host.intake_failed(error)
            return
        if chunks.ended:
            self._finish(rest)
        elif self._end - self._filled < self._end // 16:
            self._hand_over()

    def _silence(self) -> None:
        if self._filled > self._heard and not self._pool.wanted:
            self._heard = self._filled
            self._timer = self._host.loop.call_later(SILENCE, self._silence)
        elif self._filled:
            self._hand_over()
        else:
            self.stop()

    def _hand_over(self) -> None:
        self._host.body_pauses()
        self._give()

    def _finish(self, rest: bytes) -> None:
        self._give()
        self._body.end()
        self._host.intake_ended(rest)

    def _give(self) -> None:
        buffer = self._release()
        if buffer is not None:
            if self._filled:
                self._body.give(buffer, self._filled)
            else:
                self._pool.put(buffer)

    def _release(self) -> bytearray | None:
        self._pool.forgo(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        buffer, self._buffer = self._buffer, None
        return buffer

    def stop(self) -> None:
        """Give the buffer back: nobody wants the rest, or there is none yet."""
        buffer = self._release()
        if buffer is not None:
            self._pool.put(buffer)

    def eof_received(self) -> bool | None:
        return self._host.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        # What came before the cut is handed over: it may be kept, and the upload continued behind it.
        self._give()
        self._host.connection_lost(exc)

    def pause_writing(self) -> None:
        self._host.pause_writing()

    def resume_writing(self) -> None:
        self._host.resume_writing()

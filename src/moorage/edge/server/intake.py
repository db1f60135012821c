"""A large body on its way from the kernel straight into the buffer that storage will write from.

While one is under way this little protocol stands in for the connection's: the transport receives into a
pooled buffer, never past a known end, and pauses while the handler works.  Of a chunked body the framing is
squeezed out where it lies.  A thread that has used a buffer fills it again itself with what has come meanwhile:
by way of the loop, and perhaps of another core, each MiB cost a sixth more.  Where there are more uploads than
buffers, those whose bytes pile up in the kernel take turns: a turn in small pieces would cost each of them, and
the loop, many times as much.
"""

import asyncio
import os
from collections.abc import Sequence
from threading import Lock
from typing import Final, Protocol, final

from uvicorn.protocols.http.flow_control import FlowControl

from moorage.edge.server.bodies import Incoming
from moorage.edge.server.chunks import Chunks
from moorage.edge.server.kernel import unread
from moorage.edge.server.limits import KIB, MIB
from moorage.edge.server.pool import SIZE, SMALL, Pool
from moorage.errors import RegistryError

SILENCE: Final = 0.5
"""After so many seconds without a byte, or while others wait, a partly filled buffer is handed over."""
TURN: Final = 8 * MIB
"""The most that a thread receives for one upload before others get their turn."""
_FRAMED: Final = 256 * KIB
"""The most that is received at once of a chunked body: tiny chunks take long to squeeze out, and others wait."""


class Host(Protocol):
    """The connection whose place is taken for a while."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    flow: FlowControl
    gone: bool

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
        self._twin = Twin(host.transport)
        self._buffer: bytearray | None = None
        self._filled = 0
        self._end = 0
        self._heard = 0
        self._rest = b""
        """What came behind the body."""
        self._untold = 0
        """How much has come to threads that the host has not been told of."""
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
        self._empty(buffer)
        self._watch()

    def _empty(self, buffer: bytearray) -> None:
        """From now on nothing is in this buffer, of which as much will be filled as is best to write."""
        self._filled = 0
        self._end = len(buffer)
        if self._chunks is None:
            # Pieces end where whole ones would: the page cache takes those in the largest folios.
            assert self._body.length is not None
            self._end = min(self._end - (self._body.length - self.left) % self._end, self.left)

    def _watch(self) -> None:
        self._heard = self._filled
        self._timer = self._host.loop.call_later(SILENCE, self._silence)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Called when there is something to receive: who sends nothing holds no buffer."""
        if self._buffer is None:
            self._use(self._pool.take() or bytearray(SMALL))
        assert self._buffer is not None
        return self._space(self._buffer)

    def _space(self, buffer: bytearray) -> memoryview:
        end = self._end if self._chunks is None else min(self._end, self._filled + _FRAMED)
        return memoryview(buffer)[self._filled : end]

    def buffer_updated(self, nbytes: int) -> None:
        self._host.body_arrives(nbytes)
        assert self._buffer is not None
        try:
            full = self._fill(self._buffer, nbytes)
        except RegistryError as error:
            self.close()
            self._host.intake_failed(error)
            return
        if self._ended:
            self._give()
            self._finish()
        elif full:
            self._hand_over()

    def _fill(self, buffer: bytearray, nbytes: int, spaces: Sequence[memoryview] = ()) -> bool:
        """So many bytes have come into the space, or `spaces`.  Whether that makes a piece.  Raises REQUEST_INVALID."""
        if self._chunks is None:
            self._filled += nbytes
            self.left -= nbytes
            return self._filled == self._end
        if len(spaces) > 1:
            self._filled, self._rest = self._chunks.settle(spaces, nbytes, buffer, self._filled)
        else:
            self._filled, self._rest = self._chunks.squeeze(buffer, self._filled, self._filled + nbytes)
        return self._chunks.ended or self._end - self._filled < self._end // 16

    @property
    def _ended(self) -> bool:
        return not self.left if self._chunks is None else self._chunks.ended

    def refill(self, buffer: bytearray, /) -> int:
        if self._ended or self._untold >= TURN or self._pool.wanted or len(buffer) < SIZE:
            return 0
        self._empty(buffer)
        come = 0
        while come < SIZE:  # of tiny chunks little is content
            with self._twin.used:
                count = self._twin.receive(spaces := self._spaces(buffer))
                if not count:
                    break
                self._untold += count
                full = self._fill(buffer, count, spaces)
            if full:
                filled, self._filled = self._filled, 0
                return filled
            come += count
        return 0

    def _spaces(self, buffer: bytearray) -> list[memoryview]:
        foretold = self._chunks.foretell(buffer, self._filled, self._end) if self._chunks is not None else []
        return foretold or [self._space(buffer)]

    def take_back(self, buffer: bytearray, /) -> None:
        untold, self._untold = self._untold, 0
        if self._host.gone:
            self._pool.put(buffer)
            return
        self._host.body_arrives(untold)
        if self._filled:
            self._buffer = buffer
            self._watch()
            return
        self._pool.put(buffer)
        if self._ended:
            self._finish()

    def _silence(self) -> None:
        if self._filled > self._heard and not self._pool.wanted:
            self._watch()
        elif self._filled:
            self._hand_over()
        else:
            self.stop()

    def _hand_over(self) -> None:
        self._host.body_pauses()
        self._give()

    def _finish(self) -> None:
        self._twin.close()
        self._body.end()
        self._host.intake_ended(self._rest)

    def _give(self) -> None:
        buffer = self._release()
        if buffer is not None:
            filled, self._filled = self._filled, 0
            if filled:
                self._body.give(buffer, filled, None if self._ended else self)
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

    def close(self) -> None:
        """Nothing more is received here, and `left` is final."""
        self.stop()
        self._twin.close()

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


@final
class Twin:
    """The connection's socket once more, for threads.  It shares O_NONBLOCK with the original: leave it alone."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.used = Lock()
        """Held by a thread while it receives, and until it has noted what.  Closing waits for it: so no thread ever
        meets another's number, and afterwards it is known how much has come."""
        try:
            self._fd = os.dup(transport.get_extra_info("socket").fileno())
        except OSError:  # too many open files: the loop receives all of it
            self._fd = -1

    def receive(self, spaces: Sequence[memoryview]) -> int:
        """What is there already, as far as it fits.  0 where nothing is; an end or an error is left to the loop.
        To be called with `used` held.
        """
        if self._fd < 0:
            return 0
        try:
            return os.readv(self._fd, spaces)
        except OSError:
            return 0

    def close(self) -> None:
        with self.used:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

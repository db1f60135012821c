"""File bodies: small ones read at once, large ones sent by the kernel, cold ones warmed in a thread first."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Final, final

from moorage.edge.http import FileRange
from moorage.edge.server.limits import KIB, MIB
from moorage.edge.server.wire import NEVER, Wire

SMALL: Final = 64 * KIB
"""Up to this size a file leaves in the one write with its head."""
TURN: Final = 2 * MIB
"""The most one connection sends before others get their turn; also how far ahead we look for cold pages."""
AHEAD: Final = 8 * MIB
PIECE: Final = 256 * KIB

_NOWAIT: Final = getattr(os, "RWF_NOWAIT", None)
_MORE: Final = getattr(socket, "MSG_MORE", 0)


def read_resident(body: FileRange) -> bytearray | None:
    """The whole range, if every page of it is in memory; else None, and no time was spent waiting."""
    buffer = bytearray(body.count)
    if body.count and _read_now(body.fd, buffer, body.start) != body.count:
        return None
    return buffer


def _read_now(fd: int, buffer: bytearray, offset: int) -> int:
    """Bytes read without waiting for a disk; -1 where there are none in memory, or nobody can tell."""
    if _NOWAIT is None:
        return -1
    try:
        return os.preadv(fd, [buffer], offset, _NOWAIT)
    except OSError:
        # EAGAIN: not in memory.  EOPNOTSUPP: a file system that does not say.  A real error shows up in the thread.
        return -1


def _is_resident(fd: int, start: int, count: int) -> bool:
    """Whether the first and the last page of a window are in memory (or behind the end of the file)."""
    probe = bytearray(1)
    return _read_now(fd, probe, start) >= 0 and _read_now(fd, probe, start + count - 1) >= 0


def _warm(fd: int, start: int, count: int) -> None:
    """Bring a window into memory; for a thread."""
    os.posix_fadvise(fd, start, count + AHEAD, os.POSIX_FADV_WILLNEED)
    scratch = bytearray(min(PIECE, count))
    at = start
    while at < start + count:
        read = os.preadv(fd, [scratch], at)
        if not read:
            return
        at += read


@final
class FilePieces:
    """A file's range as pieces read in a thread: under TLS, and for small files that are not in memory.

    Ends early where the file does.  Closes the file, but never under a thread that still reads it.
    """

    def __init__(self, body: FileRange, loop: asyncio.AbstractEventLoop, readers: Executor) -> None:
        self._fd = body.fd
        self._at = body.start
        self._end = body.start + body.count
        self._loop = loop
        self._readers = readers
        self._reading: asyncio.Future[bytes] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._at == self._end:
            raise StopAsyncIteration
        size = min(PIECE, self._end - self._at)
        self._reading = self._loop.run_in_executor(self._readers, os.pread, self._fd, size, self._at)
        piece = await asyncio.shield(self._reading)
        self._reading = None
        if not piece:
            raise StopAsyncIteration
        self._at += len(piece)
        return piece

    async def aclose(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._reading is not None and not self._reading.done():
            self._reading.add_done_callback(lambda done: _close_after(done, fd))
        else:
            os.close(fd)


def _close_after(reading: asyncio.Future[bytes], fd: int) -> None:
    os.close(fd)
    if not reading.cancelled():
        reading.exception()  # nobody waits for it any more


@final
class FileSend:
    """Sends a head and a file's range by `sendfile`, a bounded part each turn of the loop.

    It writes on a duplicate of the connection's socket, because uvloop guards its own.  The duplicate shares
    O_NONBLOCK with it: leave it alone.  `done` is called once, with the file's bytes sent and whether they were all.
    """

    def __init__(self, wire: Wire, head: bytes, body: FileRange, done: Callable[[int, bool], None]) -> None:
        self._wire = wire
        self._head = head
        self._fd = body.fd
        self._at = body.start
        self._start = body.start
        self._end = body.start + body.count
        self._warm_until = body.start
        self._done: Callable[[int, bool], None] | None = done
        self._warming = False
        self._registered = False
        self._stopped = False
        original = wire.transport.get_extra_info("socket")
        self._socket = socket.socket(original.family, socket.SOCK_STREAM, 0, fileno=os.dup(original.fileno()))

    def turn(self) -> None:
        """Send what the socket takes now, and come back when it takes more."""
        wire = self._wire
        before = self._at
        try:
            if self._head:
                self._head = self._head[self._socket.send(self._head, _MORE) :]
            if not self._head and not self._send():
                return
        except BlockingIOError:
            pass
        except OSError:
            self.stop(complete=False)
            return
        if self._at == self._end and not self._head:
            self.stop(complete=True)
            return
        if self._at > before or not self._registered:
            wire.flush_by = wire.loop.time() + wire.shared.limits.send_seconds
        if not self._registered:
            self._registered = True
            wire.loop.add_writer(self._socket.fileno(), self.turn)

    def _send(self) -> bool:
        """Send up to one turn's worth; False where the sending waits for the disk, or is over."""
        until = min(self._end, self._at + TURN)
        while self._at < until:
            if self._at >= self._warm_until:
                window = min(TURN, self._end - self._at)
                if not _is_resident(self._fd, self._at, window):
                    self._warm_up(window)
                    return False
                self._warm_until = self._at + window
            sent = os.sendfile(self._socket.fileno(), self._fd, self._at, min(until, self._warm_until) - self._at)
            if not sent:
                # The file is shorter than we promised: no complete wrong answer may come of that.
                self.stop(complete=False)
                return False
            self._at += sent
        return True

    def _warm_up(self, window: int) -> None:
        self._unregister()
        self._wire.flush_by = NEVER
        self._warming = True
        self._warm_until = self._at + window
        reading = self._wire.loop.run_in_executor(self._wire.shared.readers, _warm, self._fd, self._at, window)
        reading.add_done_callback(self._warmed)

    def _warmed(self, reading: asyncio.Future[None]) -> None:
        self._warming = False
        failed = reading.cancelled() or reading.exception() is not None
        if self._stopped:
            os.close(self._fd)
        elif failed:
            self.stop(complete=False)
        else:
            self.turn()

    def _unregister(self) -> None:
        if self._registered:
            self._registered = False
            self._wire.loop.remove_writer(self._socket.fileno())

    def stop(self, *, complete: bool = False) -> None:
        """Let go of the file and the socket; the first call decides how it ended."""
        if self._stopped:
            return
        self._stopped = True
        self._unregister()
        self._socket.close()
        if not self._warming:
            os.close(self._fd)
        self._wire.flush_by = NEVER
        done, self._done = self._done, None
        if done is not None:
            done(self._at - self._start, complete)

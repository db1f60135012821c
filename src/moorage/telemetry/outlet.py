"""Standard output and standard error, where nobody waits for whoever reads them.

A pipe or a socket takes some tens of kilobytes that nobody reads, and then holds up whoever writes: an event loop,
and with it a server.  Here lines wait in memory instead, up to a bound, and beyond it they are counted and let go.

Whoever else has the pipe is to notice nothing: not a flag of theirs is changed, for those that fcntl sets are
common to all who have inherited it.
"""

import atexit
import io
import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TextIO, cast
from weakref import WeakSet

ROOM: Final = 1024 * 1024
"""Bytes of lines that wait at most."""
_MOMENT: Final = 0.2
"""Seconds for which the end of a process waits for readers."""

_lock: Final = threading.RLock()
"""For one outlet at a time, and for one thread, which a collection of garbage may have write a line within a line."""


class _End(Protocol):
    """Our own end of a pipe or a socket."""

    def write(self, data: bytes, /) -> int | None:
        """How many bytes were taken; None where that is none for now."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class Outlet(io.TextIOBase):
    """Takes whole lines, from any thread, and gives back at once; what is not taken on is written later, in order."""

    def __init__(self, end: _End, fd: int, together: int, encoding: str) -> None:
        """`fd` is what all have in common, and `together` how many bytes of lines go well in one write."""
        self._end, self._fd, self._together, self._encoding = end, fd, together, encoding
        self._write = end.write
        self._waiting: deque[bytes] = deque()
        self._held = 0
        self._lost = 0
        """Lines let go since, and all that wait are older."""
        self._begun = ""
        self._busy = False
        self.tell_loss: Callable[[int], str] | None = None
        """The line that says how many were let go."""
        _outlets.add(self)

    def put(self, line: str) -> None:
        """Write a line, keep it, or let it go."""
        lines = f"{line}\n".encode(self._encoding, "backslashreplace")
        with _lock:
            if self._busy:
                self._keep(lines)
                return
            self._busy = True
            try:
                if self._waiting and not self._send():
                    self._keep(lines)
                elif (taken := self._write(lines) or 0) < len(lines):
                    self._put_back(lines[taken:])
            except (OSError, ValueError):  # as with any log that cannot be written
                return
            finally:
                self._busy = False

    def write(self, text: str, /) -> int:
        """The same for what prints: a line goes out when its end has come."""
        with _lock:
            whole, end, self._begun = f"{self._begun}{text}".rpartition("\n")
            if end:
                self.put(whole)
        return len(text)

    def retry(self) -> bool:
        """Write what waits; False where something still does."""
        with _lock:
            if self._busy or not self._waiting:
                return not self._waiting
            self._busy = True
            try:
                return self._send()
            finally:
                self._busy = False

    def finish(self, until: float) -> None:
        """Write what waits, and wait for a reader until then at most, in monotonic seconds."""
        if self._begun:
            self.write("\n")
        while not self.retry() and (left := until - time.monotonic()) > 0:
            room = select.poll()
            room.register(self._end, select.POLLOUT)
            room.poll(left * 1000)

    def forget(self) -> None:
        """What waits is another process's to write."""
        self._waiting.clear()
        self._held = self._lost = 0
        self._begun = ""

    def _keep(self, lines: bytes) -> None:
        if self._lost or (self._waiting and self._held + len(lines) > ROOM):
            self._lost += lines.count(b"\n")
        else:
            self._waiting.append(lines)
            self._held += len(lines)

    def _put_back(self, rest: bytes) -> None:
        self._waiting.appendleft(rest)
        self._held += len(rest)

    def _send(self) -> bool:
        """False as soon as something is not taken."""
        waiting = self._waiting
        while waiting:
            lines = waiting.popleft()
            while waiting and len(lines) + len(waiting[0]) <= self._together:
                lines += waiting.popleft()
            taken = self._offer(lines)
            self._held -= len(lines)
            if taken < len(lines):
                self._put_back(lines[taken:])
                return False
            if self._lost and not waiting:
                lost, self._lost = self._lost, 0
                if self.tell_loss is not None:
                    self._keep(f"{self.tell_loss(lost)}\n".encode(self._encoding, "backslashreplace"))
        return True

    def _offer(self, lines: bytes) -> int:
        """How many bytes are done with: what cannot be written at all is."""
        try:
            return self._write(lines) or 0
        except (OSError, ValueError):
            return len(lines)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        if not self.closed:
            self._end.close()
        super().close()


class _Socket:
    """A socket of others to which we write without waiting."""

    def __init__(self, fd: int) -> None:
        own = socket.socket(fileno=os.dup(fd))
        self.streams = own.type == socket.SOCK_STREAM
        self.fileno, self.close = own.fileno, own.close
        send, flags = own.send, int(socket.MSG_DONTWAIT)

        def write(data: bytes, /) -> int | None:
            try:
                return send(data, flags)
            except BlockingIOError:
                return None

        self.write = write


def patient(stream: TextIO) -> TextIO:
    """A stream to the same pipe or socket on which nobody waits; the stream itself where it goes anywhere else.

    It is the same too where a pipe cannot be opened once more, as that of another user.
    """
    try:
        outlet = _outlet(stream.fileno(), stream.encoding)
    except (AttributeError, OSError, ValueError):  # None, where the descriptor was closed from the start
        return stream
    return stream if outlet is None else cast("TextIO", outlet)


def retry() -> bool:
    """Write what waits, of all outlets; False where something still does."""
    return False not in [outlet.retry() for outlet in list(_outlets)]


def finish() -> None:
    """At the end of a process: write what waits, and wait for readers no longer than a moment."""
    until = time.monotonic() + _MOMENT
    for outlet in list(_outlets):
        outlet.finish(until)


def _outlet(fd: int, encoding: str) -> Outlet | None:
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return Outlet(io.FileIO(f"/proc/self/fd/{fd}", "w", opener=_open), fd, select.PIPE_BUF, encoding)
    if stat.S_ISSOCK(mode):
        end = _Socket(fd)
        return Outlet(end, fd, select.PIPE_BUF if end.streams else 0, encoding)
    return None


def _open(path: str, _flags: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_NONBLOCK)


def _begin_anew() -> None:
    for outlet in list(_outlets):
        outlet.forget()
    _lock.release()


_outlets: Final[WeakSet[Outlet]] = WeakSet()
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_begin_anew)
atexit.register(finish)

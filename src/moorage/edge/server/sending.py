"""Sending files: by the kernel on plain connections, read in a thread under TLS."""

import asyncio
import errno
import os
import socket
from typing import Final

from moorage.edge.http import FileRange

TURN: Final = 2 * 1024 * 1024
"""Bytes one connection may send before others get their turn."""

SMALL: Final = 64 * 1024
PIECE: Final = 256 * 1024


class Cut(Exception):  # noqa: N818 - an event, not an error of ours
    """The answer cannot be completed; the connection must end so that the client notices."""


def resident(part: FileRange) -> bytes | None:
    """The whole of a small file range if the page cache has it, else None: never waits for a disk."""
    buffer = bytearray(part.count)
    try:
        got = os.preadv(part.fd, [buffer], part.start, os.RWF_NOWAIT)
    except OSError:
        return None
    return bytes(buffer) if got == part.count else None


async def send_file(transport: asyncio.Transport, head: bytes, part: FileRange, patience: float) -> None:
    """Send `head` and the file range over a plain connection whose write buffer is empty."""
    loop = asyncio.get_running_loop()
    source = transport.get_extra_info("socket")
    out = os.dup(source.fileno())
    try:
        with socket.socket(fileno=os.dup(out)) as plain:
            await _send_head(loop, plain, out, head, patience)
        at, stop = part.start, part.start + part.count
        while at < stop:
            window = min(TURN, stop - at)
            if not _last_page_resident(part.fd, at + window):
                await loop.run_in_executor(None, os.pread, part.fd, window, at)
            sent_here = 0
            while sent_here < window:
                try:
                    sent = os.sendfile(out, part.fd, at, window - sent_here)
                except BlockingIOError:
                    await _writable(loop, out, patience)
                    continue
                except OSError as reason:
                    raise Cut(os.strerror(reason.errno or errno.EIO)) from reason
                if sent == 0:
                    raise Cut("the file is shorter than promised")
                at += sent
                sent_here += sent
            await asyncio.sleep(0)
    finally:
        os.close(out)


async def _send_head(
    loop: asyncio.AbstractEventLoop, plain: socket.socket, out: int, head: bytes, patience: float
) -> None:
    view = memoryview(head)
    while view:
        try:
            view = view[plain.send(view, socket.MSG_MORE) :]
        except BlockingIOError:
            await _writable(loop, out, patience)
        except OSError as reason:
            raise Cut(os.strerror(reason.errno or errno.EIO)) from reason


def _last_page_resident(fd: int, stop: int) -> bool:
    try:
        return os.preadv(fd, [bytearray(1)], max(stop - 1, 0), os.RWF_NOWAIT) == 1
    except OSError:
        return False


async def _writable(loop: asyncio.AbstractEventLoop, fd: int, patience: float) -> None:
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    def give_up() -> None:
        if not ready.done():
            ready.set_exception(Cut("the client does not read"))

    loop.add_writer(fd, wake)
    timer = loop.call_later(patience, give_up)
    try:
        await ready
    finally:
        timer.cancel()
        loop.remove_writer(fd)

"""What the kernel holds of a connection, in bytes."""

import array
import asyncio
import fcntl
import termios


def unread(transport: asyncio.Transport) -> int:
    """What has come and was not received yet."""
    return _queued(transport, termios.FIONREAD)


def untaken(transport: asyncio.Transport) -> int:
    """What was sent and the other side has not acknowledged, however full its own buffers are."""
    return _queued(transport, termios.TIOCOUTQ)


def _queued(transport: asyncio.Transport, request: int) -> int:
    count = array.array("i", [0])
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), request, count)
    except (OSError, ValueError):  # closed meanwhile
        return 0
    return count[0]

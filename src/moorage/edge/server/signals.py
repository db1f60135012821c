"""How a running server is told to stop, or to look again."""

import asyncio
import signal
from collections.abc import Callable

from moorage.edge.server.server import Server

_STOP = (signal.SIGTERM, signal.SIGINT)


async def run_until_signalled(
    server: Server,
    *,
    seconds: float | None = None,
    reload: Callable[[], None] | None = None,
    started: Callable[[], None] | None = None,
) -> None:
    """Return once the server has stopped: SIGTERM or SIGINT drains it, a second one aborts it at once.

    SIGHUP calls `reload`.  `started` is called once all of that is so: whoever is told of the server any earlier could
    end it with a SIGHUP.  For the main thread; the handlers are removed on the way out.
    """
    loop = asyncio.get_running_loop()
    first, second = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (second if first.is_set() else first).set()

    for number in _STOP:
        loop.add_signal_handler(number, stop)
    if reload is not None:
        loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        if started is not None:
            started()
        await first.wait()
        draining = asyncio.ensure_future(server.drain(seconds))
        impatience = asyncio.ensure_future(second.wait())
        await asyncio.wait({draining, impatience}, return_when=asyncio.FIRST_COMPLETED)
        if second.is_set():
            server.abort()
        impatience.cancel()
        await draining
    finally:
        for number in (*_STOP, *([signal.SIGHUP] if reload is not None else [])):
            loop.remove_signal_handler(number)

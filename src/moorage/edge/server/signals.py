"""How a running server is told to stop, or to look again."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from typing import Final

from moorage.edge.server.server import Server

STOP: Final = (signal.SIGTERM, signal.SIGINT)


async def run_until_signalled(
    server: Server,
    *,
    seconds: float | None = None,
    reload: Callable[[], None] | None = None,
    started: Callable[[], None] | None = None,
    stop: Sequence[signal.Signals] = STOP,
    at_once: signal.Signals | None = None,
    beside: "asyncio.Future[None] | None" = None,
) -> None:
    """Return once the server has stopped: a signal of `stop` drains it, a second one aborts it at once.

    Where there is a signal `at_once`, that aborts it, and further ones of `stop` mean nothing.  SIGHUP calls `reload`.
    The end of what runs `beside` drains it as well.
    `started` is called once all of that is so: whoever is told of the server any earlier could end it with a SIGHUP.
    For the main thread; the handlers are removed on the way out.
    """
    loop = asyncio.get_running_loop()
    first, second = asyncio.Event(), asyncio.Event()

    def stopped() -> None:
        (second if first.is_set() and at_once is None else first).set()

    def abort() -> None:
        first.set()
        second.set()

    handlers = dict.fromkeys(stop, stopped)
    if at_once is not None:
        handlers[at_once] = abort
    if reload is not None:
        handlers[signal.SIGHUP] = reload
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        if started is not None:
            started()
        if beside is not None:
            beside.add_done_callback(lambda _: first.set())
        await first.wait()
        draining = asyncio.ensure_future(server.drain(seconds))
        impatience = asyncio.ensure_future(second.wait())
        await asyncio.wait({draining, impatience}, return_when=asyncio.FIRST_COMPLETED)
        if second.is_set():
            server.abort()
        impatience.cancel()
        await draining
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)

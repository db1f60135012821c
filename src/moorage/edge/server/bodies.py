"""Request bodies, as a handler reads them."""

import asyncio
from typing import Final, Protocol, final

from moorage.edge.server.limits import KIB
from moorage.edge.server.pool import Pool
from moorage.errors import Code, Interrupted, RegistryError

HIGH_WATER: Final = 768 * KIB
"""Reading pauses with so much at hand: with one more read it stays within the piece of 1 MiB we promise."""

STALLED: Final = "the request's body did not arrive in time"
"""What a client hears whose body stops coming."""


class Source(Protocol):
    """The connection, as a body knows it."""

    loop: asyncio.AbstractEventLoop

    def want_body(self) -> None:
        """More is wanted and nothing is at hand."""

    def body_taken(self) -> None:
        """Everything at hand was taken; more may be fetched in advance."""


class Refill(Protocol):
    """Where more of a body comes from when a buffer of it was used."""

    def refill(self, buffer: bytearray, /) -> int:
        """In a thread: receive into a used buffer what has come.  Gives the size of the piece, 0 where it is none."""
        ...

    def take_back(self, buffer: bytearray, /) -> None:
        """In the loop: nobody looks at the buffer any more, and no thread comes back to it."""


@final
class Empty:
    """The body of a request that has none."""

    length: int | None = 0

    def __aiter__(self) -> "Empty":
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    def at_hand(self) -> None:
        return None


EMPTY: Final = Empty()


@final
class Incoming:
    """A body on its way in.  The connection puts bytes in at one end, the handler takes them from the other.

    A waiting handler is only woken; it takes the bytes itself.  So a wait that is cancelled loses nothing.
    """

    __slots__ = ("_failure", "_given", "_lent", "_pool", "_refill", "_source", "_waiter", "backlog", "ended", "length")

    def __init__(self, source: Source, pool: Pool, length: int | None) -> None:
        self.length = length
        self.backlog = bytearray()
        self.ended = False
        self._source = source
        self._pool = pool
        self._given: tuple[bytearray, int, Refill | None] | None = None
        """A filled buffer of the pool, how much of it is, and who may fill it again."""
        self._lent: bytearray | None = None
        """The pool's buffer that the handler is looking at."""
        self._refill: Refill | None = None
        """Who may fill that one again."""
        self._failure: tuple[Code | None, str] | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> bool:
        return self._waiter is not None

    def __aiter__(self) -> "Incoming":
        return self

    async def __anext__(self) -> bytes | memoryview:
        if self._lent is not None:
            lent, self._lent = self._lent, None
            if self._refill is not None:
                self._refill.take_back(lent)
            else:
                self._pool.put(lent)
        while True:
            if self.backlog:
                piece, self.backlog = self.backlog, bytearray()
                if not self.ended:
                    self._source.body_taken()
                return memoryview(piece)
            if self._given is not None:
                (self._lent, size, self._refill), self._given = self._given, None
                return memoryview(self._lent)[:size]
            if self._failure is not None:
                code, message = self._failure
                raise Interrupted if code is None else RegistryError(code, message)
            if self.ended:
                raise StopAsyncIteration
            self._source.want_body()
            self._waiter = self._source.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def at_hand(self) -> memoryview | None:
        lent, refill = self._lent, self._refill
        size = refill.refill(lent) if lent is not None and refill is not None else 0
        return memoryview(lent)[:size] if lent is not None and size else None

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def give(self, buffer: bytearray, size: int, refill: Refill | None) -> None:
        """Hand over a filled buffer.  There is never more than one: nothing is read while it waits."""
        self._given = (buffer, size, refill)
        self.wake()

    def end(self) -> None:
        self.ended = True
        self.wake()

    def fail(self, code: Code | None, message: str = "") -> None:
        """The rest will not come: the client is gone (None), stalls or sends nonsense."""
        if not self.ended and self._failure is None:
            self._failure = (code, message)
            self.wake()

    def abandon(self) -> None:
        """The handler has answered and reads no more.

        A buffer it was looking at is let go, not reused: a thread of a cancelled handler may still be writing
        it to storage, and must not find another upload's bytes in it.
        """
        self.backlog = bytearray()
        if self._given is not None:
            self._pool.put(self._given[0])
            self._given = None
        if self._lent is not None:
            self._pool.forget(self._lent)
            self._lent = None
        self.fail(None)
